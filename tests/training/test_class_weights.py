from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqcls.errors import ConfigError
from seqcls.training.objective import class_weights


def test_balanced_weights() -> None:
    single = class_weights("balanced", np.array([0, 0, 0, 1]), ("a", "b"))
    assert single.tolist() == [4 / 6, 4 / 2]
    several = class_weights("balanced", np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.uint8), ("a", "b"))
    assert several.tolist() == [1 / 3, 3.0]


def test_an_example_of_weight_two_counts_twice() -> None:
    labels = np.array([0, 0, 1, 2])
    for scale in (1.0, 8.0):
        weighted = class_weights("balanced", labels, ("a", "b", "c", "d"), scale * np.array([1.0, 0.0, 2.0, 0.5]))
        assert weighted.tolist() == [3.5 / 4 / 1, 3.5 / 4 / 2, 3.5 / 4 / 0.5, 1.0]  # no example has "d"
    several = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.uint8)
    weights = class_weights("balanced", several, ("a", "b"), np.array([1.0, 2.0, 0.0]))
    assert weights.tolist() == class_weights("balanced", several[[0, 1, 1]], ("a", "b")).tolist() == [0.0, 0.5]


def test_weights_from_a_table() -> None:
    assert class_weights({"b": 2.0, "a": 0.5}, np.array([0, 1]), ("a", "b")).tolist() == [0.5, 2]
    with pytest.raises(ConfigError, match=r"class_weights .* one weight per label \(a, b\); .*: b, c"):
        class_weights({"a": 1.0, "c": 1.0}, np.array([0, 1]), ("a", "b"))


def test_weights_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text('{"b": 2, "a": 0.5}')
    assert class_weights(str(path), np.array([0, 1]), ("a", "b")).tolist() == [0.5, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "cannot read"),
        ("[1, 2]", r"one weight per label \(a, b\)"),
        ('{"a": 1}', r"unknown: b"),
        ('{"a": 1, "b": 1, "c": 1}', r"unknown: c"),
        ('{"a": 1, "b": 0}', "the weight of 'b' is 0; give a number above 0"),
        ('{"a": 1, "b": true}', "the weight of 'b' is True"),
        ('{"a": 1, "b": "2"}', "the weight of 'b' is '2'"),
        ("[" * 100_000, "cannot read"),
        ('{"a": 1e400, "b": 1}', "the weight of 'a' is inf"),
        ('{"a": 1' + "0" * 400 + ', "b": 1}', "the weight of 'a' is 10000"),
    ],
)
def test_bad_weights_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "weights.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        class_weights(str(path), np.array([0, 1]), ("a", "b"))
