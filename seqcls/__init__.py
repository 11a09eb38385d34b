"""seqcls: small, fast, accurate sequence classifiers, trained on the machine you have.

The public names are resolved when first used, so that `import seqcls`, and with it the command line, starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqcls.baseline import Baseline, fit_baseline
    from seqcls.calibration import Calibration
    from seqcls.callbacks import Callback
    from seqcls.classifier import Classifier
    from seqcls.config import Config, DataConfig, FitConfig, ModelConfig, load_recipe
    from seqcls.datasets.base import Dataset, Split, Splits
    from seqcls.encoders.base import Encoder
    from seqcls.errors import SeqclsError
    from seqcls.explanation import Explanation
    from seqcls.metrics import Score
    from seqcls.onnx_export import OnnxExport, export_onnx
    from seqcls.onnx_runtime import OnnxClassifier
    from seqcls.predictions import Assessment, Predictions
    from seqcls.report import write_report
    from seqcls.results import FitResult
    from seqcls.state import Evaluation, FitState
    from seqcls.trainer import Trainer

_HOMES = {
    "Assessment": "seqcls.predictions",
    "Baseline": "seqcls.baseline",
    "Calibration": "seqcls.calibration",
    "Callback": "seqcls.callbacks",
    "Classifier": "seqcls.classifier",
    "Config": "seqcls.config",
    "DataConfig": "seqcls.config",
    "Dataset": "seqcls.datasets.base",
    "Encoder": "seqcls.encoders.base",
    "Evaluation": "seqcls.state",
    "Explanation": "seqcls.explanation",
    "FitConfig": "seqcls.config",
    "FitResult": "seqcls.results",
    "FitState": "seqcls.state",
    "ModelConfig": "seqcls.config",
    "OnnxClassifier": "seqcls.onnx_runtime",
    "OnnxExport": "seqcls.onnx_export",
    "Predictions": "seqcls.predictions",
    "Score": "seqcls.metrics",
    "SeqclsError": "seqcls.errors",
    "Split": "seqcls.datasets.base",
    "Splits": "seqcls.datasets.base",
    "Trainer": "seqcls.trainer",
    "export_onnx": "seqcls.onnx_export",
    "fit_baseline": "seqcls.baseline",
    "load_recipe": "seqcls.config",
    "write_report": "seqcls.report",
}

__all__ = [
    "Assessment",
    "Baseline",
    "Calibration",
    "Callback",
    "Classifier",
    "Config",
    "DataConfig",
    "Dataset",
    "Encoder",
    "Evaluation",
    "Explanation",
    "FitConfig",
    "FitResult",
    "FitState",
    "ModelConfig",
    "OnnxClassifier",
    "OnnxExport",
    "Predictions",
    "Score",
    "SeqclsError",
    "Split",
    "Splits",
    "Trainer",
    "export_onnx",
    "fit_baseline",
    "load_recipe",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqcls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
