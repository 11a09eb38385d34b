"""LSTM layers in compiled code: both directions at once, over packed sequences, so that no step of padding is computed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqcls.model.native.library import SWITCH, Layer, Native, Pass, native

# Gates are the largest thing in training, 50 MB a layer of the tutorial's network. Fresh from the system each of their pages
# would be zeroed first, so that a few buffers are kept for the next step.
_MOST_SPARE = 4
# Bytes of the weights of a layer, a direction: 512 KB at the tutorial's sizes.
_LARGEST = 4 << 20
# Bytes that the gradients of weights may take in all: each block of sequences adds up its own.
_MOST_FOR_GRADIENTS = 256 << 20
# Rows of inputs whose products with the weights are computed together, so that they stay in the cache meanwhile.
_PROJECTED = 96
# With fewer sequences than this in a block, the products of inputs are computed before the time loop: in it, the weights
# would be read for so few rows.
_FEW = 6
# With at least so many sequences in a block, tiles of AMX are faster than vectors. They multiply so many values at once, of
# which sizes must be multiples.
_TILED, _CHUNK = 8, 32
_NAMES = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
_spare: list[Tensor] = []
_spare_lock = threading.Lock()


def usable_weights(x: Tensor, layers: Iterable[Iterable[nn.Module]]) -> list[list[list[Tensor]]] | None:
    """Return the weights of layers, one above the other, of one or both directions; None unless `lstm_layer` can do them.

    It takes float32 and float64 on the CPU, not under autocast or another transformation, and layers whose weights fit the
    caches: of larger ones PyTorch makes larger products. Whatever is wrong with x or the weights is left to PyTorch to say.

    Args:
        x: What goes into the first layer, [..., input_size].
        layers: Any modules; only ``torch.nn.LSTM`` of one layer and direction can be done.
    """
    found = [[_plain_weights(layer) for layer in directions] for directions in layers]
    flat = [weight for directions in found for weights in directions for weight in weights]
    is_usable = (
        all(weights for directions in found for weights in directions)
        and x.dtype in (torch.float32, torch.float64)
        and all(tensor.device.type == "cpu" and tensor.dtype == x.dtype for tensor in (x, *flat))
        and x.shape[-1] == flat[0].shape[1]
        and all(sum(map(torch.numel, weights)) * x.element_size() <= _LARGEST for part in found for weights in part)
        and not _is_transformed()
        and native() is not None
    )
    return found if is_usable else None


def _plain_weights(layer: nn.Module) -> list[Tensor]:
    """Return the weights of an LSTM layer that is just that; none of another module.

    A subclass, a pruned or parametrized layer and one with hooks does more than its weights say.
    """
    if type(layer) is not nn.LSTM or list(layer._parameters) != _NAMES:
        return []
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return []
    return [getattr(layer, name) for name in _NAMES]


def _is_transformed() -> bool:
    """Return whether something other than numbers is wanted: a trace, a graph, a batch of batches, other precisions."""
    return (
        _is_autocast_on()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
    )


def _is_autocast_on() -> bool:
    # Asking for a device by name came with torch 2.4, which deprecated the other question.
    return torch.is_autocast_enabled("cpu") if torch.__version__ >= "2.4" else torch.is_autocast_cpu_enabled()


class Packing:
    """The order of the real steps of padded sequences that compiled layers work in: by time, then longest sequence first.

    Attributes:
        starts: int64 [T + 1]: of the N real steps, those at time t are the rows from ``starts[t]`` to ``starts[t + 1]``.
    """

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        own = lengths.numpy()
        order = np.argsort(-own, kind="stable")
        counts = np.searchsorted(-own[order], -np.arange(own.max()))  # the sequences longer than t, for each t
        starts = np.concatenate([[0], counts.cumsum()])
        step = np.repeat(np.arange(len(counts)), counts)
        self.starts = torch.from_numpy(starts)
        sequence = order[np.arange(starts[-1]) - starts[step]]
        self._sequence = torch.from_numpy(sequence)  # int64 [N], of each row
        self._rows = torch.from_numpy(sequence * num_steps + step)  # int64 [N], of the padded batch flattened
        self._place = torch.from_numpy(np.argsort(order))  # int64 [B], of each sequence within a step
        self._shape = (len(own), num_steps)

    def pack(self, x: Tensor) -> Tensor:
        """Return the real steps of x [B, T, D], [N, D]."""
        packed: Tensor = _Pack.apply(x, self._rows)  # type: ignore[no-untyped-call]
        return packed

    def unpack(self, x: Tensor) -> Tensor:
        """Return x [N, D] as [B, T, D], 0 in the padding."""
        batch_size, num_steps = self._shape
        return x.new_zeros(batch_size * num_steps, x.shape[1]).index_copy_(0, self._rows, x).view(batch_size, num_steps, -1)

    def rows(self, steps: Tensor) -> Tensor:
        """Return where a step of each sequence stands, int64 [B], from ``steps``, int64 [B]."""
        return self.starts[steps] + self._place

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of x [N, D] over the steps of each sequence, [B, D]."""
        return x.new_zeros(self._shape[0], x.shape[1]).index_add_(0, self._sequence, x)


class _Pack(torch.autograd.Function):
    """Gather rows, each at most once: the general gradient of indexing would add them up one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.flatten(0, 1).index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        batch_size, num_steps, size = ctx.shape
        padded = gradient.new_zeros(batch_size * num_steps, size).index_copy_(0, rows, gradient)
        return padded.view(ctx.shape), None


def lstm_layer(x: Tensor, packing: Packing, directions: Sequence[Sequence[Tensor]], index: Tensor | None = None) -> Tensor:
    """Run one layer of LSTMs over packed sequences.

    Args:
        x: float32 or float64 [N, D], in the order of ``packing``; with ``index``, [U, D] in any order.
        packing: That order.
        directions: For one or both directions the weights of ``torch.nn.LSTM``: [4H, D], [4H, H], [4H] and [4H], of the
            gates i, f, g, o.
        index: int64 [N], the row of x that each step reads. Where there is no gradient, the product of a row that is read
            more than once is computed once.

    Returns:
        The states [N, directions * H]; with ``index`` those of ``x[index]``, to the last bit but where AMX predicts.

    Raises:
        ValueError: The weights have other shapes.
    """
    weights = [weight for direction in directions for weight in direction]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights)):
        own = x if index is None else x[index]
        states: Tensor = _LSTMLayer.apply(own, packing, *weights)  # type: ignore[no-untyped-call]
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
        if torch.is_grad_enabled():  # torch.autograd.function.once_differentiable would let some second derivatives be 0
            raise RuntimeError(f"compiled LSTM layers have no second derivatives; set {SWITCH}=0 to use PyTorch's own")
        x, cells, states, *parameters = ctx.saved_tensors
        ih, hh = torch.stack(parameters[::4]), torch.stack(parameters[1::4])  # [directions, 4H, ...]
        # The pass below overwrites the gates; a second one, of a retained graph, computes them anew.
        gates, ctx.gates = ctx.gates, None
        if gates is None:
            gates, _, _ = _forward(x, ctx.packing, parameters, keep_gates=True)
        (directions, gate_size, hidden_size), input_size = hh.shape, x.shape[1]
        columns = _filled(input_size + hidden_size, x)
        most = _MOST_FOR_GRADIENTS // (directions * gate_size * columns * x.element_size())
        blocks = max(1, min(most, _blocks(ctx.packing, directions)))
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
        _give_back(gates)
        by_direction = weights.view(-1, directions, gate_size, columns).sum(dim=0)  # units are numbered block by block
        parts = by_direction.split([input_size, hidden_size, columns - input_size - hidden_size], dim=2)
        sums = biases.view(-1, directions, gate_size).sum(dim=0)
        # Of each bias a tensor of its own: they become the parameters' gradients, which are changed in place.
        found = [part[number] for number in range(directions) for part in (*parts[:2], sums, sums.clone())]
        if grad_x is not None and directions == 2:
            grad_x[0] += grad_x[1]
        return None if grad_x is None else grad_x[0], None, *found


def _forward(
    x: Tensor, packing: Packing, parameters: Sequence[Tensor], *, keep_gates: bool, index: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Return gates [N, directions, 4H], cells and states [N, directions, H]; of what no backward pass needs perhaps None."""
    directions, hidden_size, rows = len(parameters) // 4, parameters[1].shape[1], int(packing.starts[-1])
    shapes = [(4 * hidden_size, x.shape[1]), (4 * hidden_size, hidden_size), (4 * hidden_size,), (4 * hidden_size,)]
    if [parameter.shape for parameter in parameters] != shapes * directions:  # compiled code would read beyond them
        found = [tuple(parameter.shape) for parameter in parameters]
        raise ValueError(f"weights of shapes {found} are not those of LSTMs over {tuple(x.shape)}")
    lanes = _library().vector_bytes // x.element_size()
    panels, depth = -(-hidden_size // lanes), x.shape[1] + hidden_size
    parameters = [parameter.contiguous() for parameter in parameters]
    tensors = {
        "inputs": x,
        "weights": x.new_empty(directions, panels, depth, 4, lanes),
        "biases": x.new_empty(directions, panels, 4, lanes),
    }
    layout = Layer(units=directions * panels, hidden_size=hidden_size)
    layout.parameters[: len(parameters)] = [parameter.data_ptr() for parameter in parameters]
    _run("layout", layout, **tensors)
    blocks = _blocks(packing, directions)
    gates = _take(rows, directions, 4 * hidden_size, like=x) if keep_gates else None
    states = x.new_empty(rows, directions, hidden_size)
    is_tiled = gates is None and int(packing.starts[1]) >= _TILED * blocks and _fits_tiles(x, hidden_size, index)
    if index is not None or int(packing.starts[1]) < _FEW * blocks:
        tensors["projections"] = x.new_empty(len(x), directions, panels, 4, lanes)
        projection = Layer(block=_PROJECTED, units=-(-len(x) // _PROJECTED), directions=directions, hidden_size=hidden_size)
        _run("projection", projection, **tensors)
    sizes = _layer(packing, hidden_size, directions, blocks)
    if is_tiled:  # it keeps the cells of a step alone
        tensors["tiles"] = x.new_empty(directions, panels, depth, 4, lanes)
        _run("tiles", Layer(units=directions * panels, hidden_size=hidden_size), **tensors)
        _run("tiled forward", sizes, **tensors, index=index, states=states)
        return None, None, states
    cells = torch.empty_like(states)
    _run("forward", sizes, **tensors, index=index, gates=gates, cells=cells, states=states)
    return gates, cells, states


def _fits_tiles(x: Tensor, hidden_size: int, index: Tensor | None) -> bool:
    """Return whether there is AMX, and it can predict with such sizes; what an index names is projected by vectors."""
    sizes = (hidden_size,) if index is not None else (hidden_size, x.shape[1])
    return _library().has_tiles and x.dtype == torch.float32 and all(size % _CHUNK == 0 for size in sizes)


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


def _run(do: Pass, layer: Layer, **tensors: Tensor | None) -> None:
    x = tensors["inputs"]
    assert x is not None
    layer.rows, layer.input_size = x.shape
    for name, tensor in tensors.items():
        if tensor is not None:
            setattr(layer, name, tensor.data_ptr())
    _library().run(layer, do, dtype=x.dtype)


def _blocks(packing: Packing, directions: int) -> int:
    """Return the number of blocks that the sequences are cut into, so that each thread has a unit of work."""
    return min(int(packing.starts[1]), -(-torch.get_num_threads() // directions))


def _in_bands(weights: Tensor) -> Tensor:
    """Return weights [directions, 4H, columns] in bands of four vectors: [directions, bands, 4H, 4 * lanes]."""
    directions, gate_size, size = weights.shape
    columns = _filled(size, weights)
    return (
        F.pad(weights, (0, columns - size)).view(directions, gate_size, -1, _filled(1, weights)).transpose(1, 2).contiguous()
    )


def _filled(size: int, like: Tensor) -> int:
    """Return a number of columns, at least ``size``, that tiles of four vectors fill."""
    tile = 4 * _library().vector_bytes // like.element_size()
    return -(-size // tile) * tile


def _library() -> Native:
    found = native()
    assert found is not None  # `usable_weights` has asked
    return found


def _take(*shape: int, like: Tensor) -> Tensor:
    """Return a tensor of any content, in the memory of a spare one if one is large enough."""
    size = int(np.prod(shape))
    with _spare_lock:
        for place, buffer in enumerate(_spare):
            if buffer.dtype == like.dtype and len(buffer) >= size:
                return _spare.pop(place)[:size].view(shape)
    try:
        return like.new_empty(size).view(shape)
    except RuntimeError:  # there may be no room beside the spare ones
        _spare.clear()
        return like.new_empty(size).view(shape)


def _give_back(tensor: Tensor) -> None:
    """Keep the memory of what `_take` returned, which nobody may use any more; the largest few stay."""
    whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    with _spare_lock:
        _spare.append(whole)
        _spare.sort(key=len)
        if len(_spare) > _MOST_SPARE:
            del _spare[0]
