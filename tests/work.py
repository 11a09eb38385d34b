"""Counting work instead of time: elements that are touched, comparisons of names, memory, and the sizes of tensors."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class CountingArray(np.ndarray[Any, Any]):
    """An array that adds the sizes of what is computed from it, and from the results, to ``elements``."""

    elements = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _counted(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        return _counted(func, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        return _counted(np.ndarray.__getitem__, (self, key), {})


def count_elements(function: Callable[[CountingArray], object], array: np.ndarray[Any, Any]) -> int:
    """Return how many elements the function reads and writes in arrays that come from ``array``."""
    CountingArray.elements = 0
    function(array.view(CountingArray))
    return CountingArray.elements


def _counted(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    plain = {name: _plain(value) for name, value in kwargs.items()}
    result = function(*map(_plain, args), **plain)
    CountingArray.elements += sum(value.size for value in (*args, *_several(result)) if isinstance(value, np.ndarray))
    if isinstance(result, tuple):
        return tuple(map(_counting, result))
    return _counting(result)


def _several(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.view(np.ndarray) if isinstance(value, CountingArray) else value


def _counting(value: Any) -> Any:
    return value.view(CountingArray) if type(value) is np.ndarray else value


class CountingName(str):
    """A string that counts how often one is compared with another."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountingName.comparisons += 1
        return str.__eq__(self, other) is True

    __hash__ = str.__hash__


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the most bytes that Python and NumPy held at a time since the start."""
    tracemalloc.start()
    try:
        started = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - started
    finally:
        tracemalloc.stop()


class LargestTensor(TorchDispatchMode):
    """Within it, ``numel`` becomes the number of elements of the largest tensor that PyTorch returns."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [value for value in _several(result) if isinstance(value, torch.Tensor)]
        self.numel = max([self.numel, *(tensor.numel() for tensor in tensors)])
        return result
