from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from toy import toy_pairs

from seqcls import Classifier, Splits, Trainer
from seqcls import sklearn as module
from seqcls.errors import ConfigError
from seqcls.sklearn import SequenceClassifierEstimator

SMALL: dict[str, Any] = {
    "encoder": "lstm",
    "encoder_options": {"hidden_size": 4},
    "batch_size": 8,
    "lr": 0.02,
    "vocab_size": 100,
    "epochs": 8,
    "random_state": 0,
    "device": "cpu",
    "settings": {"embedding_size": 8},
}
#: Of scikit-learn's checks those that need no array of numbers.
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
]


class OnNumbers(SequenceClassifierEstimator):
    """Takes the tables of scikit-learn's checks: a row of D numbers is a sequence of one step, [1, D]."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(np.asarray(X, dtype=np.float32)[:, None], y, sample_weight)

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(np.asarray(X, dtype=np.float32)[:, None])


#: Of scikit-learn's checks those of the weights' form. Its check of equivalence wants the result of repeated rows: here they
#: would be shuffled and held out differently.
WEIGHT_CHECKS = [
    estimator_checks.check_sample_weights_pandas_series,
    estimator_checks.check_sample_weights_not_an_array,
    estimator_checks.check_sample_weights_list,
    estimator_checks.check_sample_weights_shape,
    estimator_checks.check_sample_weights_not_overwritten,
]


def _data(count: int, *, seed: int = 0) -> tuple[list[str], list[str]]:
    texts, labels = zip(*toy_pairs(count, seed=seed), strict=True)
    return list(texts), list(labels)


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifierEstimator:
    return SequenceClassifierEstimator(**SMALL).fit(*_data(80))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn_that_need_no_numbers(check: Any) -> None:
    check("SequenceClassifierEstimator", SequenceClassifierEstimator(**SMALL))


@pytest.mark.parametrize("check", WEIGHT_CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn_about_weights(check: Any) -> None:
    check("OnNumbers", OnNumbers(**{**SMALL, "epochs": 1, "validation_fraction": 0.3}))


@pytest.mark.parametrize(("given", "expected"), [([0, 1, 2, 3], [0, 1, 2, 3]), (2, [2] * 4), (None, None)])
def test_training_gets_the_weights(monkeypatch: pytest.MonkeyPatch, given: Any, expected: list[float] | None) -> None:
    trained: list[Splits] = []

    class Noting(Trainer):
        def __init__(self, data: Splits, **settings: Any) -> None:
            trained.append(data)
            super().__init__(data, **settings)

    monkeypatch.setattr(module, "Trainer", Noting)
    estimator = SequenceClassifierEstimator(**{**SMALL, "epochs": 1, "validation_fraction": 0.5})
    estimator.fit(*_data(4), sample_weight=given)
    (splits,) = trained
    assert (None if splits.train.weights is None else splits.train.weights.tolist()) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "one weight per example"),
        ([[1.0], [1.0]], "one weight per example"),
        ([1.0, -1.0], "negative"),
        ([0.0, 0.0], "0 for every example"),
        ([1.0, float("nan")], "sample_weight contains NaN"),
    ],
)
def test_wrong_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceClassifierEstimator(**SMALL).fit(["a", "b"], ["x", "y"], sample_weight=weights)


def test_weights_are_routed_through_a_pipeline_and_a_search() -> None:
    texts, labels = _data(60)
    estimator = SequenceClassifierEstimator(**SMALL).set_params(epochs=1)
    seen = []

    class Noting(SequenceClassifierEstimator):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            seen.append(None if sample_weight is None else list(sample_weight))
            return super().fit(X, y, sample_weight)

    with config_context(enable_metadata_routing=True):
        network = Noting(**estimator.get_params()).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(Pipeline([("net", network)]), {"net__epochs": [1]}, cv=2, error_score="raise", refit=False)
        search.fit(texts, labels, sample_weight=np.arange(60.0))
    assert sorted(seen[0] + seen[1]) == list(range(60))


def test_it_learns_predicts_and_scores(fitted: SequenceClassifierEstimator) -> None:
    texts, labels = _data(30, seed=5)
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert fitted.score(texts, labels) > 0.9
    probabilities = fitted.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert fitted.predict(texts).tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    for as_other in (np.array(texts), np.array(texts, dtype=object), tuple(texts)):
        np.testing.assert_array_equal(fitted.predict_proba(as_other), probabilities)


def test_the_same_seed_gives_the_same_model(fitted: SequenceClassifierEstimator) -> None:
    again = clone(fitted).fit(*_data(80))
    np.testing.assert_array_equal(again.predict_proba(["a superb film"]), fitted.predict_proba(["a superb film"]))


@pytest.mark.parametrize("values", [[10, 2], [True, False], [2.0, -1.0], ["2", "10"]])
def test_classes_keep_their_type_and_order(values: list[Any]) -> None:
    texts, labels = _data(60)
    y = np.array([values[label == "good"] for label in labels])
    estimator = SequenceClassifierEstimator(**SMALL).fit(texts, y)
    assert estimator.classes_.tolist() == sorted(values)
    assert estimator.classes_.dtype == y.dtype
    assert estimator.score(texts, y) > 0.9


def test_a_pipeline_and_a_grid_search_take_it() -> None:
    texts, labels = _data(60)
    steps = [("upper", FunctionTransformer(lambda items: [text.upper() for text in items])), ("net", None)]
    pipeline = Pipeline([steps[0], ("net", SequenceClassifierEstimator(**SMALL))])
    search = GridSearchCV(pipeline, {"net__epochs": [1, 8]}, cv=2, error_score="raise").fit(texts, labels)
    assert search.best_params_ == {"net__epochs": 8}
    assert search.score(*_data(20, seed=3)) > 0.7
    assert len(cross_val_score(SequenceClassifierEstimator(**SMALL), texts, labels, cv=2, error_score="raise")) == 2


def test_what_was_trained_can_be_saved(fitted: SequenceClassifierEstimator, tmp_path: Any) -> None:
    fitted.classifier_.save_pretrained(tmp_path / "model")
    assert Classifier.from_pretrained(tmp_path / "model").predict(["superb"]) == fitted.predict(["superb"]).tolist()


def test_numbers_are_sequences_too() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 5, 2)) + 6 * y[:, None, None]
    assert SequenceClassifierEstimator(**SMALL).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("one text", ["a"], "give a list of texts"),
        (["a", "b"], ["x"], "inconsistent numbers of samples"),
        (["a", "b"], ["x", "x"], "only one class, 'x'"),
        (np.zeros((4, 3)), [0, 1, 0, 1], "one column of texts"),
        (["a", "b"], [0.5, 1.7], "Unknown label type"),
    ],
)
def test_wrong_data_are_refused(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceClassifierEstimator(**SMALL).fit(X, y)


def test_the_old_name_of_a_parameter_is_accepted_with_a_warning() -> None:
    old = {**SMALL, "num_words": SMALL["vocab_size"], "epochs": 1}
    del old["vocab_size"]
    with pytest.warns(DeprecationWarning, match="num_words is now vocab_size") as warned:
        estimator = clone(SequenceClassifierEstimator(**old)).fit(*_data(20))
    assert [record.filename for record in warned] == [__file__]
    assert estimator.classifier_.config.data.vocab_size == SMALL["vocab_size"]
    with pytest.warns(DeprecationWarning, match="accumulate_batches"):
        SequenceClassifierEstimator(settings={"accumulate": 2})._config()


def test_options_of_the_encoder_are_merged_into_those_of_the_recipe() -> None:
    config = SequenceClassifierEstimator(recipe="tutorial", encoder_options={"hidden_size": 4})._config()
    assert config.model.encoder_options["hidden_size"] == 4
    assert config.model.encoder_options["projection_size"] == 128
    assert SequenceClassifierEstimator(settings={"clip_norm": None})._config().fit.clip_norm is None


def test_what_is_not_fitted_or_not_known_is_told() -> None:
    with pytest.raises(NotFittedError):
        SequenceClassifierEstimator().predict(["a"])
    wrong = SequenceClassifierEstimator(settings={"layers": 3})
    with pytest.raises(ConfigError, match="unknown setting 'layers'"):
        wrong.fit(*_data(20))


def test_without_scikit_learn_the_extra_is_named() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import seqcls.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'seqcls[report]'" in done.stderr.splitlines()[-1]
