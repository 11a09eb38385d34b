from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from seqcls.evaluation.decisions import confidence, decide, label_probabilities


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_those_of_torch(dtype: type, temperature: float) -> None:
    logits = np.random.default_rng(0).normal(scale=5, size=(20, 4)).astype(dtype)
    scaled = torch.from_numpy(logits) / temperature
    for is_multi_label, expected in ((False, scaled.softmax(dim=-1)), (True, scaled.sigmoid())):
        probabilities = label_probabilities(logits, temperature=temperature, is_multi_label=is_multi_label)
        assert probabilities.dtype == dtype
        np.testing.assert_allclose(probabilities, expected.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_large_logits_do_not_overflow(is_multi_label: bool) -> None:
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32)
    with np.errstate(over="raise", invalid="raise"):
        probabilities = label_probabilities(logits, is_multi_label=is_multi_label)
    np.testing.assert_array_equal(probabilities, [[1, 0], [0, 1]])


def test_no_examples_have_no_probabilities() -> None:
    assert label_probabilities(np.zeros((0, 3), dtype=np.float32), is_multi_label=False).shape == (0, 3)


def test_labels_are_named_where_the_model_is_sure() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert decide(probabilities, ("a", "b"), None) == ["a", "b"]
    assert decide(probabilities, ("a", "b"), None, min_confidence=0.7) == ["a", None]
    assert decide(probabilities, ("a", "b"), (0.3, 0.5)) == [("a",), ("a", "b")]
    assert decide(probabilities, ("a", "b"), (0.3, 0.5), min_confidence=0.5) == [("a",), None]


def test_with_several_labels_the_least_sure_one_gives_the_confidence() -> None:
    probabilities = np.array([[0.9, 0.2], [0.45, 0.1], [0.35, 0.01]])
    # With thresholds of 0.4 and 0.5, the first two examples get the first label:
    # min(0.9, 0.8), min(0.45, 0.9), min(0.65, 0.99).
    assert confidence(probabilities, (0.4, 0.5)).tolist() == pytest.approx([0.8, 0.45, 0.65])


def test_decisions_need_no_torch() -> None:
    code = "import sys; import seqcls.evaluation.decisions; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
