"""`tab-separated`: a file with a label, a tab and a text on each line."""

from __future__ import annotations

import hashlib
from pathlib import Path

from seqcls import Dataset, Splits
from seqcls.errors import DataError


class TabSeparated(Dataset):
    """A UTF-8 file of LABEL<TAB>TEXT lines.

    Args:
        path: The file to train on; validation is held out from it.
        test_path: Another such file, for the test.
    """

    def __init__(self, *, path: str, test_path: str | None = None) -> None:
        self.paths = [Path(path)] if test_path is None else [Path(path), Path(test_path)]

    def load(self) -> Splits:
        """Read the files."""
        train, *test = map(_read, self.paths)
        return Splits.from_pairs(train, test=test[0] if test else None)

    def fingerprint(self) -> str:
        """Return a hash of the files, so that encoded data is cached for as long as they stay the same."""
        return " ".join(hashlib.sha256(_bytes(path)).hexdigest() for path in self.paths)


def _read(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(_bytes(path).decode("utf-8", "replace").split("\n"), start=1):
        label, tab, text = line.partition("\t")
        if tab:
            pairs.append((text.rstrip("\r"), label))
        elif line.strip():
            raise DataError(f"{path}, line {number}: no tab in {line!r:.60}; write LABEL<TAB>TEXT")
    return pairs


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
