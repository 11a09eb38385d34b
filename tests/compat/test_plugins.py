"""Plugins written for version 0.1: what `seqcls new` wrote then, the examples, and the guides' code, word for word."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import seqcls
from seqcls.system import moved

PLUGINS = Path(__file__).parent / "plugins-0.1"
PACKAGES = sorted(PLUGINS.iterdir())

# What the pages, examples and templates of version 0.1 import.
DOCUMENTED = {
    "seqcls.check": "check DataReport",
    "seqcls.comparison": "compare",
    "seqcls.config": "Config DataConfig FitConfig ModelConfig load_recipe recipe_names",
    "seqcls.datasets.reviews": "ReviewsDataset",
    "seqcls.datasets.torchtext": "tokenizer_from_vocab write_vectors",
    "seqcls.encoders.bilstm": "BiLSTMMeanPool",
    "seqcls.encoders.gru": "GRU",
    "seqcls.encoders.masking": "Pool length_mask",
    "seqcls.encoders.numpy_reference": "gru_step last_state lstm_step max_pool mean_pool min_gru_step run zeros",
    "seqcls.encoders.numpy_rnn": "simple_rnn simple_rnn_batch simple_rnn_gradients",
    "seqcls.errors": "DataError",
    "seqcls.numpy_runtime": "NumpyClassifier",
    "seqcls.pipeline": "build_model",
    "seqcls.reporting.console": "ConsoleReporter",
    "seqcls.serving.app": "create_app",
    "seqcls.sklearn": "SequenceClassifierEstimator",
    "seqcls.testing": "check_dataset check_encoder",
    "seqcls.text": "TextTokenizer",
    "seqcls.tuning": "Trial TuningResult tune",
}
# Where version 0.1 kept its public names.
PUBLIC = {
    "seqcls.baseline": "Baseline fit_baseline",
    "seqcls.calibration": "Calibration",
    "seqcls.callbacks": "Callback",
    "seqcls.classifier": "Classifier",
    "seqcls.datasets.base": "Dataset Split Splits",
    "seqcls.embeddings.base": "Embedding",
    "seqcls.encoders.base": "Encoder",
    "seqcls.explanation": "Explanation",
    "seqcls.metrics": "Score",
    "seqcls.onnx_export": "OnnxExport export_onnx",
    "seqcls.onnx_runtime": "OnnxClassifier",
    "seqcls.predictions": "Assessment Predictions",
    "seqcls.results": "FitResult",
    "seqcls.state": "Evaluation FitState",
    "seqcls.trainer": "Trainer",
}


def test_plugins_of_version_0_1_pass_their_tests_and_the_warnings_name_what_to_import(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")  # one of the plugins adds to its files
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", PLUGINS, "--import-mode=importlib"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", f"pythonpath={' '.join(map(str, PACKAGES))}"]
    command += ["-W", "error", "-W", "default::DeprecationWarning", f"--basetemp={tmp_path / 'temp'}", *PACKAGES]
    command += ["-p", "few_steps"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seqcls.encoders.masking.Pool is a name of version 0.1; import Pool from seqcls\n" in done.stdout


@pytest.mark.parametrize(("module", "names"), (DOCUMENTED | PUBLIC).items())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_of_version_0_1_are_found_where_they_were(module: str, names: str) -> None:
    if module == "seqcls.serving.app":
        pytest.importorskip("fastapi")
        pytest.importorskip("prometheus_client")
    for name in names.split():
        value = getattr(import_module(module), name)
        assert value.__name__ == moved.RENAMED.get(f"{module}.{name}", name)
        assert name not in seqcls.__all__ or getattr(seqcls, name) is value


def test_an_old_path_warns_where_it_is_imported_and_names_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match=r"seqcls\.encoders\.masking\.Pool .*; import Pool from seqcls$") as caught:
        from seqcls.encoders.masking import Pool  # type: ignore[import-not-found]
    assert Pool is seqcls.Pool
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"import simple_rnn from seqcls\.model\.encoders\.numpy_rnn$"):
        from seqcls.encoders.numpy_rnn import simple_rnn  # type: ignore[import-not-found]  # noqa: F401


def test_a_module_and_a_name_that_never_were_are_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'seqcls\.encoders\.nothing'"):
        import_module("seqcls.encoders.nothing")
    for module in ("seqcls.encoders.lstm", "seqcls.config"):
        with pytest.raises(AttributeError, match=rf"module '{module}' has no attribute 'nothing'"):
            import_module(module).nothing  # noqa: B018


def test_what_old_paths_lead_to_is_there() -> None:
    for home in [*moved.PACKAGES.values(), *(home for homes in moved.MODULES.values() for home in homes)]:
        import_module(home)
