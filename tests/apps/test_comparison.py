from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Splits, Trainer
from seqcls.apps.report.comparison import (
    Difference,
    Interval,
    accuracy_interval,
    ask,
    compare,
    differences,
    mean_interval,
    plot,
    seed_differences,
    train,
)
from seqcls.errors import DataError, TrainingError
from seqcls.evaluation.predictions import Predictions


def _answers(right: Any, *, names: tuple[str, ...] = ("a", "b")) -> Predictions:
    """Predictions of examples with the label 0, right where it is said."""
    right = np.asarray(right, dtype=bool)
    return Predictions(names, np.where(right[:, None], [2.0, 0.0], [0.0, 2.0]), np.zeros(len(right), dtype=np.int64))


def _named(**answers: Any) -> dict[str, Predictions]:
    return {name: _answers(right) for name, right in answers.items()}


def test_the_interval_of_a_difference_is_that_of_a_bootstrap_of_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(400) < 0.9, rng.random(400) < 0.8
    found = compare("one", "other", _named(one=one, other=other))
    rows = rng.integers(0, 400, (20_000, 400))
    slow = one[rows].mean(axis=1) - other[rows].mean(axis=1)
    assert found.accuracy.value == pytest.approx(one.mean() - other.mean())
    assert [found.accuracy.low, found.accuracy.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist(), abs=0.005)
    assert (found.only_one, found.only_other) == (int((one & ~other).sum()), int((other & ~one).sum()))


def test_the_interval_holds_the_true_accuracy_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    intervals = [accuracy_interval(_answers(rng.random(500) < 0.85)) for _ in range(300)]
    held = np.mean([interval.low <= 0.85 <= interval.high for interval in intervals])  # type: ignore[operator]
    assert 0.91 < held < 0.98


@settings(max_examples=30)
@given(only_one=st.integers(0, 30), only_other=st.integers(0, 30))
def test_mcnemars_test_is_that_of_the_binomial_distribution(only_one: int, only_other: int) -> None:
    one = [True] * only_one + [False] * only_other + [True] * 5
    other = [False] * only_one + [True] * only_other + [True] * 5
    total = only_one + only_other
    wanted = min(1.0, 2 * stats.binom.cdf(min(only_one, only_other), total, 0.5))
    assert compare("one", "other", _named(one=one, other=other)).p_value == pytest.approx(wanted)


def test_the_best_is_compared_with_each_other_in_words() -> None:
    found = differences(_named(bad=[False] * 60 + [True] * 40, good=[True] * 100, even=[True] * 99 + [False]))
    assert [(item.one, item.other) for item in found] == [("good", "bad"), ("good", "even")]
    assert found[0].is_certain
    assert found[0].sentence().startswith("good is better than bad by 60.0 points, 95% interval 50.0 to 70.0 (McNemar p = ")
    assert not found[1].is_certain
    assert (
        found[1].sentence()
        == "No difference between good and even is certain: 1.0 points, 95% interval 0.0 to 3.0 (McNemar p = 1)"
    )


def test_models_that_were_asked_about_other_examples_are_not_compared() -> None:
    for other in (_answers([True] * 9), Predictions(("a", "b"), np.zeros((10, 2)), np.ones(10, dtype=np.int64))):
        with pytest.raises(DataError, match="not asked about the same examples"):
            compare("one", "other", {"one": _answers([True] * 10), "other": other})
    # The same labels by another order of names are the same.
    turned = Predictions(("b", "a"), np.zeros((10, 2)), np.ones(10, dtype=np.int64))
    compare("one", "other", {"one": _answers([True] * 10), "other": turned})


def test_means_over_seeds_have_the_interval_of_student() -> None:
    values = [0.88, 0.9, 0.91, 0.87]
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert [found.value, found.low, found.high] == pytest.approx([np.mean(values), low, high])
    assert mean_interval([0.9]) == Interval(0.9)
    (difference,) = seed_differences({"worse": [0.8, 0.82, 0.81], "better": [0.9, 0.92, 0.91]})
    assert (difference.one, difference.other, difference.is_certain) == ("better", "worse", True)
    assert difference.sentence() == "better is better than worse by 10.0 points, 95% interval 10.0 to 10.0"
    single = seed_differences({"a": [0.5], "b": [0.6]})[0]
    assert (
        single.sentence() == "No difference between b and a is certain: 10.0 points; one seed does not tell how sure that is"
    )
    assert json.dumps(single.as_dict())


def test_trained_models_are_asked(tmp_path: Path) -> None:
    found = {}
    for name, epochs in (("short", 1), ("long", 20)):
        run = Trainer(None, toy_splits(), config=toy_config(epochs=epochs), callbacks=[], output=tmp_path / name).fit().run
        found[name] = ask(run, toy_splits())
    values = found["long"].as_dict()
    assert values["accuracy"]["low"] <= values["accuracy"]["value"] == found["long"].predictions.score.accuracy > 0.9
    assert values["parameters"] > 100
    assert 0 < values["megabytes"] < 1
    (difference,) = differences({name: contestant.predictions for name, contestant in found.items()})
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
        model, stop_reason = None, "interrupted by SIGINT"

    monkeypatch.setattr(Trainer, "fit", lambda self: Interrupted())
    with pytest.raises(TrainingError, match="interrupted by SIGINT; the same command takes it up again"):
        train(toy_config(), tmp_path / "one", callbacks=[])


def test_figures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    intervals = {"one": Interval(0.9, 0.88, 0.92), "other": Interval(0.8)}
    for name in ("plot.png", "plot.svg"):
        plot(intervals, tmp_path / name, label="accuracy on test")
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(DataError, match="cannot write the plot"):
        plot(intervals, tmp_path / "missing" / "plot.png", label="accuracy")
    with pytest.raises(DataError, match="cannot write the plot"):
        plot(intervals, tmp_path / "plot.xyz", label="accuracy")


def test_splits_of_other_labels_are_refused(tmp_path: Path) -> None:
    run = Trainer(None, toy_splits(), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit().run
    other = Splits.from_pairs([("a", "x"), ("b", "y")], validation=[("a", "x")], test=[("a", "x")])
    with pytest.raises(DataError, match="does not know"):
        ask(run, other)
