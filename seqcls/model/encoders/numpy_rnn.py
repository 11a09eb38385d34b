"""The simple recurrent network in NumPy alone: the loop, the loop over a batch, and its gradients.

Read it from the top: `simple_rnn` is the idea, `simple_rnn_batch` does the same for many sequences at once, and
`simple_rnn_gradients` walks the loop backwards. The encoder `numpy-simple-rnn` trains with these functions.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)


def simple_rnn(inputs: NDArray[Float], W: NDArray[Float], U: NDArray[Float], b: NDArray[Float]) -> NDArray[Float]:
    """Run one sequence through a simple recurrent network (Elman 1990).

    At each step, the network computes its next state from an input and its current state::

        h_0 = 0
        h_t = tanh(W x_t + U h_{t-1} + b)        t = 1 ... T

    Args:
        inputs: float [timesteps, input_features], the x_t.
        W: float [output_features, input_features], the weights of the input.
        U: float [output_features, output_features], the weights of the state.
        b: float [output_features].

    Returns:
        float [timesteps, output_features], all states h_t; the last one has seen the whole sequence.
    """
    state = np.zeros_like(b)
    outputs = []
    for x in inputs:
        state = np.tanh(W @ x + U @ state + b)
        outputs.append(state)
    return np.stack(outputs)


def simple_rnn_batch(
    x: NDArray[Float], lengths: NDArray[np.int64], W: NDArray[Float], U: NDArray[Float], b: NDArray[Float]
) -> NDArray[Float]:
    """Run a padded batch of sequences, each to its own end, where its state stays.

    The products W x_t do not need the state: one large matrix product computes them for all steps. The loop is left with a
    product with U and a tanh, for the whole batch at once. Time comes first in the arrays of the loop, so that each step is
    contiguous in memory.

    Args:
        x: float [B, T, D]; what stands at and beyond a sequence's length is never used.
        lengths: int64 [B], each in 1..T.
        W: float [H, D].
        U: float [H, H].
        b: float [H].

    Returns:
        float [T, B, H], the states; beyond its length a sequence keeps its last one.
    """
    steps = _time_first(x, lengths)  # [T, B, D]
    states = steps @ W.T  # [T, B, H]: W x_t for now
    states += b
    running = _still_running(lengths, len(states))
    for t, new in enumerate(states):
        if t:
            new += states[t - 1] @ U.T
        np.tanh(new, out=new)
        if not running[t].all():
            np.copyto(new, states[t - 1], where=~running[t])
    return states


def simple_rnn_gradients(
    d_states: NDArray[Float],
    states: NDArray[Float],
    x: NDArray[Float],
    lengths: NDArray[np.int64],
    W: NDArray[Float],
    U: NDArray[Float],
) -> tuple[NDArray[Float], NDArray[Float], NDArray[Float], NDArray[Float]]:
    """Backpropagate through time (Werbos 1990): from the gradient of the states to those of inputs and weights.

    With a_t = W x_t + U h_{t-1} + b, h_t = tanh(a_t), and ``d_v`` for the gradient of the loss with respect to v::

        d_h_t  =  gradient from later layers  +  U^T d_a_{t+1}           the state is used twice
        d_a_t  =  (1 - h_t^2) d_h_t                                      tanh' = 1 - tanh^2
        d_x_t  =  W^T d_a_t
        d_W = sum_t d_a_t x_t^T     d_U = sum_t d_a_t h_{t-1}^T     d_b = sum_t d_a_t

    The loop runs from the last step to the first and needs only U; the sums are large products after it. Where a sequence
    has ended, the state was copied, so the gradient passes to the step before unchanged.

    Args:
        d_states: float [T, B, H], the gradient with respect to ``states``.
        states: float [T, B, H], the result of `simple_rnn_batch`.
        x: float [B, T, D], its argument.
        lengths: int64 [B], its argument.
        W: float [H, D].
        U: float [H, H].

    Returns:
        The gradients with respect to x [B, T, D], W [H, D], U [H, H] and b [H].
    """
    running = _still_running(lengths, len(states))
    d_a: NDArray[Float] = 1 - states * states  # [T, B, H]: tanh' for now
    d_h = np.zeros_like(states[0])  # [B, H]
    for t in reversed(range(len(states))):
        d_h += d_states[t]
        d_a[t] *= d_h
        if running[t].all():
            d_h = d_a[t] @ U
        else:
            d_a[t] *= running[t]
            d_h = np.where(running[t], d_a[t] @ U, d_h)
    steps = _time_first(x, lengths)
    d_x = (d_a @ W).swapaxes(0, 1)
    d_W = _rows(d_a).T @ _rows(steps)
    d_U = _rows(d_a[1:]).T @ _rows(states[:-1])  # the state before the first step is zero
    d_b: NDArray[Float] = _rows(d_a).sum(axis=0)
    return d_x, d_W, d_U, d_b


def _time_first(x: NDArray[Float], lengths: NDArray[np.int64]) -> NDArray[Float]:
    """Return x [B, T, D] as [T, B, D], zero in the padding, since 0 times an arbitrary value could be NaN."""
    steps = np.ascontiguousarray(x.swapaxes(0, 1))
    running = _still_running(lengths, len(steps))
    return steps if running.all() else np.where(running, steps, np.zeros((), x.dtype))


def _still_running(lengths: NDArray[np.int64], timesteps: int) -> NDArray[np.bool_]:
    """Return bool [T, B, 1], True at the steps of a sequence."""
    running: NDArray[np.bool_] = (np.arange(timesteps)[:, None] < lengths)[..., None]
    return running


def _rows(x: NDArray[Float]) -> NDArray[Float]:
    """Return x [T, B, H] as [T * B, H]."""
    return x.reshape(-1, x.shape[-1])
