"""The run in TensorBoard: curves of each step and evaluation, and the settings, in the folder tensorboard/ of the run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from seqcls.config.settings import Config
from seqcls.errors import MissingExtraError
from seqcls.evaluation.scores import Evaluation
from seqcls.training.callbacks.base import Callback
from seqcls.training.state import FitState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Callback):
    """Writes event files into RUN/tensorboard, which `tensorboard --logdir RUNS` shows.

    Curves by step: loss, accuracy, learning rate and gradient norm of single updates (``step/...``); loss, accuracy, and F1
    where there may be several labels, of training and validation at each evaluation; the macro F1 of validation; examples
    per second.

    Args:
        every_steps: Updates between two writes of their figures; on an accelerator, each write waits for the device.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, *, every_steps: Annotated[int, Field(ge=1)] = 10) -> None:
        if find_spec("tensorboard") is None:
            raise MissingExtraError("tensorboard", "tensorboard")
        self._every_steps = every_steps
        self._writer: SummaryWriter | None = None
        self._rollbacks = 0

    def on_fit_start(self, state: FitState) -> None:
        """Write the settings."""
        writer = self._open(state, first=state.step + 1)
        writer.add_text("settings", f"```toml\n{state.config.to_toml()}```", state.step)
        settings, values, _ = _hyperparameters(state.config)
        _add(writer, settings, values)
        writer.flush()

    def on_step_end(self, state: FitState) -> None:
        """Write the figures of the update, if as many updates as set have passed."""
        if state.step % self._every_steps:
            return
        assert state.last_step is not None
        assert state.gradient_norm is not None
        score = state.last_step.compute()
        figures = {
            "step/loss": score.loss,
            "step/accuracy": score.accuracy,
            "step/lr": state.learning_rate.value,
            "step/gradient_norm": float(state.gradient_norm),
        }
        self._write(state, figures)

    def on_evaluation(self, state: FitState, evaluation: Evaluation, *, improved: bool) -> None:
        """Write the figures of the evaluation, and flush the file."""
        del improved
        figures = {"examples_per_second": evaluation.examples_per_second}
        for split, score in (("train", evaluation.train), ("validation", evaluation.validation)):
            figures |= {f"loss/{split}": score.loss, f"accuracy/{split}": score.accuracy}
            if score.f1 is not None:
                figures[f"f1/{split}"] = score.f1
            if score.macro_f1 is not None:
                figures[f"macro_f1/{split}"] = score.macro_f1
        self._write(state, figures).flush()

    def on_fit_end(self, state: FitState) -> None:
        """Write that the run has ended."""
        assert self._writer is not None
        *_, end = _hyperparameters(state.config)
        _add(self._writer, end)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _write(self, state: FitState, figures: dict[str, float]) -> SummaryWriter:
        if self._writer is None or state.rollbacks != self._rollbacks:  # the run has gone back, and makes steps again
            self.close()
            self._open(state, first=state.step)
        assert self._writer is not None
        for tag, value in figures.items():
            self._writer.add_scalar(tag, value, state.step)
        return self._writer

    def _open(self, state: FitState, *, first: int) -> SummaryWriter:
        """Begin a file whose first step is ``first``: what older ones say of that step and of later ones is void."""
        from torch.utils.tensorboard import SummaryWriter

        self._rollbacks = state.rollbacks
        self._writer = SummaryWriter(str(state.run / "tensorboard"), purge_step=first)
        return self._writer


def _add(writer: SummaryWriter, *summaries: Any) -> None:
    file_writer: Any = writer.file_writer
    for summary in summaries:
        file_writer.add_summary(summary)


def _hyperparameters(config: Config) -> list[Any]:
    """Return the summaries that the tab HParams reads: which settings there are, their values, and that the run is over."""
    from torch.utils.tensorboard.summary import hparams

    settings = {
        f"{section}.{name}": value if isinstance(value, bool | int | float) else str(value)
        for section, values in config.model_dump(mode="json").items()
        for name, value in values.items()
    }
    return [*hparams(settings, dict.fromkeys(("loss/validation", "accuracy/validation"), 0.0))]
