"""A second process that encodes texts, so that both cores of a small machine are used.

It is a separate program, ``python -m seqcls.data.tokenizer_worker``: a `multiprocessing` worker would run the user's script
again, or copy a process that has threads. A message is its length, 8 bytes, followed by its bytes. The worker reads the
settings and then chunks of texts, as JSON, until its input ends; for each chunk it writes the lengths, int64, and the ids,
int32.
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

from seqcls.data.chunks import chunks_of
from seqcls.data.preprocessor import Preprocessor
from seqcls.data.tokenizer import TextTokenizer

Encoded = tuple[NDArray[np.int32], NDArray[np.int64]]

_LARGEST = 1 << 32  # bytes of a message

logger = logging.getLogger("seqcls")


def encode_on_two_cores(tokenizer: Preprocessor, texts: Iterable[str]) -> Iterator[Encoded]:
    """Yield what ``tokenizer.encode_chunks(texts)`` yields, every other chunk encoded by a second process.

    If that process fails, a warning says so, and this process does the rest of the work.
    """
    chunks = chunks_of(texts)
    with _started(tokenizer) as worker, ThreadPoolExecutor(max_workers=1) as thread:
        while chunk := next(chunks, None):
            worker_chunk = next(chunks, [])
            answer = thread.submit(_ask, worker, worker_chunk) if worker_chunk else None
            yield from tokenizer.encode_chunks(chunk)
            if answer is not None:
                try:
                    yield answer.result()
                except (OSError, ValueError) as error:
                    logger.warning(f"the second encoding process failed ({error}); going on with one")
                    yield from tokenizer.encode_chunks(worker_chunk)
                    break
        yield from tokenizer.encode_chunks(text for chunk in chunks for text in chunk)


@contextlib.contextmanager
def _started(tokenizer: Preprocessor) -> Iterator[subprocess.Popen[bytes]]:
    settings = {"tokenizer": tokenizer.to_json(), "max_length": tokenizer.max_length, "truncating": tokenizer.truncating}
    # In its own session, because Ctrl-C is for this process; the worker ends when its input does.
    worker = subprocess.Popen(
        [sys.executable, "-m", "seqcls.data.tokenizer_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        with contextlib.suppress(OSError):  # a worker that has died is noticed when it is asked
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
    """Return the next message, empty at the end of the stream; ValueError if it is not a message."""
    size = int.from_bytes(stream.read(8), "little")
    if size > _LARGEST:
        raise ValueError("its answer is malformed")
    return stream.read(size)


def main() -> None:
    """Answer messages from stdin on stdout."""
    settings: dict[str, Any] = json.loads(_read(sys.stdin.buffer))
    parsed = Tokenizer.from_str(settings.pop("tokenizer"))
    tokenizer = TextTokenizer(parsed, **settings)
    while message := _read(sys.stdin.buffer):
        texts = json.loads(message)
        encoded = list(tokenizer.encode_chunks(texts))
        _write(sys.stdout.buffer, np.concatenate([lengths for _, lengths in encoded]).tobytes())
        _write(sys.stdout.buffer, np.concatenate([values for values, _ in encoded]).tobytes())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
