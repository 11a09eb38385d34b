from __future__ import annotations

from pathlib import Path

import pytest
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Splits, Trainer
from seqcls.apps.report.contestants import ask, train
from seqcls.apps.report.interval_plot import plot_intervals
from seqcls.errors import DataError, TrainingError
from seqcls.evaluation.differences import Difference, differences
from seqcls.evaluation.intervals import Interval


def test_trained_models_are_asked(tmp_path: Path) -> None:
    contestants = {}
    for name, epochs in (("short", 1), ("long", 20)):
        run = (
            Trainer(None, toy_splits(), config=toy_config(epochs=epochs), callbacks=[], output=tmp_path / name).fit().run_dir
        )
        contestants[name] = ask(run, toy_splits())
    values = contestants["long"].as_dict()
    assert values["accuracy"]["low"] <= values["accuracy"]["value"] == contestants["long"].predictions.score.accuracy > 0.9
    assert values["parameters"] > 100
    assert 0 < values["megabytes"] < 1
    (difference,) = differences({name: contestant.predictions for name, contestant in contestants.items()})
    assert isinstance(difference, Difference)
    assert difference.one == "long"


def test_a_comparison_takes_up_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in toy_pairs(60)))
    options = {"data": {"dataset": str(data), "validation_fraction": 0.3}}
    config = toy_config(epochs=2).updated(options, source="test")
    first = train(config, tmp_path / "one", callbacks=[])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: pytest.fail("it is trained already"))
        assert train(config, tmp_path / "one", callbacks=[]) == first
    other = train(config.updated({"fit": {"lr": 0.5}}, source="test"), tmp_path / "one", callbacks=[])
    assert other["config"]["fit"]["lr"] == 0.5
    # A run that was cut off is resumed, and ends as the whole one.
    (tmp_path / "one" / "result.json").unlink()
    resumed = train(config.updated({"fit": {"lr": 0.5}}, source="test"), tmp_path / "one", callbacks=[])
    assert resumed["validation"] == other["validation"]


def test_a_comparison_that_is_interrupted_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        model_dir, stop_reason = None, "interrupted by SIGINT"

    monkeypatch.setattr(Trainer, "fit", lambda self: Interrupted())
    with pytest.raises(TrainingError, match="interrupted by SIGINT"):
        train(toy_config(), tmp_path / "one", callbacks=[])


def test_figures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    intervals = {"one": Interval(0.9, 0.88, 0.92), "other": Interval(0.8)}
    for name in ("plot.png", "plot.svg"):
        plot_intervals(intervals, tmp_path / name, label="accuracy on test")
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(DataError, match="cannot write the plot"):
        plot_intervals(intervals, tmp_path / "missing" / "plot.png", label="accuracy")
    with pytest.raises(DataError, match="cannot write the plot"):
        plot_intervals(intervals, tmp_path / "plot.xyz", label="accuracy")


def test_splits_of_other_labels_are_refused(tmp_path: Path) -> None:
    run = Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit().run_dir
    other = Splits.from_pairs([("a", "x"), ("b", "y")], validation=[("a", "x")], test=[("a", "x")])
    with pytest.raises(DataError, match="does not know"):
        ask(run, other)
