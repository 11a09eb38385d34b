"""Accuracy and seconds on public data sets, whole and with few examples: ours, and the peers in everyone_peers.py.

Each training is a process of its own, and its time has everything in it: imports, reading the files, choosing settings,
training and testing. All systems read the same files. Settings are chosen on training data, never on test labels; the best
peer of a data set is named by its test accuracy, which favours the peers.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqcls.errors import ConfigError
from seqcls.system.paths import data_dir

TEXTS = ("trec", "banking", "sst2")
NUMBERS = ("BasicMotions", "JapaneseVowels")
WHOLE = "all"
OURS: dict[str, dict[str, list[str]]] = {
    "texts": {"default": [], "linear": ["--encoder", "linear"], "bilstm": ["--encoder", "bilstm", "--wide"]},
    "numbers": {"default": [], "bilstm": ["--encoder", "bilstm"]},
}
PEERS = {
    "texts": {"tfidf": "sklearn", "tfidf_characters": "sklearn", "fasttext": "fasttext", "wordllama": "wordllama"},
    "numbers": {"minirocket": "aeon"},
}
"""The peers of each kind of data, and the package that each of them needs."""
SYSTEMS = tuple(dict.fromkeys(name for systems in (OURS, PEERS) for kind in systems.values() for name in kind))


@dataclass(frozen=True)
class Cell:
    """What one process measures: a system on one draw from a data set.

    Attributes:
        system: One of `SYSTEMS`.
        data: The name of the data set.
        size: Examples per class, or `WHOLE`.
        draw: The seed of the draw; 0 for whole data.
    """

    system: str
    data: str
    size: str
    draw: int

    @property
    def kind(self) -> str:
        """The kind of the data: texts, or numbers."""
        return kind_of(self.data)


def kind_of(data: str) -> str:
    """Return the kind of a data set: texts, or numbers."""
    return "texts" if data in TEXTS else "numbers"


def compare(
    *, data: list[str], sizes: list[str], draws: int, systems: list[str], peers_python: str, output: Path | None
) -> list[dict[str, Any]]:
    """Measure what ``output`` does not hold yet; return all results, those in ``output`` included."""
    folder = data_dir("datasets")
    if folder is None or not folder.is_dir():
        print("everyone is skipped: SEQCLS_DATA_DIR names no folder with datasets/ in it", file=sys.stderr)
        return []
    rows = results_in(output)
    done = {cell_of(row) for row in rows}
    left = [cell for cell in cells(data=data, sizes=sizes, draws=draws, systems=systems) if cell not in done]
    for cell in _measurable(left, folder, peers_python):
        found = measure(cell, folder, peers_python)
        if found is None:
            continue
        rows.append({**asdict(cell), **found})
        line = json.dumps(rows[-1])
        print(line, flush=True)
        if output is not None:
            with output.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
    return rows


def cells(*, data: list[str], sizes: list[str], draws: int, systems: list[str]) -> list[Cell]:
    """Return what there is to measure: the first draws of everything come first, and systems take turns."""
    for what, names, known in (("data set", data, (*TEXTS, *NUMBERS)), ("system", systems, SYSTEMS)):
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"there is no {what} {unknown[0]} here; there are {', '.join(known)}")
    if wrong := [size for size in sizes if size != WHOLE and not (size.isdecimal() and int(size))]:
        raise ConfigError(f"the size {wrong[0]} is neither {WHOLE} nor a number of examples per class")
    return [
        Cell(system, name, size, draw)
        for draw in range(draws)
        for size in sizes
        for name in data
        for system in systems
        if system in OURS[kind_of(name)] or system in PEERS[kind_of(name)]
        if (draw == 0 if size == WHOLE else name in TEXTS)
    ]


def results_in(output: Path | None) -> list[dict[str, Any]]:
    """Return the results in a file of JSON Lines, and remove a line that was not finished."""
    if output is None or not output.is_file():
        return []
    text = output.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    if complete != text:
        output.write_text(complete, encoding="utf-8")
    return [json.loads(line) for line in complete.splitlines()]


def cell_of(row: dict[str, Any]) -> Cell:
    """Return what a result is of."""
    return Cell(row["system"], row["data"], row["size"], row["draw"])


def _measurable(wanted: Sequence[Cell], folder: Path, peers_python: str) -> Iterator[Cell]:
    """Yield the cells whose package and files are there; say once what is not."""
    packages = {name: package for kind in PEERS.values() for name, package in kind.items()}
    needed = {packages[cell.system] for cell in wanted if cell.system in packages}
    missing = _missing_packages(peers_python, sorted(needed))
    for system in dict.fromkeys(cell.system for cell in wanted):
        if packages.get(system) in missing:
            print(f"{system} is not measured: {peers_python} has no package {packages[system]}", file=sys.stderr)
    absent = {name for name in {cell.data for cell in wanted} if not all(file.is_file() for file in _files(name, folder))}
    for name in sorted(absent):
        print(f"{name} is skipped: its files are not in {folder}", file=sys.stderr)
    yield from (cell for cell in wanted if packages.get(cell.system) not in missing and cell.data not in absent)


def _missing_packages(python: str, packages: list[str]) -> set[str]:
    code = "import importlib.util, sys\nprint(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
    done = subprocess.run([python, "-c", code, *packages], check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def _files(data: str, folder: Path) -> tuple[Path, Path]:
    """Return the files of training and test."""
    if data in TEXTS:
        return folder / f"{data}.train.csv.gz", folder / f"{data}.test.csv.gz"
    return folder / f"{data}_TRAIN.ts", folder / f"{data}_TEST.ts"


def measure(cell: Cell, folder: Path, peers_python: str) -> dict[str, float] | None:
    """Return the seconds and the test accuracy of a new process; None, saying why, if it fails."""
    train, test = _files(cell.data, folder)
    with tempfile.TemporaryDirectory() as scratch:
        if cell.size != WHOLE:
            train = write_draw(train, Path(scratch, "train.csv"), per_class=int(cell.size), seed=cell.draw)
        command = _command(cell, train, test, Path(scratch, "run"), peers_python)
        environment = {**os.environ, "SEQCLS_HOME": scratch}  # nothing is prepared yet
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - started
    if done.returncode:
        reason = (done.stderr.splitlines() or ["no reason given"])[-1]
        print(f"{cell.system} on {cell.data}, {cell.size}, draw {cell.draw}, is not measured: {reason}", file=sys.stderr)
        return None
    return {"seconds": round(seconds, 2), "accuracy": json.loads(done.stdout)["test"]["accuracy"]}


def _command(cell: Cell, train: Path, test: Path, run: Path, peers_python: str) -> list[str]:
    if cell.system in PEERS[cell.kind]:
        return [peers_python, str(Path(__file__).parent / "everyone_peers.py"), cell.system, str(train), str(test)]
    command = [sys.executable, "-m", "seqcls", "fit", "--no-baseline", "--no-report", "--quiet", "--json"]
    return [*command, "--dataset", str(train), "--test", str(test), "--output", str(run), *OURS[cell.kind][cell.system]]


def write_draw(source: Path, target: Path, *, per_class: int, seed: int) -> Path:
    """Write a draw from a file of texts as CSV, and return its path."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows[index] for index in draw([label for _, label in rows], per_class=per_class, seed=seed))
    return target


def draw(labels: Sequence[str], *, per_class: int, seed: int) -> list[int]:
    """Return the indices of ``per_class`` examples of each class, all of a smaller class, in random order.

    Of one seed, a smaller draw is part of a larger one.
    """
    rng = np.random.default_rng(seed)
    of_class = [np.flatnonzero(np.asarray(labels) == label) for label in sorted(set(labels))]
    chosen = [rng.permutation(indices)[:per_class] for indices in of_class]
    return [int(index) for index in rng.permutation(np.concatenate(chosen))]


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per size, data set and system: median seconds, and the mean test accuracy in percent."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["size"], row["data"], row["system"]), []).append(row)
    return [
        {
            "size": size,
            "data": data,
            "system": system,
            "draws": len(runs),
            "seconds": round(statistics.median(run["seconds"] for run in runs), 1),
            "accuracy": round(100 * statistics.fmean(run["accuracy"] for run in runs), 2),
        }
        for (size, data, system), runs in sorted(found.items(), key=lambda item: _order(*item[0]))
    ]


def margins(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, per size, the average over data sets of our default minus the best peer, in points of test accuracy.

    A data set counts if the default and a peer were measured on it; draws that only one of the two has do not count.
    """
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for row in rows:
        of_system = found.setdefault((row["size"], row["data"]), {}).setdefault(row["system"], {})
        of_system[row["draw"]] = row["accuracy"]
    of_size: dict[str, list[float]] = {}
    for (size, data), accuracies in sorted(found.items(), key=lambda item: _order(*item[0])):
        differences = _differences(accuracies, PEERS[kind_of(data)])
        if differences:
            of_size.setdefault(size, []).append(min(differences))
    return [
        {"size": size, "data sets": len(values), "default minus best peer": round(100 * statistics.fmean(values), 2)}
        for size, values in of_size.items()
    ]


def _differences(accuracies: dict[str, dict[int, float]], peers: Iterable[str]) -> list[float]:
    """Return the default's mean accuracy minus that of each peer, over the draws that both have."""
    ours = accuracies.get("default", {})
    both = ((accuracies.get(peer, {}), ours.keys() & accuracies.get(peer, {}).keys()) for peer in peers)
    return [statistics.fmean(ours[draw] - theirs[draw] for draw in draws) for theirs, draws in both if draws]


def _order(size: str, data: str, system: str = SYSTEMS[0]) -> tuple[int, int, int]:
    """Return what sorts rows: few examples first, then as the data sets and the systems are listed above."""
    examples = sys.maxsize if size == WHOLE else int(size)
    return examples, (*TEXTS, *NUMBERS).index(data), SYSTEMS.index(system)
