"""Building an ONNX graph operator by operator. Importing this module needs the extra `onnx`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from seqcls.inference.portable.plugins import Weights


class Graph:
    """An ONNX graph under construction. A value is a name (str): operators take names and return one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant array."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output, and return the name of the output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"{operator}_{name}", **attributes))
        return name

    def linear(self, weights: Weights, x: str) -> str:
        """Add x W^T + b, or x W^T if there is no "bias"."""
        product = self("MatMul", x, self.constant(np.ascontiguousarray(weights["weight"].T)))
        return self("Add", product, self.constant(weights["bias"])) if "bias" in weights else product

    def slice(self, x: str, start: int | str, end: int | str, axis: int) -> str:
        """Add x[start:end] along an axis; a bound may be the name of an int64 [1]."""
        bounds = [bound if isinstance(bound, str) else self.constant([bound], np.int64) for bound in (start, end)]
        return self("Slice", x, *bounds, self.constant([axis], np.int64))

    def reshape(self, x: str, *shape: int) -> str:
        """Add a reshape, in which 0 keeps an axis and -1 takes what remains."""
        return self("Reshape", x, self.constant(shape, np.int64))

    def size(self, x: str, axis: int) -> str:
        """Add the size of an axis, int64 [1]."""
        return self("Shape", x, start=axis, end=axis + 1)

    def steps(self, x: str) -> str:
        """Add 0 ... T - 1 for x [B, T, ...], int64 [T]."""
        end = self("Squeeze", self.size(x, 1))
        return self("Range", self.constant(0, np.int64), end, self.constant(1, np.int64))

    def mask(self, x: str, lengths: str) -> str:
        """Add `flat_mask` as bool [B, T, 1]."""
        return self("Unsqueeze", self.flat_mask(x, lengths), self.constant([2], np.int64))

    def flat_mask(self, x: str, lengths: str) -> str:
        """Add bool [B, T], true at the real steps of x [B, T, ...]."""
        return self("Less", self.steps(x), self("Unsqueeze", lengths, self.constant([1], np.int64)))

    def where(self, mask: str, x: str, fill: float) -> str:
        """Add x where the mask is true, and ``fill`` elsewhere."""
        return self("Where", mask, x, self.constant(fill, np.float32))
