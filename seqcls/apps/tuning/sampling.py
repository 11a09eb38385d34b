"""Which trial comes next: Optuna's sampler and pruner, which are told about all earlier trials each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from seqcls.apps.tuning.dimensions import Choice, Dimension, Interval
from seqcls.apps.tuning.space import Space
from seqcls.apps.tuning.trials import Trial, best_of
from seqcls.config.values import Monitor, OptionValue
from seqcls.errors import CheckpointError, MissingExtraError
from seqcls.evaluation.scores import sign_of

if TYPE_CHECKING:
    import optuna

# Random trials, including the starting settings, before the sampler learns from them; Optuna's default of 10 would
# use up a small budget. As many trials must be complete before one is pruned.
_STARTUP_TRIALS = 5
_MIN_TRIALS_FOR_IMPORTANCES = 8


class Sampler:
    """Proposes trials.

    Args:
        spaces: The values to try, by encoder. The starting settings are tried first, in this order.
        seed: Seed of the proposals.
        monitor: The figure that trials are judged by.
    """

    def __init__(self, spaces: Mapping[str, Space], *, seed: int, monitor: Monitor) -> None:
        require_optuna()
        self._spaces = spaces
        self._seed = seed
        self._monitor = monitor

    def ask(self, trials: Sequence[Trial]) -> tuple[optuna.Trial, str, dict[str, OptionValue]]:
        """Return the trial that comes after ``trials``: Optuna's trial, which prunes it, its encoder, and its values."""
        proposal = self._study(trials).ask()
        encoder = proposal.suggest_categorical("encoder", list(self._spaces))
        values = {
            name: dimension.suggest(proposal, _parameter(encoder, name))
            for name, dimension in self._spaces[encoder].dimensions.items()
        }
        return proposal, encoder, values

    def _study(self, trials: Sequence[Trial]) -> optuna.Study:
        """Return a study of Optuna that knows the trials and proposes the next one."""
        import optuna

        number = len(trials)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with _without_messages(optuna.logging):
            study = optuna.create_study(
                direction="maximize" if sign_of(self._monitor) > 0 else "minimize",
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
            )
        try:
            study.add_trials([self._frozen(trial) for trial in trials])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"the recorded trials do not fit the settings that are searched: {error}; start over with --force"
            ) from None
        if number < len(self._spaces):
            encoder, space = list(self._spaces.items())[number]
            study.enqueue_trial({"encoder": encoder, **self._parameters(encoder, space.starts)})
        return study

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """Return a trial in Optuna's form."""
        import optuna

        dimensions = self._spaces[trial.encoder].dimensions
        distributions = {_parameter(trial.encoder, name): _distribution(each) for name, each in dimensions.items()}
        # Optuna ignores a failed trial; a pruned one keeps it from trying similar values again.
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
        """Return how much each setting has mattered, by fANOVA (Hutter et al. 2014); None if that cannot be known."""
        import optuna

        best = best_of(trials, self._monitor)
        assert best is not None
        trials = [trial for trial in trials if trial.encoder == best.encoder and trial.value is not None]
        if len(trials) < _MIN_TRIALS_FOR_IMPORTANCES or len({trial.value for trial in trials}) == 1:
            return None
        try:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        except ImportError:  # scikit-learn is missing
            return None
        names = {_parameter(best.encoder, name): name for name in best.values}
        importances = optuna.importance.get_param_importances(self._study(trials), evaluator=evaluator, params=list(names))
        return {names[parameter]: round(float(value), 4) for parameter, value in importances.items()}


def require_optuna() -> None:
    """Raise MissingExtraError unless Optuna is installed."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("optuna", "tune") from None


def _parameter(encoder: str, name: str) -> str:
    """Return the name of a setting in Optuna: one per encoder, since what suits one tells nothing about another."""
    return f"{encoder}:{name}"


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, Interval):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
    return IntDistribution(0, len(dimension.values) - 1)


@contextmanager
def _without_messages(log: Any) -> Iterator[None]:
    """Keep Optuna from reporting each study: there is one per trial."""
    before = log.get_verbosity()
    log.set_verbosity(log.WARNING)
    try:
        yield
    finally:
        log.set_verbosity(before)
