from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Splits, Trainer
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import DataError, UsageError
from seqcls.inference.explanation import Explanation, strongest

STRANGE = ["", " ", "[/x] <b>&amp;</b>", "a\ud800b superb", "完全に superb", "\x1b[31mred", "superb " * 3_000]
METHODS = ["integrated-gradients", "occlusion"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("explained") / "run"
    result = Trainer(None, toy_splits(), config=toy_config(epochs=20), callbacks=[], output=folder).fit()
    assert result.model_dir is not None
    return Classifier.from_pretrained(result.model_dir, device="cpu")


def _log_odds(classifier: Classifier, text: str, label: str) -> float:
    probability = float(classifier.predict_proba([text])[0, classifier.label_names.index(label)])
    return float(np.log(probability) - np.log1p(-probability))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("label", ["bad", "good"])
def test_the_decisive_word_contributes_most(classifier: Classifier, method: Any, label: str) -> None:
    word = {"bad": "awful", "good": "superb"}[label]
    for text, _ in [pair for pair in toy_pairs(30, seed=9) if pair[1] == label]:
        explanation = classifier.explain(text, method=method)
        assert explanation.label == label
        assert explanation.probability == pytest.approx(float(classifier.predict_proba([text]).max()))
        assert explanation.tokens[int(explanation.contributions.argmax())] == word
        assert word in dict(strongest(explanation, 3))
        other = classifier.explain(text, method=method, label={"bad": "good", "good": "bad"}[label])
        np.testing.assert_allclose(other.contributions, -explanation.contributions, atol=1e-4)  # as there are two labels


def test_neighbours_in_a_long_text_are_hidden_together_and_share_their_contribution(classifier: Classifier) -> None:
    explanation = classifier.explain("film " * 450 + "superb", method="occlusion")
    values = explanation.contributions
    assert len(values) == len(explanation.spans) == 400  # of 451 tokens
    assert explanation.num_tokens == 451
    np.testing.assert_array_equal(values[::2], values[1::2])
    assert len(set(values.tolist())) > 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_any_text_is_explained(classifier: Classifier, text: str, method: Any) -> None:
    explanation = classifier.explain(text, method=method)
    assert np.isfinite(explanation.contributions).all()
    assert "".join(piece for piece, _ in explanation.pieces()) == text
    assert json.loads(json.dumps(explanation.as_dict()))["label"] in classifier.label_names
    shown: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            shown.append(data)

    reader = Reader()
    reader.feed(explanation.to_html())
    assert text in "".join(shown)
    assert explanation._repr_html_() == explanation.to_html()


def test_text_is_escaped_in_html() -> None:
    attack = "<script>alert(1)</script>\" onmouseover='x'"
    spans, values = np.array([[0, 8], [8, len(attack)]]), np.array([1.0, -1.0])
    shown = Explanation("<i>", 0.5, attack, spans, values, "occlusion", None, 2).to_html()
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "&lt;script&gt;" in shown


@given(
    text=st.text(max_size=40), rules=st.sampled_from(["word", "basic-english", "character"]), most=st.sampled_from([None, 3])
)
def test_spans_belong_to_the_ids(text: str, rules: str, most: int | None) -> None:
    tokenizer = TextTokenizer.from_words(["film", "good", "a", "'"], rules=rules, max_length=most)
    ids, spans, total = tokenizer.encode_with_spans(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    assert len(spans) == len(ids) <= total
    assert all(0 <= start <= end <= len(text) for start, end in spans.tolist())
    if rules == "word" and text.isascii() and "<" not in text and ids.tolist() != [1]:
        for number, (start, end) in zip(ids.tolist(), spans.tolist(), strict=True):
            word = text[start:end].lower()
            assert tokenizer.words()[number] == (word if word in tokenizer.words() else "[UNK]")


def test_spans_of_a_text_that_is_cut_in_pieces_go_on(classifier: Classifier) -> None:
    tokenizer = TextTokenizer.from_words(["film", "good"])
    text = "é " + "film good " * 30_000
    _, spans, total = tokenizer.encode_with_spans(text)
    assert total == 60_001
    assert {text[start:end] for start, end in spans[1:].tolist()} == {"film", "good"}
    assert spans[-1].tolist() == [len(text) - 5, len(text) - 1]


def test_numbers_are_explained_step_by_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def pairs(count: int) -> list[tuple[Any, str]]:
        examples = []
        for number in range(count):
            steps = rng.normal(size=(6, 2)).astype(np.float32)
            steps[4] += 8 * (number % 2)
            examples.append((steps, ("low", "high")[number % 2]))
        return examples

    splits = Splits.from_pairs(pairs(80), validation=pairs(20))
    result = Trainer(None, splits, config=toy_config(epochs=20), callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    classifier = Classifier.from_pretrained(result.model_dir)
    steps, label = pairs(2)[1]
    for method in METHODS:
        explanation = classifier.explain(steps, method=method)  # type: ignore[arg-type]
        assert explanation.label == label
        assert int(explanation.contributions.argmax()) == 4
        assert explanation.tokens == ["0", "1", "2", "3", "4", "5"]


def test_unknown_labels_and_methods_are_named(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="no label 'great'; it has bad, good"):
        classifier.explain("film", label="great")
    with pytest.raises(UsageError, match="no method 'magic'"):
        classifier.explain("film", method="magic")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="give a str"):
        classifier.explain(3)
