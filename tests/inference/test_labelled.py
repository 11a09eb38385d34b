from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, DataConfig, Dataset, Splits, Trainer
from seqcls.data.prepare import build_dataset
from seqcls.errors import DataError


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("labelled") / "run"
    result = Trainer(None, toy_splits(), config=toy_config(epochs=4), callbacks=[], output=folder).fit()
    assert result.model_dir is not None
    return Classifier.from_pretrained(result.model_dir, device="cpu")


def test_evaluation_takes_pairs_splits_and_names_of_splits(classifier: Classifier) -> None:
    pairs = toy_pairs(20, seed=2)
    assessment = classifier.evaluate(pairs)
    assert assessment == classifier.evaluate(toy_splits())
    assert assessment == classifier.predictions(pairs).assess()
    assert assessment.count == 20
    predicted = classifier.predict([text for text, _ in pairs])
    assert assessment.correct == sum(label == guess for (_, label), guess in zip(pairs, predicted, strict=True))
    assert classifier.evaluate(toy_splits(), split="validation").count == 16


def test_labels_are_matched_by_name_not_by_number(classifier: Classifier) -> None:
    reversed_labels = [("superb", "good"), ("awful", "bad")]
    splits = Splits.from_pairs(reversed_labels * 10, validation=reversed_labels, test=[("superb", "good")])
    assert classifier.evaluate(splits).correct == classifier.evaluate([("superb", "good")]).correct


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([("text", "ugly")], "ugly"),
        ([], "no example"),
        ([("text",)], r"data\[0\]"),
        (None, "objects"),
    ],
)
def test_data_that_cannot_be_scored_is_refused(classifier: Classifier, data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classifier.evaluate(data)  # type: ignore[arg-type]


def test_a_missing_split_is_named(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="no final split"):
        classifier.evaluate(toy_splits(), split="final")


def test_the_data_set_of_the_model_is_scored_from_the_cache(tmp_path: Path) -> None:
    config = toy_config(epochs=1).updated(
        {"data": {"dataset_options": {"train_size": 60, "validation_size": 20, "test_size": 30}}}, source="test"
    )
    result = Trainer(None, "reviews", config=config, callbacks=[], output=tmp_path / "run").fit()
    assert result.model_dir is not None
    classifier = Classifier.from_pretrained(result.model_dir)
    assert result.test is not None
    assert classifier.evaluate().loss == pytest.approx(result.test.loss, abs=1e-6)
    assert classifier.evaluate(split="validation").count == 20


def test_a_minimum_confidence_covers_the_sure_examples(classifier: Classifier) -> None:
    pairs = toy_pairs(20, seed=2)
    confidences = classifier.predict_proba([text for text, _ in pairs]).max(axis=1)
    least = float(np.median(confidences))
    assert classifier.evaluate(pairs, min_confidence=least).coverage == pytest.approx(
        (confidences >= least).mean(), abs=0.05
    )


class OwnFile:
    """A model that was trained on rows of a file, of which the test split was held out."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.path, self.run = folder / "own.csv", folder / "run"
        rows = [(f"{text} {number}", label) for number, (text, label) in enumerate(toy_pairs(60))]
        self.rows = [f"{text},{label}" for text, label in rows]
        self.write(self.rows)
        options = {"test_fraction": 0.2, **settings.pop("dataset_options", {})}  # type: ignore[dict-item]
        trainer = Trainer(
            str(self.path),
            dataset_options=options,
            config=toy_config(epochs=1),
            callbacks=[],
            output=self.run,
            **settings,
        )
        self.result = trainer.fit()

    def write(self, rows: list[str]) -> None:
        self.path.write_text("\n".join(["text,label", *rows]) + "\n")

    def classifier(self) -> Classifier:
        return Classifier.from_pretrained(self.run)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_rows_that_were_trained_on_are_never_scored_as_held_out(tmp_path: Path, split: str) -> None:
    own = OwnFile(tmp_path)
    assert own.classifier().evaluate(split=split).count == {"test": 12, "validation": 4}[split]
    own.write([*own.rows, "a superb new row,good"])
    with pytest.raises(DataError, match="data have changed"):
        own.classifier().evaluate(split=split)
    shutil.copytree(own.run / "model", tmp_path / "copy")  # the model directory alone can tell
    with pytest.raises(DataError, match="data have changed"):
        Classifier.from_pretrained(tmp_path / "copy").predictions(split=split, with_texts=True)
    assert own.classifier().evaluate(split="train").count > 40
    assert own.classifier().evaluate([("a superb new row", "good")]).count == 1
    own.write(own.rows)
    assert own.classifier().evaluate(split=split).count == {"test": 12, "validation": 4}[split]


def test_rows_in_another_order_are_divided_otherwise(tmp_path: Path) -> None:
    own = OwnFile(tmp_path)
    own.write(own.rows[::-1])
    with pytest.raises(DataError, match="data have changed"):
        own.classifier().evaluate()


def test_a_tokenizer_of_its_own_hides_no_change(tmp_path: Path) -> None:
    """The preprocessor is the same for all data then, so that the encoded data in the cache seem to fit the model."""
    source = OwnFile(tmp_path).run / "model" / "tokenizer.json"
    (tmp_path / "other").mkdir()
    own = OwnFile(tmp_path / "other", tokenizer=str(source))
    assert own.classifier().evaluate().count == 12
    own.write([*own.rows, "a superb new row,good"])
    with pytest.raises(DataError, match="data have changed"):
        own.classifier().evaluate()


def test_a_file_of_test_rows_may_change_and_so_may_training_rows_beside_it(tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\na superb room,good\nan awful room,bad\n")
    own = OwnFile(tmp_path, dataset_options={"test": str(test), "test_fraction": 0.0})
    own.write([*own.rows, "a superb new row,good"])
    assert own.classifier().evaluate().count == 2  # the same test rows
    own.write(own.rows)
    test.write_text(test.read_text() + "a superb meal,good\n")
    assert own.classifier().evaluate().count == 3  # the same training rows
    own.write([*own.rows, "a superb new row,good"])
    with pytest.raises(DataError, match="data have changed"):
        own.classifier().evaluate()


def test_a_part_held_out_of_objects_is_known_again(tmp_path: Path) -> None:
    pairs = toy_pairs(60)
    Trainer(Splits.from_pairs(pairs), config=toy_config(epochs=1), callbacks=[], output=tmp_path / "run").fit()
    classifier = Classifier.from_pretrained(tmp_path / "run")
    assert classifier.evaluate(Splits.from_pairs(pairs), split="validation").count == 6
    with pytest.raises(DataError, match="data have changed"):
        classifier.evaluate(Splits.from_pairs([*pairs, ("superb", "good")]), split="validation")
    assert classifier.evaluate(Splits.from_pairs(pairs[:4], validation=pairs), split="validation").count == 60


def test_other_data_are_no_changed_data(tmp_path: Path) -> None:
    own = OwnFile(tmp_path)
    (tmp_path / "other.csv").write_text("\n".join(["text,label", *own.rows[:30]]) + "\n")
    other = build_dataset(DataConfig(dataset=str(tmp_path / "other.csv"), dataset_options={"test_fraction": 0.2}))
    assert own.classifier().evaluate(other, split="test").count == 6
    pairs = toy_pairs(20, seed=3)
    assert own.classifier().evaluate(Splits.from_pairs(pairs), split="validation").count == 2


def test_the_own_file_as_an_object_is_known_too(tmp_path: Path) -> None:
    own = OwnFile(tmp_path)

    def dataset(**options: int) -> Dataset:
        return build_dataset(DataConfig(dataset=str(own.path), dataset_options={"test_fraction": 0.2, **options}))

    assert own.classifier().evaluate(dataset(), split="test").count == 12
    with pytest.raises(DataError, match="data have changed"):
        own.classifier().evaluate(dataset(seed=5), split="test")


def test_report_and_comparison_refuse_changed_data_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from seqcls.apps.report.contestants import ask
    from seqcls.apps.report.write import write_report

    own = OwnFile(tmp_path)
    own.write([*own.rows, "a superb new row,good"])
    assert "data have changed" in write_report(own.run, output=tmp_path / "report.html").read_text()
    with pytest.raises(DataError, match="data have changed"):
        ask(own.run)


def test_scoring_the_training_file_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = OwnFile(tmp_path)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("WARNING", logger="seqcls"):
        assert own.classifier().evaluate("./own.csv").count == 60
        assert "was trained on" in caplog.text
        caplog.clear()
        (tmp_path / "new.csv").write_text("text,label\nsuperb,good\n")
        own.classifier().evaluate("./new.csv")
    assert not caplog.text
