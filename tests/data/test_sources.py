"""What Python programs hold goes in as data: names, paths, pairs, lists, frames and tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqcls
from seqcls.data.datasets.reviews import ReviewsDataset
from seqcls.data.pairs import pairs_of
from seqcls.data.sources import source_of, splits_of
from seqcls.data.splits import Splits
from seqcls.errors import DataError

TEXTS = ["a film", "a book", "a play", "an opera"]
LABELS = ["good", "bad", "good", "bad"]
PAIRS = list(zip(TEXTS, LABELS, strict=True))


class Column:
    """A column as pandas has it; iterating it gives NumPy scalars."""

    def __init__(self, values: list[Any], method: str = "tolist") -> None:
        self.values = values
        setattr(self, method, lambda: list(values))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return (np.str_(value) if isinstance(value, str) else value for value in self.values)


class Frame:
    """A DataFrame as pandas has it: `columns` is an index, and iterating it gives the names of the columns."""

    def __init__(self, columns: dict[Any, list[Any]], method: str = "tolist") -> None:
        self._columns = {name: Column(values, method) for name, values in columns.items()}
        self.columns = np.array(list(columns), dtype=object)
        self.shape = (len(next(iter(columns.values()))), len(columns))

    def __getitem__(self, name: Any) -> Column:
        return self._columns[name]

    def __iter__(self) -> Any:
        return iter(self._columns)


class HuggingFaceTable:
    """A `datasets.Dataset`: column names, features and rows."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.column_names, self.features = list(rows[0]), dict.fromkeys(rows[0])
        self._rows = rows

    def __iter__(self) -> Any:
        return iter(self._rows)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PAIRS, id="list of pairs"),
        pytest.param([list(pair) for pair in PAIRS], id="list of lists"),
        pytest.param((TEXTS, LABELS), id="pair of lists"),
        pytest.param((tuple(TEXTS), tuple(LABELS)), id="pair of tuples"),
        pytest.param((np.array(TEXTS), np.array(LABELS)), id="pair of arrays"),
        pytest.param((Column(TEXTS), Column(LABELS)), id="pair of columns"),
        pytest.param(Frame({"id": [1, 2, 3, 4], "Review": TEXTS, "sentiment": LABELS}), id="pandas"),
        pytest.param(Frame({"text": TEXTS, "label": LABELS}, method="to_list"), id="polars"),
        pytest.param(HuggingFaceTable([{"text": text, "label": label} for text, label in PAIRS]), id="Hugging Face"),
        pytest.param({"train": PAIRS}, id="dict by split name"),
        pytest.param({"train": (TEXTS, LABELS), "unsupervised": object()}, id="dict of pairs of lists"),
        pytest.param(Splits.from_pairs(PAIRS), id="splits"),
    ],
)
def test_every_form_gives_the_same_splits(data: Any) -> None:
    splits = splits_of(data)
    assert list(splits.train) == [("a film", 1), ("a book", 0), ("a play", 1), ("an opera", 0)]
    assert splits.label_names == ("bad", "good")
    assert splits.fingerprint() == Splits.from_pairs(PAIRS).fingerprint()


def test_an_iterator_of_pairs_is_read_once() -> None:
    assert len(splits_of(iter(PAIRS)).train) == 4


def test_names_and_paths_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("text,label\na film,good\na book,bad\n")
    monkeypatch.chdir(tmp_path)
    for path in ("data/train.csv", Path("data/train.csv"), Path("data"), tmp_path / "data"):
        assert list(splits_of(path).train) == [("a film", 1), ("a book", 0)]
    assert len(splits_of("reviews").train) == 20_000


def test_a_path_object_is_never_a_registered_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "train.csv").write_text("text,label\na film,good\na book,bad\n")
    assert len(splits_of(Path("reviews")).train) == 2


def test_what_the_cache_can_identify_is_not_loaded() -> None:
    dataset = ReviewsDataset(train_size=20)
    assert source_of("reviews") == "reviews"
    assert source_of(dataset) is dataset
    assert len(splits_of(dataset).train) == 20
    assert isinstance(source_of(PAIRS), Splits)


def test_a_tuple_of_two_sequences_is_texts_and_labels_and_a_list_is_pairs() -> None:
    """Both readings are possible where there are two examples in tuples: these are refused, and lists decide."""
    ambiguous = (("a film", "good"), ("a book", "bad"))
    with pytest.raises(DataError, match="may be two pairs, or two texts and two labels"):
        pairs_of(ambiguous)
    assert list(pairs_of((["a film", "a book"], ["good", "bad"]))) == list(ambiguous)
    assert list(pairs_of(list(ambiguous))) == [("a film", "good"), ("a book", "bad")]
    assert list(pairs_of((*ambiguous, ("a play", "good")))) == [*ambiguous, ("a play", "good")]


def test_sequences_of_numbers_come_with_a_list_of_labels() -> None:
    splits = splits_of((np.arange(12.0).reshape(2, 3, 2), np.array([1, 0])))
    assert splits.train.kind == "features"
    assert splits.train.sequences[1].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert splits.label_names == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([2, 10, 2, 10]), ("2", "10")),
        ([1.0, 0.0, 1.0, 0.0], ("0", "1")),
        ([True, False, True, False], ("false", "true")),
        ([np.str_("x"), np.int64(3), "x", 3], ("3", "x")),
        ([["x", "y"], [], ["x"], ["y"]], ("x", "y")),
    ],
)
def test_labels_are_named_as_in_files(labels: Any, names: tuple[str, ...]) -> None:
    assert splits_of((TEXTS, labels)).label_names == names
    assert splits_of(Frame({"text": TEXTS, "label": list(labels)})).label_names == names


def test_columns_that_have_other_names_are_named_by_the_caller() -> None:
    frame = Frame({"what": TEXTS, "which": LABELS})
    with pytest.raises(DataError, match=r"no column .* text; there are \['what', 'which'\].*text_column="):
        splits_of(frame)
    assert Splits.of(frame, text_column="what", label_column="which").label_names == ("bad", "good")
    numbered = Frame({0: TEXTS, 1: LABELS})
    assert Splits.of(numbered, text_column="0", label_column="1").label_names == ("bad", "good")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((TEXTS, LABELS[:3]), "4 sequences but 3 labels.*pairs as a list"),
        ({"text": TEXTS, "label": LABELS}, r"no split named train; .*\(data\['text'\], data\['label'\]\)"),
        ({"train": {"text": TEXTS, "label": LABELS}}, r"\(data\['text'\], data\['label'\]\)"),
        ({"test": PAIRS}, "no split named train"),
        ({"train": PAIRS, "test": [("a", "superb")]}, "occur in test but never in train"),
        (3, "a int is not data; give"),
        (b"bytes", "a bytes is not data; give"),
        (["a film", "a book"], r"train\[0\] is 'a film'; give \(text, label\) pairs, or a tuple"),
        (("a film", "good"), r"train\[0\] is 'a film'"),
        ([TEXTS, LABELS], r"train\[0\] is .*or a tuple of two lists"),
        (Frame({"text": ["a", None], "label": ["x", "y"]}), "row 1 has no text in column 'text'"),
        (Frame({"text": ["a", "b"], "label": [float("nan"), 1.0]}), "row 0 has no label in column 'label'"),
        (Frame({"text": ["a", "b"], "label": [0.5, 1.0]}), r"train\[0\] has the label 0\.5"),
        (Frame({"text": [1, 2], "label": ["x", "y"]}), r"train\[0\] has a int as text"),
    ],
)
def test_other_data_are_refused_with_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        splits_of(data)


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS}, index=[7, 3, 9, 1])
    expected = Splits.from_pairs(PAIRS).fingerprint()
    assert splits_of(frame).fingerprint() == expected
    assert splits_of(frame.astype({"label": "category", "text": "string"})).fingerprint() == expected
    assert splits_of((frame["text"], frame["label"])).fingerprint() == expected
    assert splits_of(frame.assign(label=[1, 0, 1, 0])).label_names == ("0", "1")
    for gap in (None, pandas.NA, float("nan")):
        with pytest.raises(DataError, match="row 1 has no label"):
            splits_of(frame.assign(label=["good", gap, "bad", "bad"]))
    with pytest.raises(DataError, match="two columns have one name"):
        splits_of(pandas.concat([frame, frame], axis=1))


def test_frames_of_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": TEXTS, "label": LABELS})
    expected = Splits.from_pairs(PAIRS).fingerprint()
    assert splits_of(frame).fingerprint() == expected
    assert splits_of((frame["text"], frame["label"])).fingerprint() == expected
    assert splits_of(polars.DataFrame({"text": TEXTS, "label": [1, 0, 1, 0]})).label_names == ("0", "1")
    with pytest.raises(DataError, match="row 1 has no label"):
        splits_of(polars.DataFrame({"text": TEXTS, "label": ["good", None, "bad", "bad"]}))


def test_tables_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets")
    if not hasattr(datasets, "Dataset"):  # a folder of tests has this name too
        pytest.skip("needs Hugging Face datasets")
    expected = Splits.from_pairs(PAIRS).fingerprint()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    table = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 1, 0]}, features=features)
    assert splits_of(table).fingerprint() == expected
    assert splits_of(datasets.DatasetDict({"train": table, "test": table})).test is not None
    assert splits_of(table.to_pandas().assign(label=LABELS)).fingerprint() == expected


def test_no_frame_library_is_imported() -> None:
    script = (
        "import sys\nfrom seqcls.data.sources import splits_of\nsplits_of((['a', 'b'], ['x', 'y']))\n"
        "print({'pandas', 'polars', 'datasets', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_alias_is_public() -> None:
    assert "DataLike" in seqcls.__all__
    assert seqcls.DataLike is not None
