"""Labels: the forms in which they come, their order, and the arrays that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scalar = bool | int | str
Label = Scalar | Sequence[Scalar]


def plain_label(label: Any) -> Any:
    """Return a label, or a list of labels, as Python has it: NumPy's scalars and whole floats become bool, int and str."""
    if isinstance(label, list | tuple | np.ndarray):
        return [plain_label(part) for part in label]
    if isinstance(label, np.generic):
        label = label.item()
    return int(label) if isinstance(label, float) and label.is_integer() else label


def name_of(label: Scalar) -> str:
    """Return the name of a label, by which it is known everywhere: 1, 1.0 and "1" are one label, as are True and "true"."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def note_values(values: dict[str, bool | int], label: Any) -> None:
    """Note, by its name, a label that is no str, or each one of a list; the first value of a name counts."""
    for part in label if isinstance(label, list | tuple) else (label,):
        plain = plain_label(part)
        if isinstance(plain, bool | int):
            values.setdefault(name_of(plain), plain)


def as_given(names: Iterable[str], values: Mapping[str, bool | int]) -> tuple[Scalar, ...]:
    """Return the labels of these names as they were given, of the types that ``values`` has."""
    return tuple(values.get(name, name) for name in names)


def pack_labels(indices: Sequence[tuple[int, ...]], num_labels: int | None) -> NDArray[Any]:
    """Return the labels of N examples as int64 [N]; as uint8 [N, num_labels] if ``num_labels`` is given (multi-label)."""
    counts = np.fromiter(map(len, indices), dtype=np.int64, count=len(indices))
    flat = np.fromiter(chain.from_iterable(indices), dtype=np.int64, count=int(counts.sum()))
    if num_labels is None:
        return flat
    labels = np.zeros((len(indices), num_labels), dtype=np.uint8)
    labels[np.repeat(np.arange(len(indices)), counts), flat] = 1
    return labels


def names_of(label: Label) -> tuple[str, ...]:
    """Return the names of the distinct labels of one example."""
    labels = (label,) if isinstance(label, bool | int | str) else label
    return tuple(dict.fromkeys(map(name_of, labels)))


def are_in_range(labels: NDArray[Any], count: int) -> bool:
    """Return whether labels are indices below ``count``, int64 [N], or rows of 0 and 1, uint8 [N, count]."""
    if labels.ndim == 2:
        return labels.shape[1] == count and bool((labels <= 1).all())
    return not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < count


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Sort the names of labels: as numbers if all of them are integers (2 before 10), and otherwise as strings."""
    names = list(labels)
    if all(re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names for a message, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
