"""`check_encoder` passes an encoder that keeps the laws, and names the law that any other breaks."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from seqcls import Encoder
from seqcls.testing import check_encoder


def mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Return bool [B, T, 1], True at real steps."""
    steps: Tensor = torch.arange(x.shape[1]) < lengths[:, None]
    return steps[:, :, None].to(x.device)


class MaskedMean(Encoder):
    """Keeps every law: the mean of the real steps, and a linear layer."""

    def __init__(self, input_size: int, *, hidden_size: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.output_size = hidden_size

    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x.masked_fill(~mask(x, lengths), 0).sum(1) / lengths[:, None].to(x)  # [B, input_size]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        encoded: Tensor = self.linear(self.dropout(self.mean(x, lengths)))
        return encoded


class AveragesPadding(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x.mean(1)


class AveragesOverThePaddedLength(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().mean(x, lengths) * lengths[:, None].to(x) / x.shape[1]


class HidesPaddingWithLargeNumbers(MaskedMean):
    """Only large garbage shows that the maximum is taken over the padding too."""

    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return (x - 100.0 * (~mask(x, lengths)).float()).amax(1)


class ReadsTheLastStep(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x[:, -1]


class NormalizesTheBatch(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        means = super().mean(x, lengths)
        return (means - means.mean(0)) / (means.std(0, correction=0) + 1e-3)


class NormalizesTheBatchInTraining(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        means = super().mean(x, lengths)
        return means - means.mean(0) if self.training else means


class DependsOnThePlace(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        means = super().mean(x, lengths)
        return means + torch.where(torch.arange(len(x)) >= 2, 1.0, 0.0)[:, None].to(x)


class HasAnUnusedParameter(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int = 4) -> None:
        super().__init__(input_size, hidden_size=hidden_size)
        self.forgotten = nn.Parameter(torch.ones(3))


class CutsTheGradient(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().mean(x.detach(), lengths)


class MultipliesAParameterByZero(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int = 4) -> None:
        super().__init__(input_size, hidden_size=hidden_size)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths) + 0 * self.scale


class DropsInEvaluation(MaskedMean):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x, lengths), 0.5, training=True)


class ChangesItsInput(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        x.mul_(mask(x, lengths))
        return super().mean(x, lengths)


class ChangesLengths(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        means = super().mean(x, lengths)
        lengths.clamp_(max=3)
        return means


class PromisesAnotherSize(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int = 4) -> None:
        super().__init__(input_size, hidden_size=hidden_size)
        self.output_size = hidden_size + 1


class CountsWithFloats(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int = 4) -> None:
        super().__init__(input_size, hidden_size=hidden_size)
        self.output_size = 4.0  # type: ignore[assignment]


class SqueezesOneRow(MaskedMean):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths).squeeze(0)


class FailsForOneStep(MaskedMean):
    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        if x.shape[1] == 1:
            raise IndexError("no second step")
        return super().mean(x, lengths)


class KeepsStateOutOfTheStateDict(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int = 4) -> None:
        super().__init__(input_size, hidden_size=hidden_size)
        self.projection = torch.randn(hidden_size, hidden_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths) @ self.projection.to(x)


class ForgetsWhatItCounts(MaskedMean):
    """Training moves a running mean that is no buffer."""

    running = 0.0

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            self.running += 1.0
        return super().forward(x, lengths) + self.running


class InsistsOnFloat32(MaskedMean):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths).float()


class CollectsKeywords(MaskedMean):
    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)


class RefusesNoDevice(MaskedMean):
    device_types: ClassVar[tuple[str, ...] | None] = ("cpu",)

    def check_device(self, device: torch.device) -> None: ...


class RunsOnCudaAlone(MaskedMean):
    device_types: ClassVar[tuple[str, ...] | None] = ("cuda",)


class RunsOnTheCpuAlone(MaskedMean):
    device_types: ClassVar[tuple[str, ...] | None] = ("cpu",)


class LearnsNothing(MaskedMean):
    """Its gradients are not zero, but vanish."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths) * 1e-6


class ReadsPaddingBackwards(Encoder):
    """Its backward direction begins in the padding."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, 3, batch_first=True, bidirectional=True)
        self.output_size = 6

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        states = self.rnn(x)[0]
        return states[torch.arange(len(x)), lengths - 1]


class TakesAnIndex(MaskedMean):
    """As version 0.1 documented: `forward` took the rows of x by an index, where it was given one."""

    takes_index = True

    def forward(self, x: Tensor, lengths: Tensor, index: Tensor | None = None) -> Tensor:
        return super().forward(x if index is None else x[index], lengths)


class MovesItself(MaskedMean):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, lengths).to("meta")


class NeedsAnOption(MaskedMean):
    def __init__(self, input_size: int, *, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size=hidden_size)


@pytest.mark.parametrize("encoder_class", [MaskedMean, RunsOnTheCpuAlone, TakesAnIndex])
def test_an_encoder_that_keeps_every_law_passes(encoder_class: type[Encoder]) -> None:
    check_encoder(encoder_class)
    check_encoder(encoder_class, options={"hidden_size": 3, "dropout": 0.0}, devices=["cpu"])


@pytest.mark.parametrize(
    ("encoder_class", "law"),
    [
        (
            AveragesPadding,
            "padding changes nothing': with 0 more padded steps that hold noise of scale 1, rows change",
        ),
        (AveragesOverThePaddedLength, "padding changes nothing': with 1 more padded steps"),
        (
            HidesPaddingWithLargeNumbers,
            "padding changes nothing': with 0 more padded steps that hold noise of scale 10000, rows change",
        ),
        (ReadsTheLastStep, "padding changes nothing"),
        (NormalizesTheBatch, "other rows change nothing': in a batch, the row of length 7 change by up to"),
        (NormalizesTheBatchInTraining, "training lets no gradient cross rows': row 0 of length 7 depends on"),
        (DependsOnThePlace, "other rows change nothing"),
        (HasAnUnusedParameter, "every parameter receives a gradient': the parameter forgotten receives no gradient"),
        (
            MultipliesAParameterByZero,
            "every parameter receives a gradient': the parameter scale receives a gradient that is zero",
        ),
        (CutsTheGradient, "every parameter receives a gradient': x receives no gradient"),
        (LearnsNothing, "a tiny task is learnt': after 100 steps of Adam on eight sequences the loss is"),
        (ReadsPaddingBackwards, "padding changes nothing"),
        (MovesItself, "output has the promised shape': x is on cpu, but the result is on meta"),
        (DropsInEvaluation, "evaluation is deterministic"),
        (ChangesItsInput, "input is not changed': forward changes x, by up to"),
        (ChangesLengths, "input is not changed': forward changes lengths from"),
        (PromisesAnotherSize, "output has the promised shape': forward returns [4, 4], not [B, output_size] = [4, 5]"),
        (CountsWithFloats, "output has the promised shape': output_size must be an int, got 4.0"),
        (SqueezesOneRow, "a batch of one works': one sequence of length 1 gives [4]"),
        (FailsForOneStep, "sequences of length one work': it raises IndexError: no second step"),
        (KeepsStateOutOfTheStateDict, "state round trips"),
        (ForgetsWhatItCounts, "state round trips"),
        (InsistsOnFloat32, "dtype is kept': after .double(), float64 in gives torch.float32 out"),
        (CollectsKeywords, "options come from the signature': CollectsKeywords.__init__ takes **options"),
        (
            RefusesNoDevice,
            "unusable devices are refused': device_types is ('cpu',), but check_device raises no DeviceError",
        ),
    ],
)
def test_an_encoder_that_breaks_a_law_is_told_which(encoder_class: type[Encoder], law: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(law)) as caught:
        check_encoder(encoder_class)
    assert str(caught.value).startswith(encoder_class.__name__)


def test_an_order_of_rows_that_matters_is_seen_even_if_rows_alone_are_right() -> None:
    class AddsTheFirstOfFour(MaskedMean):
        """Rows of a batch of four depend on its first length; smaller batches, and the first row, are right."""

        def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
            is_reordered = len(x) == 4 and int(lengths[0]) != 7
            return super().mean(x, lengths) + float(is_reordered)

    with pytest.raises(AssertionError, match=r"the order of rows changes nothing': in the order \[3, 2, 1, 0\]"):
        check_encoder(AddsTheFirstOfFour)


def test_an_encoder_needs_a_device_to_be_checked_on() -> None:
    with pytest.raises(AssertionError, match=r"RunsOnCudaAlone runs on none of \['cpu'\]"):
        check_encoder(RunsOnCudaAlone)


def test_required_options_must_be_given() -> None:
    check_encoder(NeedsAnOption, options={"hidden_size": 2})
    with pytest.raises(AssertionError, match="NeedsAnOption has required options; give hidden_size"):
        check_encoder(NeedsAnOption)


def test_checking_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    check_encoder(MaskedMean)
    assert torch.equal(torch.random.get_rng_state(), before)
