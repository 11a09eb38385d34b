"""Better settings for a data set: trials by Optuna, in a given time, each a training that is judged by validation."""

from seqcls.tuning.study import tune
from seqcls.tuning.trials import Trial, TuningResult

__all__ = ["Trial", "TuningResult", "tune"]
