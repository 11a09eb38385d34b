from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqcls.data.encoding import encode, encode_splits, unknown_rates
from seqcls.data.rules import UNK_ID
from seqcls.data.sequences import Sequences
from seqcls.data.splits import Split, Splits
from seqcls.data.tokenizer import TextTokenizer
from seqcls.data.tokenizer_worker import encode_on_two_cores

TEXTS = ["a good film", "bad", "", "good good good bad"]


def example_splits() -> Splits:
    train, test = Split(TEXTS, np.array([1, 0, 0, 1])), Split(TEXTS[:2], np.array([1, 0]))
    return Splits(train, test=test, label_names=("neg", "pos"))


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return TextTokenizer.fit(TEXTS, vocab_size=4, max_length=3, truncating="pre")


def test_encoding_joins_ids_and_labels(tokenizer: TextTokenizer) -> None:
    data = encode_splits(tokenizer, example_splits())
    # The vocabulary of four: [PAD], [UNK], good (4 times), bad (2); "a" and "film" (once each) are unknown.
    assert [sequence.tolist() for sequence in data.splits["train"]] == [[1, 2, 1], [3], [UNK_ID], [2, 2, 3]]
    labels = data.splits["train"].labels
    assert labels is not None
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 0, 1]
    assert encode(tokenizer, TEXTS).labels is None


def test_unknown_rates_are_shares_of_ids(tokenizer: TextTokenizer) -> None:
    sequences = encode_splits(tokenizer, example_splits()).splits["train"]
    assert unknown_rates(sequences).tolist() == [2 / 3, 0, 1, 0]
    assert unknown_rates(Sequences.from_list([])).tolist() == []


def test_two_processes_encode_as_one(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    texts = [f"good film {number} \ud800 caf\u00e9" if number % 7 else "" for number in range(9_001)]
    expected = tokenizer.encode_batch(texts)
    found = list(encode_on_two_cores(tokenizer, texts))
    assert np.concatenate([values for values, _ in found]).tolist() == expected[0].tolist()
    assert np.concatenate([lengths for _, lengths in found]).tolist() == np.diff(expected[1]).tolist()
    assert list(encode_on_two_cores(tokenizer, [])) == []


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import sys; sys.stdin.buffer.read(50); print('no answer')"])
def test_a_second_process_that_fails_is_replaced(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str
) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(
        "seqcls.data.tokenizer_worker.subprocess.Popen",
        lambda command, **kwargs: start([sys.executable, "-c", program], **kwargs),
    )
    texts = [f"good {number}" for number in range(7_000)]
    found = list(encode_on_two_cores(tokenizer, texts))
    assert np.concatenate([values for values, _ in found]).tolist() == tokenizer.encode_batch(texts)[0].tolist()
    assert "the second encoding process failed" in caplog.text
