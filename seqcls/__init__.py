"""seqcls: small, fast, accurate sequence classifiers, trained on the machine you have.

The public names are resolved when first used, so that `import seqcls`, and with it the command line, starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from seqcls.system import moved

if TYPE_CHECKING:
    from seqcls.apps.check.checks import check_data
    from seqcls.apps.check.findings import Finding
    from seqcls.apps.check.report import DataReport
    from seqcls.apps.report.write import write_report
    from seqcls.apps.tuning.results import TuningResult
    from seqcls.apps.tuning.study import tune
    from seqcls.apps.tuning.trials import Trial
    from seqcls.config.recipe_files import load_recipe
    from seqcls.config.settings import Config, DataConfig, FitConfig, ModelConfig
    from seqcls.data.datasets.base import Dataset
    from seqcls.data.sources import DataLike
    from seqcls.data.splits import Split, Splits
    from seqcls.errors import SeqclsError
    from seqcls.evaluation.assessment import Assessment
    from seqcls.evaluation.baseline import Baseline
    from seqcls.evaluation.calibration import Calibration
    from seqcls.evaluation.predictions import Predictions
    from seqcls.evaluation.scores import Evaluation, Score
    from seqcls.inference.classifier import Classifier
    from seqcls.inference.explanation import Explanation
    from seqcls.inference.portable.numpy_classifier import NumpyClassifier
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier
    from seqcls.inference.portable.onnx_export import OnnxExport, export_onnx
    from seqcls.model.embeddings.base import Embedding
    from seqcls.model.encoders.base import Encoder
    from seqcls.model.encoders.masking import Pool, length_mask
    from seqcls.training.baseline import fit_baseline
    from seqcls.training.callbacks.base import Callback
    from seqcls.training.choice import AutoTrainer
    from seqcls.training.results import FitResult
    from seqcls.training.state import FitState
    from seqcls.training.trainer import Trainer

_HOMES = {
    "Assessment": "seqcls.evaluation.assessment",
    "AutoTrainer": "seqcls.training.choice",
    "Baseline": "seqcls.evaluation.baseline",
    "Calibration": "seqcls.evaluation.calibration",
    "Callback": "seqcls.training.callbacks.base",
    "Classifier": "seqcls.inference.classifier",
    "Config": "seqcls.config.settings",
    "DataConfig": "seqcls.config.settings",
    "DataLike": "seqcls.data.sources",
    "DataReport": "seqcls.apps.check.report",
    "Dataset": "seqcls.data.datasets.base",
    "Embedding": "seqcls.model.embeddings.base",
    "Encoder": "seqcls.model.encoders.base",
    "Evaluation": "seqcls.evaluation.scores",
    "Explanation": "seqcls.inference.explanation",
    "Finding": "seqcls.apps.check.findings",
    "FitConfig": "seqcls.config.settings",
    "FitResult": "seqcls.training.results",
    "FitState": "seqcls.training.state",
    "ModelConfig": "seqcls.config.settings",
    "NumpyClassifier": "seqcls.inference.portable.numpy_classifier",
    "OnnxClassifier": "seqcls.inference.portable.onnx_classifier",
    "OnnxExport": "seqcls.inference.portable.onnx_export",
    "Pool": "seqcls.model.encoders.masking",
    "Predictions": "seqcls.evaluation.predictions",
    "Score": "seqcls.evaluation.scores",
    "SeqclsError": "seqcls.errors",
    "Split": "seqcls.data.splits",
    "Splits": "seqcls.data.splits",
    "Trainer": "seqcls.training.trainer",
    "Trial": "seqcls.apps.tuning.trials",
    "TuningResult": "seqcls.apps.tuning.results",
    "check_data": "seqcls.apps.check.checks",
    "export_onnx": "seqcls.inference.portable.onnx_export",
    "fit_baseline": "seqcls.training.baseline",
    "length_mask": "seqcls.model.encoders.masking",
    "load_recipe": "seqcls.config.recipe_files",
    "tune": "seqcls.apps.tuning.study",
    "write_report": "seqcls.apps.report.write",
}

__all__ = [
    "Assessment",
    "AutoTrainer",
    "Baseline",
    "Calibration",
    "Callback",
    "Classifier",
    "Config",
    "DataConfig",
    "DataLike",
    "DataReport",
    "Dataset",
    "Embedding",
    "Encoder",
    "Evaluation",
    "Explanation",
    "Finding",
    "FitConfig",
    "FitResult",
    "FitState",
    "ModelConfig",
    "NumpyClassifier",
    "OnnxClassifier",
    "OnnxExport",
    "Pool",
    "Predictions",
    "Score",
    "SeqclsError",
    "Split",
    "Splits",
    "Trainer",
    "Trial",
    "TuningResult",
    "check_data",
    "export_onnx",
    "fit_baseline",
    "length_mask",
    "load_recipe",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqcls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


moved.install()
