"""Which trial comes next: Optuna's sampler and pruner, told of the trials before it each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seqcls.apps.tuning.space import Choice, Dimension, Interval, Space
from seqcls.apps.tuning.trials import Trial, best_of
from seqcls.config.values import OptionValue
from seqcls.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    import optuna

# Trials at random, the starting settings included, before the sampler learns from them; Optuna's own 10 would be most of a
# small budget. As many must be complete before one is pruned.
_STARTUP_TRIALS = 5
_FEWEST_FOR_IMPORTANCES = 8


class Sampler:
    """Proposes trials.

    Args:
        spaces: What may be tried, by encoder, in the order in which their starting settings are tried.
        seed: Seed of the proposals.
        monitor: The figure that trials are judged by.
    """

    def __init__(self, spaces: Mapping[str, Space], *, seed: int, monitor: Literal["loss", "accuracy"]) -> None:
        require_optuna()
        self._spaces = spaces
        self._seed = seed
        self._monitor = monitor

    def ask(self, trials: Sequence[Trial]) -> tuple[optuna.Trial, str, dict[str, OptionValue]]:
        """Return the trial that comes after ``trials``: as Optuna prunes it, its encoder, and its values."""
        asked = self._study(trials).ask()
        encoder = asked.suggest_categorical("encoder", list(self._spaces))
        dimensions = self._spaces[encoder].dimensions
        return asked, encoder, {name: found.suggest(asked, _parameter(encoder, name)) for name, found in dimensions.items()}

    def _study(self, trials: Sequence[Trial]) -> optuna.Study:
        """Return a study of Optuna that knows the trials and is to say which one comes next."""
        import optuna

        number = len(trials)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with _without_messages(optuna.logging):
            study = optuna.create_study(
                direction="maximize" if self._monitor == "accuracy" else "minimize",
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
            )
        try:
            study.add_trials([self._frozen(trial) for trial in trials])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"the trials in the file do not fit what is searched: {error}; start anew with --force"
            ) from None
        if number < len(self._spaces):
            encoder, space = list(self._spaces.items())[number]
            study.enqueue_trial({"encoder": encoder, **self._parameters(encoder, space.starts)})
        return study

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """Return a trial as Optuna knows it."""
        import optuna

        dimensions = self._spaces[trial.encoder].dimensions
        distributions = {_parameter(trial.encoder, name): _distribution(found) for name, found in dimensions.items()}
        # Optuna looks away from a trial that failed; one that is pruned keeps it from trying the like again.
        state = optuna.trial.TrialState.COMPLETE if trial.value is not None else optuna.trial.TrialState.PRUNED
        return optuna.trial.create_trial(
            state=state,
            value=trial.value,
            params={"encoder": trial.encoder, **self._parameters(trial.encoder, trial.values)},
            distributions={"encoder": optuna.distributions.CategoricalDistribution(list(self._spaces)), **distributions},
            intermediate_values=trial.evaluations,
        )

    def _parameters(self, encoder: str, values: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        dimensions = self._spaces[encoder].dimensions
        return {_parameter(encoder, name): dimensions[name].parameter(value) for name, value in values.items()}

    def importances(self, trials: Sequence[Trial]) -> dict[str, float] | None:
        """Return how much each setting has mattered, by fANOVA (Hutter et al. 2014); None where that cannot be known."""
        import optuna

        best = best_of(trials, self._monitor)
        assert best is not None
        trials = [trial for trial in trials if trial.encoder == best.encoder and trial.value is not None]
        if len(trials) < _FEWEST_FOR_IMPORTANCES or len({trial.value for trial in trials}) == 1:
            return None
        try:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        except ImportError:  # scikit-learn is missing
            return None
        names = {_parameter(best.encoder, name): name for name in best.values}
        found = optuna.importance.get_param_importances(self._study(trials), evaluator=evaluator, params=list(names))
        return {names[parameter]: round(float(value), 4) for parameter, value in found.items()}


def require_optuna() -> None:
    """Raise MissingExtraError unless Optuna is installed."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("optuna", "tune") from None


def _parameter(encoder: str, name: str) -> str:
    """Return Optuna's name of what is searched: what suits one encoder tells nothing of another."""
    return f"{encoder}:{name}"


def _distribution(found: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(found, Choice):
        return CategoricalDistribution(found.values)
    if isinstance(found, Interval):
        return FloatDistribution(found.low, found.high, log=found.is_log)
    return IntDistribution(0, len(found.values) - 1)


@contextmanager
def _without_messages(log: Any) -> Iterator[None]:
    """Keep Optuna from telling of each study: there is one a trial."""
    before = log.get_verbosity()
    log.set_verbosity(log.WARNING)
    try:
        yield
    finally:
        log.set_verbosity(before)
