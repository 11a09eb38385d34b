"""The wide path: its fit against scikit-learn's, and a model with it in every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from static_vectors import write_model2vec

from seqcls import Classifier, Trainer
from seqcls.data.batches import Bags
from seqcls.data.prepare import load_splits
from seqcls.data.splits import Splits
from seqcls.errors import ConfigError
from seqcls.inference.portable.numpy_classifier import NumpyClassifier
from seqcls.model.wide import WidePath
from seqcls.training.linear import INVERSE_PENALTIES, VECTOR_SCALES, bags_of, minimize

GOOD = ["a fine film", "fine acting, fine story!", "I liked it", "well made and moving", "a joy"]
BAD = ["a dull film", "dull acting, dull story", "I hated it", "badly made and boring?", "a bore"]
SETTINGS: dict[str, Any] = {"embedding_size": 8, "epochs": 2, "batch_size": 4, "device": "cpu", "callbacks": []}


def reviews(times: int = 4) -> Splits:
    pairs = [
        (f"{text} {number}", label)
        for number in range(times)
        for texts, label in ((GOOD, "good"), (BAD, "bad"))
        for text in texts
    ]
    return Splits.from_pairs(train=pairs, validation=[(text, "good") for text in GOOD] + [(text, "bad") for text in BAD])


def fit(folder: Path, data: Any, encoder: str, **settings: Any) -> Classifier:
    result = Trainer(data, encoder=encoder, output=folder, **{**SETTINGS, **settings}).fit()
    assert result.model_dir is not None
    return Classifier.from_pretrained(result.model_dir)


@pytest.fixture(scope="module", params=["linear", "mean-pool", "lstm", "ensemble", "static", "static ensemble"])
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("wide")
    if request.param == "static":
        return fit(folder / "run", reviews(), "mean-pool", wide=True, **with_vectors(folder))
    if request.param == "static ensemble":
        settings = with_vectors(folder)
        settings["embedding_options"]["tune"] = True
        return fit(folder / "run", reviews(), "mean-pool", wide=True, ensemble=2, **settings)
    if request.param == "ensemble":
        return fit(folder / "run", reviews(), "lstm", wide=True, ensemble=3)
    return fit(folder / "run", reviews(), request.param, wide=True)


def with_vectors(folder: Path, **options: Any) -> dict[str, Any]:
    """Return the settings of a linear model with static vectors, which are written into a folder."""
    source = str(write_model2vec(folder / "vectors"))
    return {
        "embedding": "static",
        "embedding_options": {"source": source},
        "embedding_size": "auto",
        "encoder_options": {"normalized": True, **options},
    }


def test_a_wide_model_learns_words_that_tell_the_class(classifier: Classifier) -> None:
    assert classifier.predict(["a fine evening", "a dull evening"]) == ["good", "bad"]


def test_a_prediction_does_not_depend_on_the_batch(classifier: Classifier) -> None:
    texts = [*GOOD, *BAD, "", "xyzzy", "fine " * 50]
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_numpy_and_onnx_compute_the_same(classifier: Classifier, tmp_path: Path) -> None:
    texts = [*GOOD, *BAD, "", "xyzzy", "fine " * 50]
    expected = classifier.predict_proba(texts)
    np.testing.assert_allclose(
        NumpyClassifier.from_pretrained(classifier._saved.path).predict_proba(texts), expected, atol=1e-5
    )
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from seqcls.inference.portable.onnx_classifier import OnnxClassifier
    from seqcls.inference.portable.onnx_export import export_onnx

    export_onnx(classifier._saved.path, tmp_path / "model.onnx")
    np.testing.assert_allclose(
        OnnxClassifier.from_pretrained(tmp_path / "model.onnx").predict_proba(texts), expected, atol=1e-5
    )


@pytest.mark.parametrize("text", ["A fine film!", "", "?!", "dull, dull, dull", "fine " * 50])
def test_contributions_add_up_to_the_log_odds(classifier: Classifier, text: str) -> None:
    explanation = classifier.explain(text, label="good")
    assert explanation.gap is not None
    assert explanation.gap < 0.02
    at_nothing = classifier._model
    with torch.no_grad():
        deep = torch.zeros(1, 2)
        for member in at_nothing.members:
            if member.head is not None:
                x = torch.zeros(1, max(1, explanation.num_tokens), member.encoder.input_size)
                deep += member.read_out(member.encoder(x, torch.tensor([x.shape[1]]))) / len(at_nothing.members)
        bias = at_nothing.wide.bias[None]
        nothing = bias if at_nothing.head is None else at_nothing.mix(bias, deep)
    odds = [
        np.log(p / (1 - p))
        for p in (
            explanation.probability,
            float((nothing / classifier.temperature).softmax(-1)[0, classifier.label_names.index("good")]),
        )
    ]
    assert explanation.contributions.sum() == pytest.approx(odds[0] - odds[1], abs=0.02)


def test_punctuation_that_the_tokenizer_drops_is_explained_too(classifier: Classifier) -> None:
    assert classifier.explain("A fine film!").tokens == ["A", "fine", "film", "!"]
    assert len(classifier.explain("A fine film!", method="occlusion").contributions) == 4


def test_a_saved_model_keeps_its_ngrams(classifier: Classifier, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path / "copy")
    copy = Classifier.from_pretrained(tmp_path / "copy")
    np.testing.assert_array_equal(copy.predict_proba(GOOD), classifier.predict_proba(GOOD))


def test_a_wide_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", reviews(), "lstm", wide=True, epochs=3)
    Trainer(reviews(), encoder="lstm", output=tmp_path / "half", wide=True, schedule="constant", **SETTINGS).fit()
    constant = fit(tmp_path / "constant", reviews(), "lstm", wide=True, schedule="constant", epochs=3)
    Trainer.resume(tmp_path / "half", data=reviews(), epochs=3).fit()
    resumed = Classifier.from_pretrained(tmp_path / "half")
    np.testing.assert_array_equal(resumed.predict_proba(GOOD), constant.predict_proba(GOOD))
    assert not np.array_equal(whole.predict_proba(GOOD), constant.predict_proba(GOOD))


def test_data_in_the_cache_give_the_same_model(tmp_path: Path) -> None:
    rows = "".join(
        f"{text},{label}\n" for texts, label in ((GOOD, "good"), (BAD, "bad")) for text in texts for _ in range(4)
    )
    (tmp_path / "data.csv").write_text(
        "text,label\n"
        + rows.replace("fine acting, fine", "fine acting fine").replace("dull acting, dull", "dull acting dull")
    )
    first, second = (fit(tmp_path / name, str(tmp_path / "data.csv"), "linear") for name in ("a", "b"))
    np.testing.assert_array_equal(first.predict_proba(GOOD), second.predict_proba(GOOD))
    assert first.evaluate(split="validation").accuracy == second.evaluate(split="validation").accuracy


def test_data_that_changed_are_read_with_the_ngrams_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = [f"{first} {second},{label}" for label in ("good", "bad") for first in "abcd" for second in ("wx", "yz")] * 4
    path.write_text("text,label\n" + "\n".join(rows))
    classifier = fit(tmp_path / "run", str(path), "linear")
    # The same words as often, and so the same tokenizer, but other pairs of words.
    path.write_text(
        "text,label\n" + "\n".join(" ".join(row.split(",")[0].split()[::-1]) + "," + row.split(",")[1] for row in rows)
    )
    splits = load_splits(classifier.config.data)
    expected = classifier.evaluate([(text, splits.label_names[label]) for text, label in splits.train])
    assert classifier.evaluate(split="train").loss == pytest.approx(expected.loss, abs=1e-9)


def test_vectors_and_ngrams_are_fitted_together_as_scikit_learn_would(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression

    settings = {"wide": True, "calibrate": False, "inverse_penalty": 2.0, "vector_scale": 0.5, **with_vectors(tmp_path)}
    trainer = Trainer(reviews(), encoder="mean-pool", output=tmp_path / "run", **{**SETTINGS, **settings})
    result = trainer.fit()
    assert (result.stop_reason, result.history[-1].step) == ("all epochs done", 0)
    data, model = trainer.prepare()
    assert model.is_linear
    train = data.splits["train"]
    bags, rows = bags_of(train), np.repeat(np.arange(len(train)), train.ngrams.lengths)
    x = np.zeros((len(train), len(model.wide.weights)))
    x[rows, bags.ids.numpy()] = model.wide.values(*bags).numpy()
    vectors, lengths = (torch.from_numpy(array) for array in train.pad(np.arange(len(train))))
    means = model.encoder(model.embedding(vectors), lengths).numpy()
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1.0, rtol=1e-5)
    expected = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000).fit(np.hstack([x, 0.5 * means]), train.labels)
    found = Classifier.from_pretrained(tmp_path / "run").predict_proba(list(reviews().train.texts))
    np.testing.assert_allclose(found, expected.predict_proba(np.hstack([x, 0.5 * means])), atol=5e-3)


def test_the_length_of_the_vectors_is_chosen_on_validation(tmp_path: Path) -> None:
    settings = {"wide": True, "calibrate": False, **with_vectors(tmp_path)}
    trainer = Trainer(reviews(), encoder="mean-pool", output=tmp_path / "run", **{**SETTINGS, **settings})
    trainer.fit()
    wide = trainer.prepare()[1].wide
    assert float(wide.vector_scale) in VECTOR_SCALES
    assert float(wide.inverse_penalty) in INVERSE_PENALTIES


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max"])
def test_scaled_vectors_are_explained(tmp_path: Path, pooling: str) -> None:
    model = fit(tmp_path / "run", reviews(), "mean-pool", **with_vectors(tmp_path, pooling=pooling))
    explanation = model.explain("a superb film", label="good")
    bias = model._model.head.bias.detach() / model.temperature
    index = model.label_names.index("good")
    log_odds = np.log(explanation.probability / (1 - explanation.probability))
    assert explanation.contributions.sum() == pytest.approx(log_odds - float(bias[index] - bias[1 - index]), abs=0.02)


def test_several_labels_per_text(tmp_path: Path) -> None:
    pairs = [
        ("fine acting", ["acting"]),
        ("fine story", ["story"]),
        ("acting and story", ["acting", "story"]),
        ("nothing", []),
    ] * 6
    classifier = fit(tmp_path / "run", Splits.from_pairs(train=pairs, validation=pairs[:4]), "linear")
    assert classifier.predict(["acting", "the story"]) == [("acting",), ("story",)]


def test_numbers_have_no_wide_path(tmp_path: Path) -> None:
    pairs = [(np.full((3, 2), float(number % 2)), str(number % 2)) for number in range(12)]
    with pytest.raises(ConfigError, match="n-grams of texts"):
        Trainer(
            Splits.from_pairs(train=pairs, validation=pairs[:2]), encoder="linear", output=tmp_path / "run", **SETTINGS
        ).fit()


def test_the_wide_path_scales_each_kind_of_ngram_to_length_1() -> None:
    path = WidePath(5, 3, 2)
    path.scales.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    values = path.values(torch.tensor([0, 2, 3, 1, 4]), torch.tensor([0, 3, 3]))
    expected = [1 / 10**0.5, 3 / 10**0.5, 1.0, 1.0, 1.0]  # texts {0, 2 | 3}, {} and {1 | 4}
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6)
    assert path(*Bags(torch.tensor([], dtype=torch.int64), torch.tensor([0, 0]))).tolist() == [[0, 0], [0, 0]]


def test_the_minimum_is_that_of_scikit_learn() -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 7)), rng.integers(0, 3, 60)
    model = LogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(x, labels)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)

    def loss(parameters: torch.Tensor) -> tuple[float, torch.Tensor]:
        parameters = parameters.clone().requires_grad_()
        value = torch.nn.functional.cross_entropy(inputs @ parameters[:-1] + parameters[-1], targets)
        value = value + parameters[:-1].square().sum() / (2 * 2.0 * 60)
        (gradient,) = torch.autograd.grad(value, parameters)
        return float(value.detach()), gradient

    found = minimize(loss, torch.zeros(8, 3, dtype=torch.float64), max_steps=200)
    np.testing.assert_allclose(found[:-1].T, model.coef_, atol=2e-3)


def test_the_minimizer_takes_what_it_has_when_it_must_stop() -> None:
    def square(point: torch.Tensor) -> tuple[float, torch.Tensor]:
        weights = torch.arange(1.0, 9.0)
        return float((weights * point.square()).sum()), 2 * weights * point

    asked = []

    def must_stop() -> bool:
        asked.append(len(asked))
        return len(asked) > 1

    stopped = minimize(square, torch.ones(8), max_steps=20, must_stop=must_stop)
    torch.testing.assert_close(stopped, minimize(square, torch.ones(8), max_steps=2))
    assert not torch.allclose(stopped, torch.zeros(8), atol=1e-3)


def test_the_time_limit_ends_the_fit_of_the_ngrams(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="seqcls"):
        result = Trainer(reviews(), encoder="linear", output=tmp_path / "run", **{**SETTINGS, "max_time": 1e-3}).fit()
    assert "ended the fit of the n-grams early" in caplog.text
    assert result.is_cut_short
    assert result.model_dir is not None
    weights = Classifier.from_pretrained(result.model_dir)._saved.weights
    assert weights["wide.weights"].any()  # of the first step
