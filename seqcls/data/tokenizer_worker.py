"""A second process that encodes texts, so that both cores of a small machine do.

It is a program of its own, ``python -m seqcls.data.tokenizer_worker``, and not a `multiprocessing` one, which would run the
user's script again, or copy a process with threads. A message is its length, 8 bytes, and its bytes: first the settings and
then chunks of texts, as JSON, go in; for each chunk its lengths, int64, and its ids, int32, come out, until the input ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from seqcls.data.preprocessor import Preprocessor
from seqcls.data.tokenizer import TextTokenizer, chunks_of

Encoded = tuple[NDArray[np.int32], NDArray[np.int64]]

_LARGEST = 1 << 32

logger = logging.getLogger("seqcls")


def encode_on_two_cores(tokenizer: Preprocessor, texts: Iterable[str]) -> Iterator[Encoded]:
    """Yield what `TextTokenizer.encode_chunks` does, every other chunk from a second process.

    Should that process fail, this one does all the work, and says so.
    """
    chunks = chunks_of(texts)
    with _started(tokenizer) as worker, ThreadPoolExecutor(max_workers=1) as thread:
        while own := next(chunks, None):
            others = next(chunks, [])
            answer = thread.submit(_ask, worker, others) if others else None
            yield from tokenizer.encode_chunks(own)
            if answer is not None:
                try:
                    yield answer.result()
                except (OSError, ValueError) as error:
                    logger.warning(f"the second encoding process failed ({error}); going on with one")
                    yield from tokenizer.encode_chunks(others)
                    break
        yield from tokenizer.encode_chunks(text for chunk in chunks for text in chunk)


@contextlib.contextmanager
def _started(tokenizer: Preprocessor) -> Iterator[subprocess.Popen[bytes]]:
    settings = {"tokenizer": tokenizer.to_json(), "max_length": tokenizer.max_length, "truncating": tokenizer.truncating}
    # In a session of its own: Ctrl-C is for this process, and the other ends when its input does.
    worker = subprocess.Popen(
        [sys.executable, "-m", "seqcls.data.tokenizer_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        with contextlib.suppress(OSError):  # a worker that is gone shows when it is asked
            _write(worker.stdin, json.dumps(settings).encode())
        yield worker
    finally:
        with contextlib.suppress(OSError):
            worker.stdin.close()
        worker.stdout.close()
        worker.wait()


def _ask(worker: subprocess.Popen[bytes], texts: list[str]) -> Encoded:
    assert worker.stdin is not None
    assert worker.stdout is not None
    _write(worker.stdin, json.dumps(texts).encode())
    lengths = np.frombuffer(_read(worker.stdout), dtype=np.int64)
    values = np.frombuffer(_read(worker.stdout), dtype=np.int32)
    if len(lengths) != len(texts) or lengths.sum() != len(values):
        raise ValueError("it ended early")
    return values, lengths


def _write(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(8, "little"))
    stream.write(message)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """Return the next message, empty at the end of the stream; ValueError if it is none."""
    size = int.from_bytes(stream.read(8), "little")
    if size > _LARGEST:
        raise ValueError("it answers something else")
    return stream.read(size)


def main() -> None:
    """Answer messages from stdin on stdout."""
    settings: dict[str, Any] = json.loads(_read(sys.stdin.buffer))
    parsed = Tokenizer.from_str(settings.pop("tokenizer"))
    tokenizer = TextTokenizer(parsed, **settings)
    while message := _read(sys.stdin.buffer):
        texts = json.loads(message)
        found = list(tokenizer.encode_chunks(texts))
        _write(sys.stdout.buffer, np.concatenate([lengths for _, lengths in found]).tobytes())
        _write(sys.stdout.buffer, np.concatenate([values for values, _ in found]).tobytes())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
