"""What a Trainer is given: data first, or the encoder first as in version 0.1; settings by name; and the result."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import LastStep, toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Dataset, Encoder, Evaluation, Trainer, registry
from seqcls.errors import ConfigError, MissingExtraError, TrainingError, UnknownNameError
from seqcls.model.encoders.lstm import LSTM
from seqcls.training.arguments import data_first

BUILT, SPLITS, PAIRS = LSTM(8, hidden_size=4), toy_splits(), toy_pairs(8)


@pytest.mark.parametrize(
    ("first", "second", "data", "encoder"),
    [
        ("imdb", "bilstm", "imdb", "bilstm"),
        ("bilstm", "imdb", "imdb", "bilstm"),
        ("reviews.csv", "lstm", "reviews.csv", "lstm"),
        ("lstm", "reviews.csv", "reviews.csv", "lstm"),
        ("imdb", None, "imdb", None),
        ("lstm", None, None, "lstm"),
        (None, "lstm", None, "lstm"),
        (None, "imdb", "imdb", None),
        (SPLITS, "lstm", SPLITS, "lstm"),
        ("lstm", SPLITS, SPLITS, "lstm"),
        (None, SPLITS, SPLITS, None),
        (PAIRS, None, PAIRS, None),
        ("imdb", BUILT, "imdb", BUILT),
        (BUILT, "imdb", "imdb", BUILT),
        (BUILT, SPLITS, SPLITS, BUILT),
        (SPLITS, BUILT, SPLITS, BUILT),
        (BUILT, None, None, BUILT),
        ("imbd", "bilstm", "imbd", "bilstm"),  # a slip is reported where it was made
        ("imdb", "bilstmm", "imdb", "bilstmm"),
    ],
)
def test_data_and_encoder_come_in_either_order(first: Any, second: Any, data: Any, encoder: Any) -> None:
    assert data_first(first, second) == (data, encoder)


def test_a_name_of_both_kinds_is_read_as_data_first() -> None:
    with registry.isolated():
        registry.datasets.register("lstm")(type("Data", (Dataset,), {"load": toy_splits}))
        registry.encoders.register("imdb")(type("Coder", (Encoder,), {}))
        assert data_first("lstm", "imdb") == ("lstm", "imdb")
        assert data_first("imdb", "lstm") == ("imdb", "lstm")
        assert data_first("lstm", None) == ("lstm", None)


def test_settings_are_given_by_name_and_override_those_of_config() -> None:
    trainer = Trainer(
        PAIRS,
        encoder="lstm",
        encoder_options={"hidden_size": 6},
        epochs=3,
        lr=1e-3,
        vocab_size=50,
        callbacks=[],
        device="cpu",
    )
    config = trainer.config
    assert (config.fit.epochs, config.fit.lr, config.data.vocab_size) == (3, 1e-3, 50)
    assert config.model.encoder_options["hidden_size"] == 6
    assert Trainer(PAIRS, config=toy_config(epochs=7), epochs=9, callbacks=[]).config.fit.epochs == 9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epoch": 3}, ConfigError, "'epoch'.*did you mean epochs"),
        ({"epochs": 0}, ConfigError, "epochs"),
        ({"encoder": "bilstmm"}, UnknownNameError, "bilstmm"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Trainer(PAIRS, callbacks=[], **arguments)


def test_a_run_is_resumed_with_settings_by_name(tmp_path: Path) -> None:
    run = Trainer(SPLITS, config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit().run_dir
    assert Trainer.resume(run, data=SPLITS, epochs=2, callbacks=[]).config.fit.epochs == 2
    with pytest.raises(ConfigError, match=r"fit\.lr"):
        Trainer.resume(run, data=SPLITS, lr=0.5)
    with pytest.raises(ConfigError, match=r"'epoch'.*did you mean epochs"):
        Trainer.resume(run, data=SPLITS, epoch=2)


def test_a_result_loads_its_model_and_shows_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Trainer(SPLITS, config=toy_config(epochs=2), callbacks=[], output=tmp_path / "run").fit()
    assert isinstance(result.load(device="cpu"), Classifier)
    assert [evaluation.epoch for evaluation in result.history] == [1, 2]
    assert all(isinstance(evaluation, Evaluation) for evaluation in result.history)
    assert "all epochs done" in repr(result)
    assert "validation accuracy" in repr(result)
    pytest.importorskip("matplotlib")
    assert [axes.get_ylabel() for axes in result.plot().axes] == ["loss", "accuracy"]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="report"):
        result.plot()


def test_the_history_is_a_data_frame_where_pandas_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    result = Trainer(SPLITS, config=toy_config(epochs=2), callbacks=[], output=tmp_path / "run").fit()
    frame = result.history.to_frame()
    assert list(frame["epoch"]) == [1, 2]
    assert list(frame["validation_loss"]) == [evaluation.validation.loss for evaluation in result.history]


def test_old_names_of_a_result_say_the_new_ones(tmp_path: Path) -> None:
    result = Trainer(LastStep(8), SPLITS, config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    with pytest.warns(DeprecationWarning, match="run_dir"):
        assert result.run == result.run_dir
    with pytest.warns(DeprecationWarning, match="model_dir"):
        assert result.model == result.model_dir


def test_a_run_that_was_interrupted_has_no_model_to_load(tmp_path: Path) -> None:

    result = Trainer(SPLITS, config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    with pytest.raises(TrainingError, match="resume"):
        replace(result, model_dir=None).load()
