"""`numpy-simple-rnn`: the loop of `numpy_rnn` as a trainable encoder. This module is only the bridge to PyTorch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqcls.model.encoders.base import Encoder
from seqcls.model.encoders.initialization import initialize_weights
from seqcls.model.encoders.masking import Pool, Pooling
from seqcls.model.encoders.numpy_rnn import simple_rnn_batch, simple_rnn_gradients
from seqcls.model.option_types import PositiveInt


class NumpySimpleRNN(Encoder):
    """Simple recurrent network, forward and backward in NumPy: h_t = tanh(W x_t + U h_{t-1} + b) (Elman 1990).

    It computes what ``torch-rnn`` does, in float32 or float64 and on the CPU only. To see how, read
    `seqcls.model.encoders.numpy_rnn`. ``output_size`` is ``hidden_size``, and twice that with ``pooling="mean+max"``.

    Args:
        hidden_size: Size of the state.
        pooling: How the states become one vector.

    Example:
        >>> x, lengths = torch.randn(2, 5, 32), torch.tensor([5, 3])
        >>> NumpySimpleRNN(32, hidden_size=64)(x, lengths).shape
        torch.Size([2, 64])
    """

    device_types: ClassVar[tuple[str, ...] | None] = ("cpu",)

    def __init__(self, input_size: int, *, hidden_size: PositiveInt = 128, pooling: Pooling = "last") -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(hidden_size, input_size))
        self.U = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b = nn.Parameter(torch.zeros(hidden_size))
        initialize_weights(self.W, self.U)
        self.pool = Pool(hidden_size, pooling)
        self.output_size = self.pool.output_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode x [B, T, input_size], float32 or float64, as [B, output_size]; see `Encoder.forward`.

        Raises:
            DeviceError: x is not on the CPU.
            TypeError: x is neither float32 nor float64, or the parameters have another dtype.
        """
        self.check_device(x.device)
        if x.dtype not in (torch.float32, torch.float64) or x.dtype != self.W.dtype:
            raise TypeError(f"numpy-simple-rnn computes in float32 or float64; x is {x.dtype}, the weights {self.W.dtype}")
        states: Tensor = _SimpleRNN.apply(x, lengths, self.W, self.U, self.b)  # type: ignore[no-untyped-call]
        encoded: Tensor = self.pool(states, lengths)
        return encoded


class _SimpleRNN(torch.autograd.Function):
    """States [B, T, H] of a padded batch. Tensors and arrays share their memory: nothing is copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor, W: Tensor, U: Tensor, b: Tensor) -> Tensor:
        with _one_blas_thread():
            states = torch.from_numpy(simple_rnn_batch(*map(_array, (x, lengths, W, U, b)))).transpose(0, 1)
        ctx.save_for_backward(x, lengths, W, U, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, lengths, W, U, states = map(_array, ctx.saved_tensors)
        d_states = _array(grads[0]).swapaxes(0, 1)
        with _one_blas_thread():
            gradients = simple_rnn_gradients(d_states, states.swapaxes(0, 1), x, lengths, W, U)
        d_x, d_W, d_U, d_b = map(torch.from_numpy, gradients)
        return d_x, None, d_W, d_U, d_b


def _one_blas_thread() -> AbstractContextManager[object]:
    """Keep NumPy's products on this thread: its other threads would compete for cores with PyTorch's, which wait actively.

    On two cores, that made a batch of 64 short sequences eight times slower.
    """
    limit: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limit


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().numpy()
