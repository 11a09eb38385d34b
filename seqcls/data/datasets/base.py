"""The contract of data sets."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from seqcls.data.preprocessor import Kind
from seqcls.data.splits import Splits


class Dataset(ABC):
    """A named source of splits. The keyword arguments of ``__init__`` are its options.

    Attributes:
        kind: Whether the sequences are texts, or arrays of numbers ("features").
        options: The options that it was built with; the base class keeps them, so that a saved run can build it again.
    """

    kind: ClassVar[Kind] = "text"
    options: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "gives" in vars(cls):  # what `kind` was called in 0.1
            warnings.warn(f"{cls.__name__}.gives is now called kind; rename it", DeprecationWarning, stacklevel=2)
            cls.kind = vars(cls)["gives"]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the options, whatever the subclass's ``__init__`` does with them."""
        del args
        dataset = super().__new__(cls)
        dataset.options = dict(kwargs)
        return dataset

    @abstractmethod
    def load(self) -> Splits:
        """Read the data.

        Raises:
            DataError: The data are missing, damaged or incomplete.
        """

    def fingerprint(self) -> str:
        """Return a hash that changes when the data or an option changes.

        Override this if the data can be identified without reading all of them: an encoded copy in the cache then opens
        without a call of ``load``.
        """
        return self.load().fingerprint()
