"""The data set `files`: folders, patterns, groups, held-out test data and training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from table_files import (
    FORMS,
    GOOD,
    Write,
    as_csv,
    as_jsonl,
    as_pairs,
    load,
    pairs,
)

from seqcls import Classifier, Trainer, load_recipe
from seqcls.data.datasets.files import FilesDataset
from seqcls.errors import DataError


def test_several_files_patterns_and_splits(write: Write, tmp_path: Path) -> None:
    for number in range(3):
        write(f"part-{number}.csv", as_csv(GOOD[2 * number : 2 * number + 2]))
    extra = write("extra.jsonl", as_jsonl(GOOD[:2]))
    assert pairs(load(str(tmp_path / "part-*.csv"))) == as_pairs(GOOD)
    splits = load(f"{tmp_path}/part-0.csv, {extra}", validation=f"{tmp_path}/part-1.csv", test=f"{tmp_path}/part-2.csv")
    assert pairs(splits) == as_pairs(GOOD[:2] * 2)
    assert pairs(splits, "validation") == as_pairs(GOOD[2:4])
    assert pairs(splits, "test") == as_pairs(GOOD[4:])


def test_one_folder_per_class(write: Write, tmp_path: Path) -> None:
    for row in GOOD:
        write(f"reviews/{row['label']}/{row['text']}.txt", row["text"].encode())
    write("reviews/.hidden/a.txt", b"no")
    assert sorted(pairs(load(str(tmp_path / "reviews")))) == sorted(as_pairs(GOOD))


def test_one_folder_per_split(write: Write, tmp_path: Path) -> None:
    for split, rows in {"train": GOOD[:4], "dev": GOOD[4:], "test": GOOD[:2]}.items():
        for row in rows:
            write(f"folders/{split}/{row['label']}/{row['text']}.txt", row["text"].encode())
        write(f"tables/{split}.csv", as_csv(rows))
    for folder in ("folders", "tables"):
        splits = load(str(tmp_path / folder))
        assert sorted(pairs(splits, "validation")) == sorted(as_pairs(GOOD[4:]))
        assert sorted(pairs(splits, "train")) == sorted(as_pairs(GOOD[:4]))
        assert sorted(pairs(splits, "test")) == sorted(as_pairs(GOOD[:2]))


def test_groups_stay_on_one_side(write: Write) -> None:
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "author": f"writer {n // 4}"} for n in range(80)]
    splits = load(write("a.csv", as_csv(rows)), group_column="author", test_fraction=0.2).with_validation(
        fraction=0.2, seed=0
    )
    groups = {name: set(split.groups or ()) for name, split in splits.labelled().items()}
    assert all(groups.values())
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    with pytest.raises(DataError, match="there is no group in column 'author'"):
        load(write("b.csv", as_csv([*rows, {"text": "t", "label": "a", "author": ""}])), group_column="author")


@pytest.mark.parametrize("form", FORMS)
def test_weights_come_from_a_column_and_stay_with_their_rows(write: Write, form: str) -> None:
    rows = [{**row, "text": f"t{n}", "votes": n / 2} for n, row in enumerate(GOOD * 5)]
    splits = load(write(f"a{form}", FORMS[form](rows)), weight_column="Votes", test_fraction=0.2)
    splits = splits.with_validation(fraction=0.2, seed=0)
    for split in splits.labelled().values():
        assert split.weights is not None
        assert split.weights.tolist() == [int(text[1:]) / 2 for text in split.texts]


def test_only_training_files_need_weights(write: Write) -> None:
    train, other = write("a.csv", as_csv([{**row, "votes": 2} for row in GOOD])), write("b.csv", as_csv(GOOD))
    splits = load(train, weight_column="votes", validation=other, test=other)
    assert splits.train.weights is not None
    assert splits.validation is not None
    assert splits.train.weights.tolist() == [2.0] * 6
    assert splits.validation.weights is None
    with pytest.raises(DataError, match=r"b\.csv: no column 'votes'; .*--weight-column"):
        load(other, weight_column="votes")


def test_weights_that_cannot_be_used_are_named(write: Write) -> None:
    rows = [{**row, "votes": 0} for row in GOOD]
    with pytest.raises(DataError, match=r"a\.csv: the column 'votes' gives every row the weight 0"):
        load(write("a.csv", as_csv(rows)), weight_column="votes")
    fasttext = write("a.txt", b"__label__x some text\n__label__y other text\n")
    with pytest.raises(DataError, match=r"a\.txt is not a table; only tables have a column of weights"):
        load(fasttext, weight_column="votes")


def test_a_model_is_scored_on_files_without_its_weight_column(write: Write, tmp_path: Path) -> None:
    rows = [{**row, "text": f"{row['text']} {n}", "votes": 1 + n % 3} for n, row in enumerate(GOOD * 5)]
    config = load_recipe("default", encoder="mean-pool", dataset=write("a.csv", as_csv(rows)))
    config = config.updated({"data": {"dataset_options": {"weight_column": "votes"}}, "fit": {"epochs": 1}}, source="test")
    Trainer(config=config, callbacks=[], output=tmp_path / "run").fit()
    assert Classifier.from_pretrained(tmp_path / "run").evaluate(write("b.csv", as_csv(GOOD))).count == 6


def test_a_test_fraction_is_stratified_and_seeded(write: Write) -> None:
    rows = [{"text": f"t{n}", "label": "aaab"[n % 4]} for n in range(100)]
    path = write("a.csv", as_csv(rows))
    first, again, other = (load(path, test_fraction=0.2, seed=seed) for seed in (0, 0, 1))
    assert first.test is not None
    assert np.bincount(first.test.labels).tolist() == [15, 5]
    assert pairs(first, "test") == pairs(again, "test") != pairs(other, "test")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in ("nowhere.csv", "no-*.csv", f"{tmp_path}/nothing/"):
        with pytest.raises(DataError, match="there is no file"):
            load(path)
    with pytest.raises(DataError, match="neither one folder of text files per class, nor files"):
        load(str(tmp_path))


def test_a_file_can_be_trained_on_and_the_run_says_so(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    rows = [{"text": f"this is {('bad', 'good')[n % 2]} number {n}", "label": n % 2} for n in range(200)]
    path = write("reviews.csv", as_csv(rows))
    config = load_recipe("default", encoder="mean-pool", dataset=path).updated(
        {"fit": {"epochs": 10, "lr": 0.02}}, source="test"
    )
    assert (config.data.dataset, config.data.dataset_options) == ("files", {"path": path})
    result = Trainer(config=config, output=tmp_path / "run", callbacks=[]).fit()
    assert result.validation is not None
    assert result.validation.accuracy == 1
    assert result.model_dir is not None
    assert Classifier.from_pretrained(result.model_dir, device="cpu").predict(["number good"]) == ["1"]
    again = Trainer("mean-pool", path)
    assert again.config.data.dataset_options == {"path": path}


def test_a_changed_file_is_other_data(write: Write) -> None:
    first = FilesDataset(path=write("a.csv", as_csv(GOOD))).fingerprint()
    assert FilesDataset(path=write("b.csv", as_csv(GOOD))).fingerprint() != first
    assert FilesDataset(path=write("a.csv", as_csv(GOOD)), label_column="label").fingerprint() != first
