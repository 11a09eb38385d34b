"""Sequences of numbers: files, standardization, training and prediction."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from seqcls import Classifier, Splits, Trainer, load_recipe
from seqcls.data.datasets.arrays import ArraysDataset, read_arrays
from seqcls.data.encoding import parse_preprocessor
from seqcls.data.scaler import FeatureScaler
from seqcls.errors import CheckpointError, ConfigError, DataError
from seqcls.testing import check_dataset

TS = """# a comment
@problemName Example
@timeStamps false
@univariate false
@dimensions 2
@classLabel true up down

@data
1,2,3:10,20,30:up
3,2:30,20:down
1,1.5,2,4:1,2,3,5:up
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, content: str) -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return write


def save(path: Path, pairs: list[tuple[Any, Any]], **changes: Any) -> Path:
    values = {
        "values": np.concatenate([np.asarray(sequence, dtype=np.float32) for sequence, _ in pairs]),
        "offsets": np.cumsum([0, *(len(sequence) for sequence, _ in pairs)]),
        "labels": np.array([label for _, label in pairs]),
    }
    np.savez(path, **{name: value for name, value in (values | changes).items() if value is not None})
    return path


def ramp(number: int) -> tuple[np.ndarray, str]:
    """Return a noisy series that rises or falls, at an offset and scale far from 0 and 1, and which."""
    rng = np.random.default_rng(number)
    steps = np.arange(rng.integers(5, 20))[:, None] * (1, -1)[number % 2] * [1.0, 0.0]
    return (1000 + 50 * (steps + rng.normal(scale=0.3, size=steps.shape))).astype(np.float32), ("down", "up")[
        number % 2 == 0
    ]


def test_ts_files(write: Callable[[str, str], Path]) -> None:
    path = write("Example_TRAIN.ts", TS)
    pairs = list(read_arrays(path))
    assert [label for _, label in pairs] == ["up", "down", "up"]
    assert pairs[0][0].tolist() == [[1, 10], [2, 20], [3, 30]]
    assert pairs[1][0].shape == (2, 2)
    assert ArraysDataset(path=str(path)).load().test is None
    write("Example_TEST.ts", TS)
    check_dataset(ArraysDataset(path=str(path)))
    splits = ArraysDataset(path=str(path)).load()
    assert splits.test is not None
    assert splits.label_names == ("down", "up")


def test_npz_files(tmp_path: Path) -> None:
    pairs = [([[1.0, 2.0]], 1), ([[3.0, 4.0], [5.0, 6.0]], 0)]
    path = save(tmp_path / "a.npz", pairs)
    assert [(sequence.tolist(), label) for sequence, label in read_arrays(path)] == pairs
    flat = save(tmp_path / "b.npz", [([1.0, 2.0], "x"), ([3.0], "y")])
    assert [(sequence.tolist(), label) for sequence, label in read_arrays(flat)] == [([[1.0], [2.0]], "x"), ([[3.0]], "y")]


def test_an_npz_file_may_hold_weights(tmp_path: Path) -> None:
    pairs = [ramp(number) for number in range(8)]
    plain = save(tmp_path / "plain.npz", pairs)
    weighted = save(tmp_path / "weighted.npz", pairs, weights=np.arange(8, dtype=np.float32) / 2)
    splits = ArraysDataset(path=str(weighted), test=str(weighted), validation=str(plain)).load()
    assert splits.train.weights is not None
    assert splits.train.weights.tolist() == [number / 2 for number in range(8)]
    assert [split.weights for split in splits.labelled().values()][1:] == [None, None]
    assert ArraysDataset(path=str(plain), test=str(weighted)).load().train.weights is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "3 weights and 2 sequences"),
        (np.array([1, -2]), "sequence 1: the weight is -2; give a finite number"),
        (np.array([np.nan, 1]), "sequence 0: the weight is nan"),
        (np.array(["a", "b"]), "sequence 0: the weight is 'a'"),
        (np.ones((2, 2)), r"shape \[2, 2\]"),
        (np.zeros(2), "gives every sequence the weight 0"),
    ],
)
def test_wrong_weights_in_an_npz_file_are_refused(tmp_path: Path, weights: np.ndarray, message: str) -> None:
    path = save(tmp_path / "a.npz", [ramp(0), ramp(1)], weights=weights)
    with pytest.raises(DataError, match=message):
        ArraysDataset(path=str(path)).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, r"no array 'labels is not a file in the archive'|has no array"),
        ({"labels": np.array([0.5, 1.0])}, r"labels are float64 of shape \[2\]"),
        ({"labels": np.array([{}, 1], dtype=object)}, "cannot read .*allow_pickle"),
        ({"offsets": np.array([0, 1])}, r"offsets are int64 of shape \[2\]; give integers, \[N \+ 1\]"),
        ({"offsets": np.array([0, 3, 2])}, "offsets must rise from 0 to the number of values, which is 3"),
        ({"offsets": np.array([0, 0, 3])}, "sequence 0 has no step"),
        ({"values": np.array(["a", "b", "c"])}, r"sequence 0 is <U1 of shape \[1\]; give numbers"),
        (
            {"values": np.array([[1.0], [np.nan], [2.0]])},
            "sequence 1, step 0, feature 0 is nan; fill in missing",
        ),
        ({"values": np.zeros((3, 2, 2))}, r"sequence 0 is float64 of shape \[1, 2, 2\]"),
    ],
)
def test_a_broken_npz_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.npz", [([[1.0]], 0), ([[1.0], [2.0]], 1)], **changes)
    with pytest.raises(DataError, match=message):
        list(read_arrays(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3,2:30,20:down", "3,2:30,20:left", r"line 10: unknown class 'left'; the header has \['down', 'up'\]"),
        ("3,2:30,20:down", "3,2:30:down", r"line 10: the dimensions have \[2, 1\] steps"),
        ("3,2:30,20:down", "3,?:30,20:down", r"line 10: could not convert .*; fill in missing values \(\?\) first"),
        ("3,2:30,20:down", "down", "line 10: unknown class 'down'"),
        ("3,2:30,20:down", "3,nan:30,20:down", "line 10, step 1, feature 0 is nan"),
        ("@timeStamps false", "@timeStamps true", "line 3: series with time stamps"),
        ("true up down", "false", "line 6: the series have no classes"),
        ("@data", "", "line 9: '1,2,3:10"),
    ],
)
def test_a_broken_ts_is_refused(write: Callable[[str, str], Path], old: str, new: str, message: str) -> None:
    path = write("a.ts", TS.replace(old, new))
    with pytest.raises(DataError, match=message):
        list(read_arrays(path))


def _member(data: bytes) -> bytes:
    """Return an archive whose array of values is not one that NumPy wrote."""
    file = io.BytesIO()
    np.savez(file, offsets=np.array([0, 1]), labels=np.array([0]))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("values.npy", data)
    return file.getvalue()


HEADER = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)                  }".ljust(117)
    + b"\n"
)


@pytest.mark.parametrize(
    "data",
    [
        _member(b"no array"),
        _member(b""),
        _member(HEADER.replace(b"(1,)", b"(1, ") + bytes(4)),  # an open bracket
        _member(HEADER.replace(b"'<f4'", b"'<f4 ") + bytes(4)),  # an open quote
        _member(HEADER.replace(b"(1,)", b"(9**")),
        _member(HEADER),  # no value
        _member(HEADER.replace(b"(1,)                  ", b"(1152921504606846976,)") + bytes(4)),
        _member(HEADER + bytes(4)).replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
        ),  # encrypted
        _member(HEADER + bytes(4)).replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"),  # of a later version
    ],
    ids=["bytes", "nothing", "bracket", "quote", "code", "cut", "huge", "encrypted", "version"],
)
def test_a_garbled_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npz"):
        list(read_arrays(tmp_path / "a.npz"))


def test_files_that_are_none_are_refused(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    for path in (write("a.npz", "no archive"), write("b.ts", "@problemName x\n"), tmp_path / "nowhere.npz"):
        with pytest.raises(DataError, match=path.name):
            list(read_arrays(path))


sequences_of_two = st.lists(
    st.integers(1, 5).flatmap(
        lambda t: arrays(np.float64, (t, 2), elements=st.integers(-999, 999).map(lambda number: number / 7))
    ),
    min_size=1,
    max_size=8,
)


@given(sequences_of_two)
def test_statistics_are_those_of_scikit_learn(sequences: list[np.ndarray]) -> None:
    scaler, steps = FeatureScaler.fit(sequences), np.concatenate(sequences)
    expected = StandardScaler().fit(steps)
    np.testing.assert_allclose(scaler.mean, expected.mean_, atol=1e-9, rtol=1e-9)
    np.testing.assert_allclose(scaler.std[expected.scale_ != 1], expected.scale_[expected.scale_ != 1], atol=1e-6, rtol=1e-6)
    values, offsets = scaler.encode_batch(sequences)
    assert values.dtype == np.float32
    assert np.diff(offsets).tolist() == list(map(len, sequences))
    np.testing.assert_allclose(values, (steps - scaler.mean) / scaler.std, atol=1e-5, rtol=1e-5)


def test_a_feature_that_never_changes_is_only_centred() -> None:
    scaler = FeatureScaler.fit([[[5.0, 1.0], [5.0, 2.0]], [[5.0, 3.0]]])
    assert scaler.std[0] == 1
    assert scaler.encode_batch([[[5.0, 2.0]]])[0].tolist() == [[0.0, 0.0]]


def test_statistics_come_back_from_their_file(tmp_path: Path) -> None:
    scaler = FeatureScaler(np.array([0.1, 1 / 3]), np.array([1e-7, 2.0]))
    scaler.save(tmp_path / "file.json")
    loaded = parse_preprocessor(
        (tmp_path / "file.json").read_bytes(), tmp_path / "file.json", max_length=None, truncating="pre"
    )
    assert isinstance(loaded, FeatureScaler)
    assert (loaded.mean.tolist(), loaded.std.tolist()) == (scaler.mean.tolist(), scaler.std.tolist())
    for content in ("{}", "[", '{"mean": [1], "std": [0]}', '{"mean": [1], "std": [1, 2]}', '{"mean": ["a"], "std": [1]}'):
        (tmp_path / "file.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"file\.json"):
            FeatureScaler.load(tmp_path / "file.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("arrays")
    save(folder / "a.npz", [ramp(n) for n in range(200)])
    save(folder / "test.npz", [ramp(n) for n in range(200, 260)])
    config = load_recipe("default", encoder="gru", dataset=str(folder / "a.npz")).updated(
        {
            "data": {"dataset_options": {"test": str(folder / "test.npz")}},
            "fit": {"epochs": 6, "lr": 0.01, "batch_size": 16, "device": "cpu"},
            "model": {"encoder_options": {"hidden_size": 16}, "embedding_size": 8},
        },
        source="test",
    )
    return Trainer(config=config, output=folder / "run", callbacks=[]).fit()


def test_a_network_learns_from_numbers(run: Any) -> None:
    assert run.test.accuracy > 0.95
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
    assert classifier.config.model.embedding == "features"
    pairs = [ramp(n) for n in range(300, 340)]
    assert np.mean(np.array(classifier.predict([x for x, _ in pairs])) == [label for _, label in pairs]) > 0.95
    assert classifier.evaluate().correct == run.test.correct
    assert classifier.evaluate(str(run.run_dir.parent / "test.npz")).correct == run.test.correct
    assert "numbers in, a label out" in (run.model_dir / "README.md").read_text()


def test_neither_padding_nor_company_changes_a_prediction(run: Any) -> None:
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
    sequences = [ramp(n)[0] for n in range(400, 420)]
    together = classifier.predict_proba(sequences)
    alone = np.concatenate([classifier.predict_proba([sequence]) for sequence in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_what_a_model_cannot_read_is_refused(run: Any) -> None:
    classifier = Classifier.from_pretrained(run.model_dir, device="cpu")
    for given_, message in (
        ([np.zeros((3, 5))], "sequence 0 has 5 features, but the others have 2"),
        ([[[1.0, np.inf]]], "sequence 0, step 0, feature 1 is inf"),
        ([np.zeros((0, 2))], "has no step"),
        (["text"], "sequence 0 is <U4 of shape"),
        ([[[1.0], [1.0, 2.0]]], "sequence 0 is not a table of numbers"),
    ):
        with pytest.raises(DataError, match=message):
            classifier.predict(given_)
    with pytest.raises(DataError, match=r"data\[0\] is a text"):
        classifier.evaluate([("text", "up")])


def test_lists_from_python_are_data(tmp_path: Path) -> None:
    pairs = [(ramp(n)[0].tolist(), ramp(n)[1]) for n in range(40)]
    config = load_recipe("default", encoder="mean-pool").updated({"fit": {"epochs": 1, "device": "cpu"}}, source="test")
    result = Trainer(None, pairs, config=config, output=tmp_path / "run", callbacks=[]).fit()
    assert result.validation is not None
    with pytest.raises(DataError, match="some sequences are texts and some are numbers"):
        Splits.from_pairs([("a", "x"), ([1.0], "y")])


def test_an_embedding_of_words_is_refused_for_numbers_and_the_other_way_round(tmp_path: Path) -> None:
    numbers = Splits.from_pairs([ramp(n) for n in range(40)])
    for data, embedding, message in (
        (numbers, "ngram-hash", "takes words, but the data are numbers; use --embedding features"),
        ("reviews", "features", "takes numbers, but the data are words; use --embedding word"),
    ):
        config = load_recipe("default", encoder="mean-pool", embedding=embedding)
        with pytest.raises(ConfigError, match=message):
            Trainer(None, data, config=config, output=tmp_path / "run").fit()
