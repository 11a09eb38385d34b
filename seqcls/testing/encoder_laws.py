"""The laws of an encoder, each a function below.

- Its options are the keyword-only parameters of ``__init__``; there are no ``*args`` and no ``**kwargs``.
- It refuses the devices that its ``device_types`` leaves out, with a DeviceError, and works on all others.
- ``output_size`` is an int, and the result is float32 [B, output_size]; lengths stay on the CPU.
- A sequence of length 1, and a batch of one sequence, work.
- Its input is not changed.
- Evaluation mode is deterministic.
- Padding changes nothing: neither how much there is, nor what it holds.
- The other rows of a batch change nothing, nor does their order.
- Every parameter receives a gradient, and so does x.
- In training, the gradient of a row reaches no other row and no padding.
- The state dict makes a fresh encoder return the same result.
- float32 in gives float32 out; after ``.double()``, float64.
- A tiny task, eight sequences of two classes that are far apart, is learnt in a few steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqcls.errors import DeviceError
from seqcls.model.encoders.base import Encoder
from seqcls.testing.assertions import (
    TOLERANCE,
    require,
    require_close,
    require_complete_options,
    require_described_options,
    seeded_generator,
)

_INPUT_SIZE = 5
_LENGTHS = (7, 1, 4, 6)
_TINY_STEPS, _TINY_LOSS = 100, 0.2
_DEVICE_TYPES = ("cpu", "cuda", "mps")


def check_encoder(
    encoder_class: type[Encoder], *, options: Mapping[str, object] | None = None, devices: Sequence[str] = ("cpu",)
) -> None:
    """Check that an encoder keeps every law of `seqcls.testing.encoder_laws`.

    Example:
        >>> def test_my_encoder_keeps_the_laws():
        ...     check_encoder(MyEncoder, options={"hidden_size": 8})

    Args:
        encoder_class: The class; it is built several times.
        options: Its options, where the defaults are too large for a quick test.
        devices: The devices to check it on. One that its ``device_types`` leaves out must be refused.

    Raises:
        AssertionError: The encoder breaks a law; the message names the law and says by how much.
    """
    options = dict(options or {})
    require_described_options(encoder_class)
    require_complete_options(encoder_class, options)
    _check(_unusable_devices_are_refused, _Case(encoder_class, options, torch.device("cpu")))
    usable = [device for device in map(torch.device, devices) if _is_declared(encoder_class, device)]
    require(bool(usable), f"{encoder_class.__name__} runs on none of {list(devices)}; name one that it runs on in devices=")
    for device in usable:
        for law in _LAWS:
            _check(law, _Case(encoder_class, options, device))


@dataclass(frozen=True)
class _Case:
    """An encoder class under test, with its options and device."""

    encoder_class: type[Encoder]
    options: dict[str, object]
    device: torch.device

    def build(self, *, seed: int = 0) -> Encoder:
        """Build an encoder in evaluation mode, its initial weights drawn with ``seed``."""
        torch.manual_seed(seed)
        return self.encoder_class(_INPUT_SIZE, **self.options).to(self.device).eval()

    def batch(self, lengths: Sequence[int] = _LENGTHS, *, padding: int = 0, garbage: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return x, float32 [B, T + padding, _INPUT_SIZE], and lengths, int64 [B] on the CPU.

        The steps of row b are always the same; ``garbage`` scales the noise in the padding.
        """
        total = max(lengths) + padding
        x = garbage * torch.randn(len(lengths), total, _INPUT_SIZE, generator=seeded_generator(1))
        for row, length in enumerate(lengths):
            x[row, :length] = torch.randn(length, _INPUT_SIZE, generator=seeded_generator(100 + row))
        return x.to(self.device), torch.tensor(lengths, dtype=torch.int64)


def _unusable_devices_are_refused(case: _Case) -> None:
    encoder = case.encoder_class(_INPUT_SIZE, **case.options)
    for device in map(torch.device, _DEVICE_TYPES):
        try:
            encoder.check_device(device)
            is_refused = False
        except DeviceError:
            is_refused = True
        declared = f"device_types is {case.encoder_class.device_types}, but check_device"
        if _is_declared(case.encoder_class, device):
            require(not is_refused, f"{declared} refuses {device}")
        else:
            require(is_refused, f"{declared} raises no DeviceError for {device}")


def _output_has_the_promised_shape(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    size = encoder.output_size
    require(isinstance(size, int) and not isinstance(size, bool), f"output_size must be an int, got {size!r}")
    output = encoder(x, lengths)
    require(isinstance(output, Tensor), f"forward returns {type(output).__name__}, not a Tensor")
    shape, expected = list(output.shape), [len(lengths), size]
    require(shape == expected, f"forward returns {shape}, not [B, output_size] = {expected}")
    require(output.device == x.device, f"x is on {x.device}, but the result is on {output.device}")
    require(bool(output.isfinite().all()), "the result is not finite")


def _sequences_of_length_one_work(case: _Case) -> None:
    encoder = case.build()
    output = encoder(*case.batch((1, 1, 1)))
    require(tuple(output.shape) == (3, encoder.output_size), f"three sequences of length 1 give {list(output.shape)}")
    require(bool(output.isfinite().all()), "the result is not finite")


def _a_batch_of_one_works(case: _Case) -> None:
    encoder = case.build()
    for length in (1, 4):
        output = encoder(*case.batch((length,)))
        shape = list(output.shape)
        require(shape == [1, encoder.output_size], f"one sequence of length {length} gives {shape}")
        require(bool(output.isfinite().all()), f"the result for one sequence of length {length} is not finite")


def _padding_changes_nothing(case: _Case) -> None:
    encoder = case.build()
    expected = encoder(*case.batch())
    for padding, garbage in itertools.product((0, 1, 9), (0.0, 1.0, 1e4)):
        what = f"with {padding} more padded steps that hold noise of scale {garbage:g},"
        require_close(encoder(*case.batch(padding=padding, garbage=garbage)), expected, f"{what} rows")


def _other_rows_change_nothing(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    together = encoder(x, lengths)
    for row, length in enumerate(_LENGTHS):
        alone = encoder(x[row : row + 1, :length], lengths[row : row + 1])
        require_close(together[row : row + 1], alone, f"in a batch, the row of length {length}")
    changed = x.clone()
    changed[1:] *= 100.0
    require_close(encoder(changed, lengths)[:1], together[:1], "with other rows changed, the first row")


def _the_order_of_rows_changes_nothing(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    expected = encoder(x, lengths)
    for order in ([3, 2, 1, 0], [2, 0, 3, 1]):
        require_close(encoder(x[order], lengths[order]), expected[order], f"in the order {order}, rows")


def _training_lets_no_gradient_cross_rows(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch(padding=2, garbage=1.0)
    x.requires_grad_()
    for row, length in enumerate(_LENGTHS):
        (gradient,) = torch.autograd.grad(_weighted_sum(encoder(x, lengths)[row]), x)
        gradient = gradient.abs()
        allowed = TOLERANCE * max(1.0, float(gradient.max()))
        gradient[row, :length] = 0  # leaves the gradient of padding and of other rows
        leaked = float(gradient.max())
        require(leaked <= allowed, f"row {row} of length {length} depends on padding or other rows: gradient {leaked:.3g}")


def _every_parameter_receives_a_gradient(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch()
    if not encoder.output_size:  # it reads nothing, as `linear` does
        return
    inputs = {"x": x.requires_grad_()}
    inputs |= {f"the parameter {name}": value for name, value in encoder.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(_weighted_sum(encoder(x, lengths)), list(inputs.values()), allow_unused=True)
    for what, gradient in zip(inputs, gradients, strict=True):
        require(gradient is not None, f"{what} receives no gradient")
        require(bool(gradient.isfinite().all()), f"{what} receives a gradient that is not finite")
        require(bool(gradient.any()), f"{what} receives a gradient that is zero everywhere")


def _evaluation_is_deterministic(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    require_close(encoder(x, lengths), encoder(x, lengths), "from one call to the next, rows")


def _state_round_trips(case: _Case) -> None:
    encoder, (x, lengths) = case.build(seed=0), case.batch()
    encoder.train()(x, lengths)  # the state dict must hold what training changes, too
    fresh = case.build(seed=1)
    fresh.load_state_dict(encoder.state_dict())
    require_close(fresh(x, lengths), encoder.eval()(x, lengths), "in a fresh encoder with the same state dict, rows")


def _dtype_is_kept(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    dtype = encoder(x, lengths).dtype
    require(dtype == torch.float32, f"float32 in gives {dtype} out")
    if case.device.type != "mps":  # which has no float64
        dtype = encoder.double()(x.double(), lengths).dtype
        require(dtype == torch.float64, f"after .double(), float64 in gives {dtype} out")


def _input_is_not_changed(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch(padding=2, garbage=1.0)
    for mode in (encoder.eval(), encoder.train()):
        x_before, lengths_before = x.clone(), lengths.clone()
        mode(x, lengths)
        require(torch.equal(x, x_before), f"forward changes x, by up to {(x - x_before).abs().max():.3g}")
        require(torch.equal(lengths, lengths_before), f"forward changes lengths from {lengths_before} to {lengths}")


def _a_tiny_task_is_learnt(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch((3, 5, 1, 4, 3, 5, 1, 4))
    if not encoder.output_size:
        return
    labels = (torch.arange(len(x)) // 4).to(x.device)
    x = x + (4.0 * labels - 2.0).view(-1, 1, 1)
    head = torch.nn.Linear(encoder.output_size, 2).to(x.device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam([parameter for parameter in parameters if parameter.requires_grad], lr=0.02)
    for _ in range(_TINY_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(head(encoder(x, lengths)), labels).backward()
        optimizer.step()
    loss = float(F.cross_entropy(head(encoder.eval()(x, lengths)), labels).detach())
    require(
        loss < _TINY_LOSS,
        f"after {_TINY_STEPS} steps of Adam on eight sequences the loss is {loss:.3g}, not below {_TINY_LOSS} "
        "(a network that has learnt nothing has 0.693); do gradients vanish or explode?",
    )


_LAWS: tuple[Callable[[_Case], None], ...] = (
    _output_has_the_promised_shape,
    _sequences_of_length_one_work,
    _a_batch_of_one_works,
    _input_is_not_changed,
    _evaluation_is_deterministic,
    _padding_changes_nothing,
    _other_rows_change_nothing,
    _the_order_of_rows_changes_nothing,
    _every_parameter_receives_a_gradient,
    _training_lets_no_gradient_cross_rows,
    _state_round_trips,
    _dtype_is_kept,
    _a_tiny_task_is_learnt,
)


def _check(law: Callable[[_Case], None], case: _Case) -> None:
    """Run one law, and turn whatever it raises into an AssertionError that names the law."""
    broken = f"{case.encoder_class.__name__} on {case.device} breaks the law {law.__name__.strip('_').replace('_', ' ')!r}"
    try:
        with _isolated(case.device):
            law(case)
    except AssertionError as error:
        raise AssertionError(f"{broken}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{broken}: it raises {type(error).__name__}: {error}") from error


@contextmanager
def _isolated(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state alone, and keep TensorFloat-32 (10 bits of mantissa) out of comparisons."""
    cuda_devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=cuda_devices),
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
    ):
        yield


def _is_declared(encoder_class: type[Encoder], device: torch.device) -> bool:
    return encoder_class.device_types is None or device.type in encoder_class.device_types


def _weighted_sum(output: Tensor) -> Tensor:
    """Sum with random weights: a plain sum has no gradient through, say, a normalization layer."""
    weights = torch.randn(output.shape, generator=seeded_generator(2))
    return (output * weights.to(output)).sum()
