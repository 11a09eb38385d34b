"""Pickles made to harm, in the place of the lists of numbers in Keras' imdb.npz: each is refused, and none does anything."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqcls.data.datasets.keras import read_imdb
from seqcls.errors import DataError

RAN = "it-ran"
TOUCH = f"touch {RAN}".encode()
CALL = b"__import__('os').system('%s')" % TOUCH


class Reduces:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def calls(function: Any, *arguments: Any, protocol: int = 4, state: Any = None) -> bytes:
    return pickle.dumps(Reduces(function, *arguments, state=state), protocol=protocol)


def named(module: bytes, name: bytes, *arguments: bytes) -> bytes:
    """A call by name, also of what is not importable here."""
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in arguments)
    return b"\x80\x04\x8c%c%s\x8c%c%s\x93(%stR." % (len(module), module, len(name), name, texts)


def numpy_array(inner: bytes) -> bytes:
    """What NumPy writes for an array of objects, with other objects in it."""
    plain = pickle.dumps(np.array([[7]], dtype=object), protocol=4)
    place = plain.rindex(b"K\x07a")
    return plain[:place] + inner + plain[place + 2 :]


ARRAY = b"\x8c\x16numpy._core.multiarray\x8c\x0c_reconstruct\x93"
PAYLOADS: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n(S'%s'\ntR." % TOUCH,
    "posix.system": calls(os.system, TOUCH.decode()),
    "posix.system, oldest protocol": calls(os.system, TOUCH.decode(), protocol=0),
    "builtins.eval": named(b"builtins", b"eval", CALL),
    "builtins.exec": named(b"builtins", b"exec", CALL),
    "builtins.__import__": named(b"builtins", b"__import__", b"antigravity"),
    "builtins.getattr": named(b"builtins", b"getattr", b"a", b"upper"),
    "subprocess.Popen": named(b"subprocess", b"Popen", b"touch"),
    "a dotted name": named(b"numpy", b"ndarray.__class__.__subclasses__"),
    "a dotted name of ours": named(b"numpy", b"dtype.__init__.__globals__"),
    "a module of numpy": named(b"numpy.f2py.crackfortran", b"myeval", CALL),
    "numpy's own loader": named(b"numpy", b"load", b"/etc/passwd"),
    "a call within an array": numpy_array(calls(os.system, TOUCH.decode())[2:-1]),
    "a call within a call": b"\x80\x04" + ARRAY + b"(" + calls(os.system, TOUCH.decode())[2:-1] + b"tR.",
    "a state for a function": b"\x80\x04" + ARRAY + b"}\x8c\x01aK\x01sb.",
    "a state that is a dictionary": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)R}\x8c\x09__class__K\x01sb.",
    "a state that is empty": b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)R)b.",
    "NEWOBJ": b"\x80\x04cos\nsystem\n\x8c\x02ls\x85\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n\x8c\x02ls\x85}\x92.",
    "INST": b"(S'%s'\nios\nsystem\n." % TOUCH,
    "OBJ": b"(cos\nsystem\nS'%s'\no." % TOUCH,
    "an extension code": b"\x80\x02\x82\x01.",
    "a large extension code": b"\x80\x02\x84\x01\x00\x00\x00.",
    "a persistent id": b"P1\n.",
    "a persistent id on the stack": b"\x80\x04K\x01Q.",
    "a text of 2^60 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "bytes of 2^60": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "a byte array of 2^60": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x.",
    "a number of 2^31 digits": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "a number in ten million digits": b"I" + b"9" * 10_000_000 + b"\n.",
    "a place in the memo of 2^32": b"\x80\x04]r\xff\xff\xff\xff.",
    "a frame of 2^63": b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + b"].",
    "lists within lists": b"\x80\x04" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "tuples within tuples": b"\x80\x04)" + b"\x85" * 1_000_000 + b".",
    "a list in itself": b"\x80\x04]q\x00h\x00a.",
    "a list that doubles": b"\x80\x04]q\x00" + b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(60)) + b".",
    "pickles one after another": pickle.dumps([1]) + calls(os.system, TOUCH.decode()),
    "no end": b"\x80\x04]",
    "nothing": b"",
    "a protocol of the future": b"\x80\xff].",
    "an empty stack": b"\x80\x04.",
    "a dictionary": pickle.dumps({"a": 1}),
    "a set": pickle.dumps({1, 2}),
    "a buffer from outside": b"\x80\x05\x97.",
}


def imdb_of(folder: Path, payload: bytes) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(folder / "imdb.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + payload)
        labels = io.BytesIO()
        np.save(labels, np.array([1]))
        archive.writestr("y_train.npy", labels.getvalue())
    (folder / "imdb_word_index.json").write_text('{"a": 1}')
    return folder / "imdb.npz"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_pickle_that_is_made_to_harm_is_refused_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = imdb_of(tmp_path, PAYLOADS[payload])
    modules, files, started = set(sys.modules), sorted(tmp_path.iterdir()), time.thread_time()
    tracemalloc.start()
    with pytest.raises(DataError, match=r"imdb\.npz is damaged, or holds more than lists of integers"):
        list(read_imdb(path, "train"))
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()
    assert time.thread_time() - started < 5
    assert sorted(tmp_path.iterdir()) == files
    assert not {"antigravity", "subprocess.Popen"} & (set(sys.modules) - modules)


def test_the_payloads_that_call_would_do_harm_without_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else the test above would prove nothing.
    harmful = ["os.system", "posix.system", "posix.system, oldest protocol", "builtins.eval", "builtins.exec", "INST", "OBJ"]
    for name in harmful:
        folder = tmp_path / name.replace(" ", "-").replace(",", "")
        folder.mkdir()
        monkeypatch.chdir(folder)
        with contextlib.suppress(TypeError):  # what the call returns is no argument for the next one
            pickle.loads(PAYLOADS[name])
        assert Path(RAN).exists(), name


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = [1, 4, 300, 70_000]
    for protocol in (3, 4, 5):
        payload = pickle.dumps(array, protocol=protocol)
        pickletools.dis(payload, io.StringIO())
        (tmp_path / str(protocol)).mkdir()
        path = imdb_of(tmp_path / str(protocol), payload)
        assert [label for _, label in read_imdb(path, "train")] == [1]
