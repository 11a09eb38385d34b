"""Notes in folders: one folder a label, one text file a note."""

import hashlib
from pathlib import Path

from seqcls import Dataset, Splits
from seqcls.errors import DataError


class Notes(Dataset):
    """Notes in folders, one folder a label.

    Args:
        folder: The folder of the folders.
    """

    def __init__(self, *, folder: str = "notes") -> None:
        self.folder = Path(folder)

    def load(self) -> Splits:
        files = self._files()
        if not files:
            raise DataError(f"{self.folder} holds no note; give a folder with LABEL/NAME.txt as folder=")
        return Splits.from_pairs([(file.read_text(encoding="utf-8"), file.parent.name) for file in files])

    def fingerprint(self) -> str:
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self._files()]
        return hashlib.sha256(repr(states).encode()).hexdigest()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*/*.txt"))
