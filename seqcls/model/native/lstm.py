"""LSTM layers in compiled code: both directions at once, over packed sequences, so that no step of padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqcls.model.native import buffers, library
from seqcls.model.native.library import SWITCH, Layer, Native, Pass
from seqcls.model.native.packing import Packing

# Bytes that the gradients of the weights may take in all: each block of sequences adds up its own.
_MOST_GRADIENT_BYTES = 256 << 20
# Rows of inputs that are multiplied by the weights together, so that they stay in the cache meanwhile.
_PROJECTED_ROWS = 96
# With fewer sequences per block than this, inputs are multiplied before the time loop: inside it, the weights would be read
# for too few rows at a time.
_FEW_SEQUENCES = 6
# From this number of sequences per block on, AMX tiles are faster than vectors.
_TILED_SEQUENCES = 8
# Sizes that tiles can multiply are multiples of this.
_TILE_CHUNK = 32


def lstm_layer(x: Tensor, packing: Packing, directions: Sequence[Sequence[Tensor]], index: Tensor | None = None) -> Tensor:
    """Run one layer of LSTMs over packed sequences.

    Args:
        x: float32 or float64 [N, D], in the order of ``packing``; with ``index``, rows [U, D].
        packing: The order of the N real steps.
        directions: For each direction, the weights of ``torch.nn.LSTM``: [4H, D], [4H, H], [4H] and [4H], of the gates
            i, f, g, o.
        index: int64 [N], the row of x that each step reads. Where no gradient is wanted, each row is multiplied by the
            weights once, however often it is read.

    Returns:
        The states [N, directions * H]; with ``index``, those of ``x[index]``, to the last bit unless AMX computes them.

    Raises:
        ValueError: The weights have other shapes.
    """
    weights = [weight for direction in directions for weight in direction]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights)):
        x = x if index is None else x[index]
        states: Tensor = _LSTMLayer.apply(x, packing, *weights)  # type: ignore[no-untyped-call]
    else:
        _, _, states = _forward(x.contiguous(), packing, weights, keep_gates=False, index=index)
    return states.flatten(1)


class _LSTMLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packing: Packing, *weights: Tensor) -> Tensor:
        x = x.contiguous()
        gates, cells, states = _forward(x, packing, weights, keep_gates=True)
        ctx.save_for_backward(x, cells, states, *weights)
        ctx.packing, ctx.gates = packing, gates
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would let some second derivatives be 0
            raise RuntimeError(f"compiled LSTM layers have no second derivatives; set {SWITCH}=0 to use PyTorch's own")
        x, cells, states, *parameters = ctx.saved_tensors
        ih, hh = torch.stack(parameters[::4]), torch.stack(parameters[1::4])  # [directions, 4H, ...]
        # The pass below overwrites the gates; a second one, over a retained graph, has to compute them again.
        gates, ctx.gates = ctx.gates, None
        if gates is None:
            gates, _, _ = _forward(x, ctx.packing, parameters, keep_gates=True)
        (directions, gate_size, hidden_size), input_size = hh.shape, x.shape[1]
        columns = _rounded_up(input_size + hidden_size, x)
        most_blocks = _MOST_GRADIENT_BYTES // (directions * gate_size * columns * x.element_size())
        blocks = max(1, min(most_blocks, _blocks(ctx.packing, directions)))
        units = directions * blocks
        weights, biases = x.new_zeros(units, gate_size, columns), x.new_zeros(units, gate_size)
        grad_x = x.new_empty(directions, len(x), input_size) if ctx.needs_input_grad[0] else None
        _run(
            "backward",
            _layer(ctx.packing, hidden_size, directions, blocks),
            inputs=x,
            weights=_in_bands(hh),
            gates=gates,
            cells=cells,
            states=states,
            outside=gradient.contiguous(),
            input_weights=_in_bands(ih),
            input_gradients=grad_x,
            weight_gradients=weights,
            bias_gradients=biases,
        )
        buffers.give_back(gates)
        by_direction = weights.view(-1, directions, gate_size, columns).sum(dim=0)  # units are numbered block by block
        parts = by_direction.split([input_size, hidden_size, columns - input_size - hidden_size], dim=2)
        sums = biases.view(-1, directions, gate_size).sum(dim=0)
        # Each bias has a tensor of its own: they become the parameters' gradients, which are changed in place.
        gradients = [part[number] for number in range(directions) for part in (*parts[:2], sums, sums.clone())]
        if grad_x is not None and directions == 2:
            grad_x[0] += grad_x[1]
        return None if grad_x is None else grad_x[0], None, *gradients


def _forward(
    x: Tensor, packing: Packing, parameters: Sequence[Tensor], *, keep_gates: bool, index: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Return gates [N, directions, 4H] and cells [N, directions, H], perhaps None without ``keep_gates``, and the states."""
    _check_shapes(x, parameters)
    directions, hidden_size, rows = len(parameters) // 4, parameters[1].shape[1], int(packing.starts[-1])
    blocks, sequences = _blocks(packing, directions), int(packing.starts[1])
    tensors = _lay_out(x, parameters)
    if index is not None or sequences < _FEW_SEQUENCES * blocks:
        tensors["projections"] = _project(tensors, hidden_size)
    sizes = _layer(packing, hidden_size, directions, blocks)
    states = x.new_empty(rows, directions, hidden_size)
    if not keep_gates and sequences >= _TILED_SEQUENCES * blocks and _fits_tiles(x, hidden_size, index):
        tensors["tiles"] = torch.empty_like(tensors["weights"])
        _run("tiles", Layer(units=tensors["tiles"].shape[:2].numel(), hidden_size=hidden_size), **tensors)
        _run("tiled forward", sizes, **tensors, index=index, states=states)
        return None, None, states
    gates = buffers.take(rows, directions, 4 * hidden_size, like=x) if keep_gates else None
    cells = torch.empty_like(states)
    _run("forward", sizes, **tensors, index=index, gates=gates, cells=cells, states=states)
    return gates, cells, states


def _check_shapes(x: Tensor, parameters: Sequence[Tensor]) -> None:
    """Raise a ValueError unless the parameters fit x and each other: compiled code would read beyond them."""
    hidden_size = parameters[1].shape[1]
    expected = [(4 * hidden_size, x.shape[1]), (4 * hidden_size, hidden_size), (4 * hidden_size,), (4 * hidden_size,)]
    actual = [tuple(parameter.shape) for parameter in parameters]
    if actual != expected * (len(parameters) // 4):
        raise ValueError(f"weights of shapes {actual} are not those of LSTMs over {tuple(x.shape)}")


def _lay_out(x: Tensor, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the inputs, and the weights and biases in the order in which the passes read them."""
    directions, hidden_size = len(parameters) // 4, parameters[1].shape[1]
    lanes = _native().vector_bytes // x.element_size()
    panels, depth = -(-hidden_size // lanes), x.shape[1] + hidden_size
    tensors = {
        "inputs": x,
        "weights": x.new_empty(directions, panels, depth, 4, lanes),
        "biases": x.new_empty(directions, panels, 4, lanes),
    }
    parameters = [parameter.contiguous() for parameter in parameters]
    layout = Layer(units=directions * panels, hidden_size=hidden_size)
    layout.parameters[: len(parameters)] = [parameter.data_ptr() for parameter in parameters]
    _run("layout", layout, **tensors)
    return tensors


def _project(tensors: dict[str, Tensor], hidden_size: int) -> Tensor:
    """Multiply each row of the inputs by the weights before the time loop: [rows, directions, panels, 4, lanes]."""
    x, biases = tensors["inputs"], tensors["biases"]
    projections = x.new_empty(len(x), *biases.shape)
    sizes = Layer(
        block=_PROJECTED_ROWS, units=-(-len(x) // _PROJECTED_ROWS), directions=len(biases), hidden_size=hidden_size
    )
    _run("projection", sizes, **tensors, projections=projections)
    return projections


def _fits_tiles(x: Tensor, hidden_size: int, index: Tensor | None) -> bool:
    """Return whether AMX is there and can compute such sizes; rows that an index names are multiplied by vectors first."""
    sizes = (hidden_size,) if index is not None else (hidden_size, x.shape[1])
    return _native().has_tiles and x.dtype == torch.float32 and all(size % _TILE_CHUNK == 0 for size in sizes)


def _layer(packing: Packing, hidden_size: int, directions: int, blocks: int) -> Layer:
    """Return the sizes of a pass over sequences in blocks."""
    return Layer(
        steps=len(packing.starts) - 1,
        hidden_size=hidden_size,
        directions=directions,
        block=-(-int(packing.starts[1]) // blocks),
        units=directions * blocks,
        starts=packing.starts.data_ptr(),
    )


def _run(name: Pass, layer: Layer, **tensors: Tensor | None) -> None:
    x = tensors["inputs"]
    assert x is not None
    layer.rows, layer.input_size = x.shape
    for field, tensor in tensors.items():
        if tensor is not None:
            setattr(layer, field, tensor.data_ptr())
    _native().run(layer, name, dtype=x.dtype)


def _blocks(packing: Packing, directions: int) -> int:
    """Return into how many blocks the sequences are divided, so that each thread has a unit of work."""
    return min(int(packing.starts[1]), -(-torch.get_num_threads() // directions))


def _in_bands(weights: Tensor) -> Tensor:
    """Return weights [directions, 4H, columns] in bands of four vectors: [directions, bands, 4H, 4 * lanes]."""
    directions, gate_size, size = weights.shape
    padded = F.pad(weights, (0, _rounded_up(size, weights) - size))
    return padded.view(directions, gate_size, -1, _rounded_up(1, weights)).transpose(1, 2).contiguous()


def _rounded_up(size: int, like: Tensor) -> int:
    """Return ``size`` rounded up to a multiple of four vectors."""
    width = 4 * _native().vector_bytes // like.element_size()
    return -(-size // width) * width


def _native() -> Native:
    native = library.native()
    assert native is not None  # `usable_weights` has asked
    return native
