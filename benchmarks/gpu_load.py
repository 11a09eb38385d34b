"""How busy a GPU is while something runs, as nvidia-smi says."""

from __future__ import annotations

import contextlib
import os
import pty
import statistics
import subprocess
import threading
import time

COMMAND = ["nvidia-smi", "--query-gpu=uuid,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]


class GpuLoad:
    """Samples the utilization of all GPUs, ten times a second, while its block runs."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, str, float]] = []
        self._sampler: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GpuLoad:
        # To a pipe it might write in blocks, and the times of the lines would be lost.
        terminal, output = pty.openpty()
        with contextlib.suppress(OSError):  # there is no nvidia-smi: there will be no samples
            self._sampler = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
        os.close(output)
        self._reader = threading.Thread(target=self._read, args=(terminal,))
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._sampler is not None:
            self._sampler.terminate()
            self._sampler.wait()
        self._reader.join()

    def mean(self, uuid: str, began: float, ended: float) -> float | None:
        """Return the mean percentage of a GPU between two times, in seconds since 1970; None if it is not known."""
        found = [value for when, name, value in self._samples if uuid in name and began <= when <= ended]
        return round(statistics.mean(found), 1) if uuid and found else None

    def _read(self, terminal: int) -> None:
        with os.fdopen(terminal, encoding="utf-8") as lines, contextlib.suppress(OSError):  # so it ends, when all is read
            for line in lines:
                uuid, _, percentage = line.strip().partition(", ")
                if percentage.isdecimal():  # not "[N/A]", nor an error
                    self._samples.append((time.time(), uuid, float(percentage)))
