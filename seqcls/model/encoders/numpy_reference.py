"""What the recurrent encoders compute, in NumPy alone and forward only: for reading, and for testing them.

A recurrence is a function of one step: it maps an input and the earlier state to the next state. `run` turns a recurrence
into a network over a padded batch, and `run_both_ways` turns two into a bidirectional one. The functions at the end reduce
the states to one vector. Weights are those of torch.nn, with the gates stacked in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)
Array = NDArray[Float]
# A state is a tuple of arrays [B, H]: the first is the visible state, the others are private memory.
State = tuple[NDArray[Float], ...]
Step = Callable[[NDArray[Float], State[Float]], State[Float]]


def simple_rnn_step(x: Array[Float], state: State[Float], W: Array[Float], U: Array[Float], b: Array[Float]) -> State[Float]:
    """h_t = tanh(W x_t + U h_{t-1} + b) (Elman 1990), for a batch.

    Args:
        x: float [B, D], the inputs of this step.
        state: (h,), float [B, H].
        W: float [H, D].
        U: float [H, H].
        b: float [H].
    """
    (h,) = state
    return (np.tanh(x @ W.T + h @ U.T + b),)


def lstm_step(x: Array[Float], state: State[Float], W: Array[Float], U: Array[Float], b: Array[Float]) -> State[Float]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    Beside the state h there is the cell state c, which a step changes only as far as its gates let it::

        i, f, o = sigmoid(W_i x + U_i h + b_i), ...      how much to add, to keep, to show
        g       = tanh(W_g x + U_g h + b_g)              the candidate to add
        c       = f * c + i * g
        h       = o * tanh(c)

    Args:
        x: float [B, D].
        state: (h, c), each float [B, H].
        W: float [4 H, D], for the gates i, f, g, o.
        U: float [4 H, H].
        b: float [4 H].
    """
    h, c = state
    i, f, g, o = np.split(x @ W.T + h @ U.T + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(
    x: Array[Float], state: State[Float], W: Array[Float], U: Array[Float], b: Array[Float], c: Array[Float]
) -> State[Float]:
    """Gated recurrent units (Cho et al. 2014; the reset gate acts after the product, as in cuDNN and torch.nn).

    The new state lies between the old one and a candidate n::

        r, z = sigmoid(W_r x + b_r + U_r h + c_r), ...   how much of the state the candidate sees; how much stays
        n    = tanh(W_n x + b_n + r * (U_n h + c_n))
        h    = (1 - z) * n + z * h

    Args:
        x: float [B, D].
        state: (h,), float [B, H].
        W: float [3 H, D], for r, z, n.
        U: float [3 H, H].
        b: float [3 H].
        c: float [3 H].
    """
    (h,) = state
    x_r, x_z, x_n = np.split(x @ W.T + b, 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ U.T + c, 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def min_gru_step(
    x: Array[Float], state: State[Float], W_z: Array[Float], b_z: Array[Float], W_h: Array[Float], b_h: Array[Float]
) -> State[Float]:
    """Minimal gated recurrent units (Feng et al. 2024, sec. 3.1): h = (1 - z) * h + z * (W_h x + b_h).

    Args:
        x: float [B, D].
        state: (h,), float [B, H].
        W_z: float [H, D], for the gate z = sigmoid(W_z x + b_z).
        b_z: float [H].
        W_h: float [H, D].
        b_h: float [H].
    """
    (h,) = state
    z = sigmoid(x @ W_z.T + b_z)
    return ((1 - z) * h + z * (x @ W_h.T + b_h),)


def run(step: Step[Float], x: Array[Float], lengths: NDArray[np.int64], state: State[Float]) -> Array[Float]:
    """Run a recurrence over a padded batch; a sequence that has ended keeps its state.

    Args:
        step: Maps (x_t, state) to the next state, such as ``lambda x, state: lstm_step(x, state, W, U, b)``.
        x: float [B, T, D].
        lengths: int64 [B], each in 1..T.
        state: The state before the first step, such as `zeros`.

    Returns:
        float [B, T, H], the visible part of each state.
    """
    visible = []
    for t in range(x.shape[1]):
        running = (t < lengths)[:, None]
        state = tuple(np.where(running, new, old) for new, old in zip(step(x[:, t], state), state, strict=True))
        visible.append(state[0])
    return np.stack(visible, axis=1)


def run_both_ways(
    ahead: Step[Float], back: Step[Float], x: Array[Float], lengths: NDArray[np.int64], state: State[Float]
) -> Array[Float]:
    """Run one recurrence from the first step and one from each sequence's own last step (Graves & Schmidhuber 2005).

    Returns:
        float [B, T, 2 H]: the states of both at each step, side by side.
    """
    backward = reverse(run(back, reverse(x, lengths), lengths, state), lengths)
    return np.concatenate([run(ahead, x, lengths, state), backward], axis=-1)


def zeros(batch_size: int, hidden_size: int, dtype: np.dtype[Float], *, parts: int = 1) -> State[Float]:
    """Return the state before the first step: ``parts`` arrays of zeros [batch_size, hidden_size]."""
    return tuple(np.zeros((batch_size, hidden_size), dtype) for _ in range(parts))


def reverse(x: Array[Float], lengths: NDArray[np.int64]) -> Array[Float]:
    """Reverse each sequence of x [B, T, H] within its own length."""
    reversed_x = x.copy()
    for row, length in enumerate(lengths):
        reversed_x[row, :length] = x[row, :length][::-1]
    return reversed_x


def last_state(states: Array[Float], lengths: NDArray[np.int64]) -> Array[Float]:
    """Return the state of each sequence at its last step, [B, H] of [B, T, H]."""
    return states[np.arange(len(lengths)), lengths - 1]


def mean_pool(states: Array[Float], lengths: NDArray[np.int64]) -> Array[Float]:
    """Return the mean over the real steps, [B, H] of [B, T, H]."""
    return np.stack([row[:length].mean(axis=0) for row, length in zip(states, lengths, strict=True)])


def max_pool(states: Array[Float], lengths: NDArray[np.int64]) -> Array[Float]:
    """Return the maximum over the real steps, [B, H] of [B, T, H]."""
    return np.stack([row[:length].max(axis=0) for row, length in zip(states, lengths, strict=True)])


def sigmoid(x: Array[Float]) -> Array[Float]:
    """Return 1 / (1 + exp(-x)), in a form that cannot overflow."""
    result: Array[Float] = 0.5 * (np.tanh(0.5 * x) + 1)
    return result
