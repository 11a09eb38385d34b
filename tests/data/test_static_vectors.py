"""Static vectors are read in the forms of Model2Vec and WordLlama, and broken ones are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from static_vectors import TOKENS, new_table, write_model2vec, write_wordllama

from seqcls.data.rules import PAD_ID, UNK_ID
from seqcls.data.static_vectors import read_static_tokenizer, read_static_vectors, static_vector_size
from seqcls.errors import CheckpointError, DataError, HubError, MissingExtraError, SeqclsError


def test_ids_of_a_model2vec_folder_are_rows_of_its_vectors(tmp_path: Path) -> None:
    folder = write_model2vec(tmp_path / "vectors")
    table, tokenizer = read_static_vectors(str(folder))
    ids = tokenizer.encode("A superb film's meal 42, unheardof")
    words = ["a", "superb", "film", "[UNK]", "[UNK]", "meal", "4", "##2", "[UNK]", "[UNK]"]
    assert [tokenizer.words()[index] for index in ids] == words
    rows = new_table(len(TOKENS))
    expected = np.stack([rows[TOKENS.index(word)] if word != "[UNK]" else np.zeros(6) for word in words])
    np.testing.assert_allclose(table[ids], expected / np.sqrt(np.square(rows).mean()), rtol=1e-5)
    assert table.dtype == np.float32
    assert not table[[PAD_ID, UNK_ID]].any()
    assert np.square(table[2:]).mean() == pytest.approx(1)
    assert static_vector_size(str(folder)) == 6


def test_ids_of_a_wordllama_folder_are_rows_of_its_vectors(tmp_path: Path) -> None:
    table, tokenizer = read_static_vectors(str(write_wordllama(tmp_path / "vectors")))
    ids = tokenizer.encode("sup é")
    assert [tokenizer.words()[index] for index in ids] == ["▁sup", "▁", "<0xC3>", "<0xA9>"]
    rows = new_table(len(tokenizer.words()) - 2).astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(table[ids], rows[ids - 2] / np.sqrt(np.square(rows).mean()), rtol=1e-5)


def test_a_tokenizer_whose_first_ids_are_padding_and_unknown_is_not_shifted(tmp_path: Path) -> None:
    folder = write_model2vec(tmp_path / "vectors")
    described = (folder / "tokenizer.json").read_text()
    begin, end = described.index('"added_tokens"'), described.index('"normalizer"')
    (folder / "tokenizer.json").write_text(described[:begin] + '"added_tokens": [],' + described[end:])
    table, tokenizer = read_static_vectors(str(folder))
    rows = new_table(len(TOKENS))
    assert tokenizer.id_offset == 0
    assert len(table) == len(TOKENS)
    np.testing.assert_allclose(table[2:], rows[2:] / np.sqrt(np.square(rows[2:]).mean()), rtol=1e-5)
    assert not table[:2].any()


def test_shared_vectors_and_weights_of_newer_model2vec_are_applied(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mapping = rng.integers(0, 5, len(TOKENS))
    weights = rng.uniform(0.1, 2, len(TOKENS)).astype(np.float32)
    rows = new_table(5)
    folder = write_model2vec(tmp_path / "vectors", rows, mapping=mapping, weights=weights)
    table, _ = read_static_vectors(str(folder))
    expected = rows[mapping] * weights[:, None]
    np.testing.assert_allclose(table[2:], expected / np.sqrt(np.square(expected).mean()), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8])
def test_vectors_of_other_types_are_read(tmp_path: Path, dtype: type) -> None:
    rows = (new_table(len(TOKENS)) * 40).astype(dtype)
    table, _ = read_static_vectors(str(write_model2vec(tmp_path / "vectors", rows)))
    expected = rows.astype(np.float32)
    np.testing.assert_allclose(table[2:], expected / np.sqrt(np.square(expected).mean()), rtol=1e-5)


def test_the_tokenizer_alone_is_cut_as_the_settings_say(tmp_path: Path) -> None:
    folder = write_model2vec(tmp_path / "vectors")
    (folder / "model.safetensors").write_bytes(b"")  # it is not read
    tokenizer = read_static_tokenizer(str(folder), max_length=3, truncating="pre")
    assert [tokenizer.words()[index] for index in tokenizer.encode("a superb film and meal")] == ["film", "and", "meal"]


def _spoil_table(**tensors: np.ndarray) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        save_file(load_file(folder / "model.safetensors") | tensors, folder / "model.safetensors")

    return spoil


def _second_table(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "b.safetensors")
    (folder / "a.safetensors").write_bytes(b"")


def _two_matrices(folder: Path) -> None:
    save_file({"a": np.ones((2, 2)), "b": np.ones((2, 2))}, folder / "model.safetensors")


def _outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_spoil_table(embeddings=new_table(3)), DataError, r"has 3 vectors, too few for the \d+ tokens of its tokenizer"),
        (_spoil_table(embeddings=np.zeros((99, 2), np.float32)), DataError, "all zero, or not finite"),
        (_spoil_table(embeddings=np.full((99, 2), np.nan, np.float32)), DataError, "all zero, or not finite"),
        (_spoil_table(embeddings=np.ones(99, np.float32)), DataError, r"not hold a table of vectors.* embeddings \[99\]"),
        (_spoil_table(mapping=np.full(99, 999)), DataError, "too few for"),
        (_spoil_table(mapping=np.full(99, -1)), DataError, "too few for"),
        (_spoil_table(mapping=np.zeros(3, np.int64)), DataError, r"mapping is torch.int64 of shape \[3\]"),
        (_spoil_table(mapping=np.full(99, np.nan)), DataError, r"mapping is torch.float64"),
        (_spoil_table(weights=np.zeros((99, 2), np.float32)), DataError, r"weights is torch.float32 of shape \[99, 2\]"),
        (_spoil_table(weights=np.full(99, np.inf, np.float32)), DataError, "all zero, or not finite"),
        (_spoil_table(weights=np.full(99, 3e38, np.float32), embeddings=np.full((99, 2), 3e38)), DataError, "not finite"),
        (_two_matrices, DataError, "does not hold a table of vectors, embeddings or embedding.weight; it has a"),
        (_second_table, DataError, r"holds several files \*\.safetensors \(a\.safetensors, b\.safetensors\)"),
        (_outside, CheckpointError, "a link that leaves the directory"),
        (lambda folder: (folder / "model.safetensors").unlink(), DataError, "lacks model.safetensors or"),
        (lambda folder: (folder / "tokenizer.json").unlink(), DataError, "lacks tokenizer.json or"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 9), CheckpointError, "not a safetensors file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), CheckpointError, "cannot read the tokenizer"),
    ],
)
def test_broken_vectors_are_refused(
    tmp_path: Path, spoil: Callable[[Path], None], error: type[SeqclsError], message: str
) -> None:
    folder = write_model2vec(tmp_path / "vectors")
    spoil(folder)
    with pytest.raises(error, match=message) as raised:
        read_static_vectors(str(folder))
    assert str(folder) in str(raised.value)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*/none of static vectors; give a folder"):
        read_static_vectors(str(tmp_path / "none"))


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r"wordllama is not installed; run: pip install 'seqcls\[static\]'"):
        read_static_vectors()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"no folder someone/vectors here; .*: pip install 'seqcls\[hub\]'"):
        read_static_vectors("someone/vectors")


@pytest.mark.skipif(find_spec("wordllama") is None, reason="needs the extra static")
def test_the_vectors_of_the_wheel_are_read_without_importing_it() -> None:
    code = """
import sys
from seqcls.data.static_vectors import read_static_vectors, static_vector_size
table, tokenizer = read_static_vectors()
assert "wordllama" not in sys.modules
assert table.shape == (32_002, 256) and static_vector_size("wordllama") == 256
ids = tokenizer.encode("not good \\U0001f600")
assert [tokenizer.words()[i] for i in ids] == ["▁not", "▁good", "▁", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]
words = {word: row for word, row in zip(tokenizer.words(), table, strict=True)}
def cosine(a, b):
    a, b = words[a], words[b]
    return a @ b / (a @ a * (b @ b)) ** 0.5
assert cosine("▁good", "▁great") > 0.3 > cosine("▁good", "▁city")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
