"""CPU threads: how many there may be, and that those which wait leave their core to others; needs no PyTorch."""

from __future__ import annotations

import math
import os
from pathlib import Path

SPINS = 1000
"""How often a thread of OpenMP looks for work before it sleeps, which takes some 50 µs; GCC's own number takes milliseconds.

Where another process wants the cores, threads that look for work take them from those that have some: beside one busy
process, training is twice as fast with this number, and 8 to 21% slower on a quiet machine (`benchmarks neighbour`)."""
_CGROUPS = Path("/sys/fs/cgroup")


def leave_cores_to_others() -> None:
    """Let OpenMP's threads sleep soon where they wait, in this process and its children, unless the environment says how.

    OpenMP reads the environment when it is loaded: this has to come before PyTorch.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    os.environ.setdefault("KMP_BLOCKTIME", "1")  # milliseconds; of LLVM's OpenMP, which PyTorch has on macOS


def cpu_quota(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return how many CPUs' time the container may take, rounded up; None without a limit.

    Args:
        cgroups: Where the control groups of Linux are mounted, of version 2 or 1.
        own: The file that names those of this process.
    """
    quotas = [quota for folder in _folders(cgroups, own) if (quota := _quota_of(folder)) is not None]
    return max(1, math.ceil(min(quotas))) if quotas else None


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """Return the folders of the process's control groups, and of those that they are part of."""
    found = [cgroups, cgroups / "cpu"]
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = cgroups if not controllers else cgroups / "cpu"
        if not controllers or "cpu" in controllers.split(","):
            inside = Path(path.lstrip("/"))
            found += [root / part for part in (inside, *inside.parents)]
    return found


def _quota_of(folder: Path) -> float | None:
    """Return the CPUs' time that a control group may take; None without a limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such group, or of a form of the future
        return None
