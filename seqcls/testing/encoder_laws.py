"""Conformance checks for encoders and data sets: what a plugin's author calls in one test.

    def test_my_encoder_keeps_the_contract():
        check_encoder(MyEncoder, options={"hidden_size": 8})

The laws of an encoder, each a function below; what breaks one raises an AssertionError that names it:

- its options are the keyword-only parameters of ``__init__``; no ``*args`` or ``**kwargs``
- it refuses the devices that its ``device_types`` leaves out, with a DeviceError, and gives its result on all others
- ``output_size`` is an int, and the result is float32 [B, output_size]; lengths stay on the CPU
- a sequence of length 1, and a batch of one, work
- padding changes nothing: neither how much there is, nor what stands in it
- the other rows of a batch change nothing, nor does the order of the rows
- in training, no gradient of a row reaches other rows or padding
- every parameter gets a gradient, and so does x
- evaluation mode is deterministic
- the state dict makes a fresh encoder give the same result
- float32 in gives float32 out; after ``.double()``, float64
- if it ``takes_index``, the rows of x that an index names give what these rows, one by one, give
- its input is not changed
- a tiny task, eight sequences of two classes far apart, is learnt in a few steps

The laws of a data set: its options come from the signature; loading twice gives the same; the fingerprint is a stable
str; texts are str, or sequences of numbers float [T, D] with one D; labels are indices of unique label names; and train and
validation share no group.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqcls.config.options import describe
from seqcls.data.datasets.base import Dataset, Split, Splits
from seqcls.data.scaler import as_features
from seqcls.errors import DataError, DeviceError, PluginError, SeqclsError, Terminated
from seqcls.model.encoders.base import Encoder
from seqcls.registry import REGISTRIES, PluginInfo

TOLERANCE = 1e-5
"""Largest difference that counts as rounding, relative to the largest value (absolute for values below 1)."""

_INPUT_SIZE = 5
_LENGTHS = (7, 1, 4, 6)
_TINY_STEPS, _TINY_LOSS = 100, 0.2
_DEVICE_TYPES = ("cpu", "cuda", "mps")


def check_encoder(
    encoder_class: type[Encoder], *, options: Mapping[str, object] | None = None, devices: Sequence[str] = ("cpu",)
) -> None:
    """Check that an encoder keeps every law in this module's docstring.

    Args:
        encoder_class: The class; it is built several times.
        options: Its options, where the defaults are too large for a quick test.
        devices: Where to check it. A device that its ``device_types`` leaves out must be refused.

    Raises:
        AssertionError: It breaks a law; the message names the law and tells by how much.
    """
    _check_options(encoder_class, given=options or {})
    case = _Case(encoder_class, dict(options or {}), torch.device("cpu"))
    _check(_unusable_devices_are_refused, case)
    usable = [device for device in map(torch.device, devices) if _is_declared(encoder_class, device)]
    _require(bool(usable), f"{encoder_class.__name__} runs on none of {list(devices)}; name one in devices=")
    for device in usable:
        for law in _ENCODER_LAWS:
            _check(law, _Case(encoder_class, dict(options or {}), device))


def check_dataset(dataset: Dataset) -> None:
    """Check that a data set keeps every law in this module's docstring; it is loaded twice.

    Raises:
        AssertionError: It breaks a law; the message tells which.
    """
    name = type(dataset).__name__
    _require(isinstance(dataset, Dataset), f"{name} does not derive from seqcls.data.datasets.base.Dataset")
    _check_options(type(dataset))
    splits = dataset.load()
    _require(isinstance(splits, Splits), f"{name}.load() gives {type(splits).__name__}, not Splits")
    for split_name, split in _all_splits(splits).items():
        _check_sequences(split, f"{name}, {split_name}", gives=dataset.gives)
        _check_labels(split, f"{name}, {split_name}", num_labels=len(splits.label_names))
    names = list(splits.label_names)
    _require(all(isinstance(label, str) for label in names), f"{name}: label names must be str, got {names}")
    _check_groups(splits, name)
    _check_equal(splits, dataset.load(), name)
    fingerprints = [dataset.fingerprint(), dataset.fingerprint()]
    _require(isinstance(fingerprints[0], str) and bool(fingerprints[0]), f"{name}: fingerprint() must be a str, not empty")
    _require(fingerprints[0] == fingerprints[1], f"{name}: fingerprint() changes from call to call: {fingerprints}")


def find_problem(info: PluginInfo) -> str | None:
    """Import a plugin, check its contract with its default options, and return what is wrong; None if nothing is.

    A data set that comes with seqcls, or that needs an option, is imported but not loaded: it may have to be downloaded.
    """
    try:
        plugin = REGISTRIES[info.kind].get(info.name)
        needs_options = any(option.required for option in describe(plugin))
        if info.kind == "encoder" and not needs_options:
            check_encoder(plugin)
        if info.kind == "dataset" and not needs_options and info.provider != "seqcls":
            check_dataset(plugin())
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        return str(error) if isinstance(error, SeqclsError | AssertionError) else f"{type(error).__name__}: {error}"
    return None


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
        """Make x, float32 [B, T + padding, _INPUT_SIZE], and lengths, int64 [B] on the CPU.

        The steps of row b are the same for any other arguments; ``garbage`` scales the noise in the padding.
        """
        total = max(lengths) + padding
        x = garbage * torch.randn(len(lengths), total, _INPUT_SIZE, generator=_generator(1))
        for row, length in enumerate(lengths):
            x[row, :length] = torch.randn(length, _INPUT_SIZE, generator=_generator(100 + row))
        return x.to(self.device), torch.tensor(lengths, dtype=torch.int64)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Laws of encoders: each takes a case and raises AssertionError.


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
            _require(not is_refused, f"{declared} refuses {device}")
        else:
            _require(is_refused, f"{declared} raises no DeviceError for {device}")


def _output_has_the_promised_shape(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    size = encoder.output_size
    _require(isinstance(size, int) and not isinstance(size, bool), f"output_size must be an int, got {size!r}")
    output = encoder(x, lengths)
    _require(isinstance(output, Tensor), f"forward gives {type(output).__name__}, not a Tensor")
    expected = (len(lengths), size)
    _require(tuple(output.shape) == expected, f"forward gives {list(output.shape)}, not [B, output_size] = {list(expected)}")
    _require(output.device == x.device, f"x is on {x.device}, but the result is on {output.device}")
    _require(bool(output.isfinite().all()), "the result is not finite")


def _sequences_of_length_one_work(case: _Case) -> None:
    encoder = case.build()
    output = encoder(*case.batch((1, 1, 1)))
    _require(tuple(output.shape) == (3, encoder.output_size), f"three steps give {list(output.shape)}")
    _require(bool(output.isfinite().all()), "the result is not finite")


def _a_batch_of_one_works(case: _Case) -> None:
    encoder = case.build()
    for length in (1, 4):
        output = encoder(*case.batch((length,)))
        _require(tuple(output.shape) == (1, encoder.output_size), f"one sequence of {length} gives {list(output.shape)}")
        _require(bool(output.isfinite().all()), f"the result for one sequence of {length} is not finite")


def _padding_changes_nothing(case: _Case) -> None:
    encoder = case.build()
    expected = encoder(*case.batch())
    for padding, garbage in itertools.product((0, 1, 9), (0.0, 1.0, 1e4)):
        what = f"with {padding} more padded steps, that hold noise of scale {garbage:g},"
        _require_close(encoder(*case.batch(padding=padding, garbage=garbage)), expected, f"{what} rows")


def _other_rows_change_nothing(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    together = encoder(x, lengths)
    for row, length in enumerate(_LENGTHS):
        alone = encoder(x[row : row + 1, :length], lengths[row : row + 1])
        _require_close(together[row : row + 1], alone, f"in a batch, the row of length {length}")
    changed = x.clone()
    changed[1:] *= 100.0
    _require_close(encoder(changed, lengths)[:1], together[:1], "with other rows changed, the first row")


def _the_order_of_rows_changes_nothing(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    expected = encoder(x, lengths)
    for order in ([3, 2, 1, 0], [2, 0, 3, 1]):
        _require_close(encoder(x[order], lengths[order]), expected[order], f"in the order {order}, rows")


def _training_lets_no_gradient_cross_rows(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch(padding=2, garbage=1.0)
    x.requires_grad_()
    for row, length in enumerate(_LENGTHS):
        (gradient,) = torch.autograd.grad(_weighted_sum(encoder(x, lengths)[row]), x)
        foreign = gradient.abs()
        allowed = TOLERANCE * max(1.0, float(foreign.max()))
        foreign[row, :length] = 0
        message = f"row {row} of length {length} depends on padding or on other rows: a gradient of {foreign.max():.3g}"
        _require(float(foreign.max()) <= allowed, message)


def _every_parameter_gets_a_gradient(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch()
    named = {"x": x.requires_grad_()}
    named |= {f"the parameter {name}": value for name, value in encoder.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(_weighted_sum(encoder(x, lengths)), list(named.values()), allow_unused=True)
    for what, gradient in zip(named, gradients, strict=True):
        _require(gradient is not None, f"{what} gets no gradient")
        _require(bool(gradient.isfinite().all()), f"{what} gets a gradient that is not finite")
        _require(bool(gradient.any()), f"{what} gets a gradient that is zero everywhere")


def _evaluation_is_deterministic(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    _require_close(encoder(x, lengths), encoder(x, lengths), "from one call to the next, rows")


def _state_round_trips(case: _Case) -> None:
    encoder, (x, lengths) = case.build(seed=0), case.batch()
    encoder.train()(x, lengths)  # state that training changes must be in the state dict as well
    fresh = case.build(seed=1)
    fresh.load_state_dict(encoder.state_dict())
    _require_close(fresh(x, lengths), encoder.eval()(x, lengths), "in a fresh encoder with the same state dict, rows")


def _dtype_is_kept(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch()
    dtype = encoder(x, lengths).dtype
    _require(dtype == torch.float32, f"float32 in gives {dtype} out")
    if case.device.type != "mps":  # which has no float64
        dtype = encoder.double()(x.double(), lengths).dtype
        _require(dtype == torch.float64, f"after .double(), float64 in gives {dtype} out")


def _an_index_gives_what_its_rows_give(case: _Case) -> None:
    if not case.encoder_class.takes_index:
        return
    encoder, (x, lengths) = case.build(), case.batch(padding=2)
    rows = torch.randperm(5, generator=_generator(3)).to(case.device)  # of x[0], in another order and some of them twice
    index = rows[torch.arange(x.shape[0] * x.shape[1], device=case.device) % 5].view(x.shape[:2])
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            found, expected = encoder(x[0], lengths, index), encoder(x[0][index], lengths)
            _require(found.shape == expected.shape, f"with an index, forward gives {list(found.shape)}")
            _require_close(found, expected, "with an index instead of the rows that it names, rows")


def _input_is_not_changed(case: _Case) -> None:
    encoder, (x, lengths) = case.build(), case.batch(padding=2, garbage=1.0)
    for mode in (encoder.eval(), encoder.train()):
        x_before, lengths_before = x.clone(), lengths.clone()
        mode(x, lengths)
        _require(torch.equal(x, x_before), f"forward changes x, by up to {(x - x_before).abs().max():.3g}")
        _require(torch.equal(lengths, lengths_before), f"forward changes lengths from {lengths_before} to {lengths}")


def _a_tiny_task_is_learnt(case: _Case) -> None:
    encoder, (x, lengths) = case.build().train(), case.batch((3, 5, 1, 4, 3, 5, 1, 4))
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
    _require(
        loss < _TINY_LOSS,
        f"after {_TINY_STEPS} steps of Adam on eight sequences the loss is {loss:.3g}, not below {_TINY_LOSS} "
        "(a network that knows nothing has 0.693); do gradients vanish or explode?",
    )


_ENCODER_LAWS: tuple[Callable[[_Case], None], ...] = (
    _output_has_the_promised_shape,
    _sequences_of_length_one_work,
    _a_batch_of_one_works,
    _input_is_not_changed,
    _evaluation_is_deterministic,
    _padding_changes_nothing,
    _other_rows_change_nothing,
    _the_order_of_rows_changes_nothing,
    _every_parameter_gets_a_gradient,
    _training_lets_no_gradient_cross_rows,
    _state_round_trips,
    _dtype_is_kept,
    _an_index_gives_what_its_rows_give,
    _a_tiny_task_is_learnt,
)


def _check(law: Callable[[_Case], None], case: _Case) -> None:
    """Run one law; whatever it raises becomes an AssertionError that names the law."""
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
    """Keep the caller's random state, and keep TensorFloat-32 (10 bits of mantissa) out of comparisons."""
    cuda_devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=cuda_devices),
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
    ):
        yield


def _is_declared(encoder_class: type[Encoder], device: torch.device) -> bool:
    return encoder_class.device_types is None or device.type in encoder_class.device_types


def _check_options(cls: type, *, given: Mapping[str, object] | None = None) -> None:
    """Check that the signature states the options and, unless ``given`` is None, that the required ones are given."""
    try:
        options = describe(cls)
    except PluginError as error:
        raise AssertionError(f"{cls.__name__} breaks the law 'options come from the signature': {error}") from error
    if given is not None:
        missing = [option.name for option in options if option.required and option.name not in given]
        _require(not missing, f"{cls.__name__} has required options; give {', '.join(missing)} in options=")


def _weighted_sum(output: Tensor) -> Tensor:
    """Sum with random weights: a plain sum has no gradient through, say, a normalization layer."""
    weights = torch.randn(output.shape, generator=_generator(2))
    return (output * weights.to(output)).sum()


def _require_close(found: Tensor, expected: Tensor, what: str) -> None:
    difference = float((found - expected).detach().abs().max())
    allowed = TOLERANCE * max(1.0, float(expected.detach().abs().max()))
    _require(difference <= allowed, f"{what} change by up to {difference:.3g} (rounding allows {allowed:.3g})")


def _require(condition: bool, message: str) -> None:
    """Raise AssertionError; unlike an assert statement, also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


# Laws of data sets.


def _all_splits(splits: Splits) -> dict[str, Split]:
    unlabelled = {} if splits.unlabelled is None else {"unlabelled": splits.unlabelled}
    return splits.labelled() | unlabelled


def _check_sequences(split: Split, where: str, *, gives: str) -> None:
    size = None
    for index, sequence in enumerate(split.sequences):
        if gives == "text":
            _require(isinstance(sequence, str), f"{where}: text {index} is a {type(sequence).__name__}, not a str")
            continue
        try:
            size = as_features(sequence, size=size, where=f"sequence {index}").shape[1]
        except DataError as error:
            raise AssertionError(f"{where}: {error}") from error


def _check_labels(split: Split, where: str, *, num_labels: int) -> None:
    labels = split.labels
    if labels is None:
        return
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        is_right = labels.dtype == np.uint8 and labels.shape[1] == num_labels and bool((labels <= 1).all())
        _require(is_right, f"{where}: labels of several a sequence must be uint8 [N, {num_labels}], each 0 or 1")
        return
    _require(isinstance(labels, np.ndarray) and labels.dtype == np.int64, f"{where}: labels must be an int64 array")
    outside = np.flatnonzero((labels < 0) | (labels >= num_labels))
    if len(outside):
        first = int(outside[0])
        raise AssertionError(
            f"{where}: {len(outside)} labels are outside 0..{num_labels - 1}, label {first} is {labels[first]}"
        )


def _check_groups(splits: Splits, name: str) -> None:
    # Only train and validation: a test split is as its makers published it (IMDB's shares a film with train).
    if splits.validation is None or splits.train.groups is None or splits.validation.groups is None:
        return
    common = sorted(set(splits.train.groups) & set(splits.validation.groups))
    _require(not common, f"{name}: {len(common)} groups are in both train and validation, such as {common[:3]}")


def _check_equal(first: Splits, second: Splits, name: str) -> None:
    _require(first.label_names == second.label_names, f"{name}: loading twice gives other label names")
    ours, theirs = _all_splits(first), _all_splits(second)
    _require(ours.keys() == theirs.keys(), f"{name}: loading twice gives other splits: {list(ours)}, {list(theirs)}")
    for key, split in ours.items():
        for part in ("sequences", "labels", "groups"):
            one, other = getattr(split, part), getattr(theirs[key], part)
            if one is None or other is None:
                is_equal = one is other
            else:
                is_equal = len(one) == len(other) and all(map(np.array_equal, one, other))
            _require(is_equal, f"{name}: loading twice gives other {part} in {key}")
