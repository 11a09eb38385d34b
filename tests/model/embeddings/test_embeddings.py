from __future__ import annotations

import gzip
import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import toy_config, toy_splits

from seqcls import Classifier, Trainer, registry
from seqcls.data.rules import PAD_ID
from seqcls.errors import ConfigError, DataError
from seqcls.model.embeddings.base import Embedding
from seqcls.model.embeddings.features import FeatureEmbedding
from seqcls.model.embeddings.ngram_hash import NgramHashEmbedding
from seqcls.model.embeddings.pretrained import PretrainedEmbedding, read_vectors

OF_IDS: list[tuple[str, dict[str, object]]] = [
    ("word", {}),
    ("ngram-hash", {"buckets": 50, "max_n": 3}),
    ("pretrained", {"path": "not read"}),
    ("static", {"source": "not read"}),
    ("static", {"source": "not read", "tune": True}),
]


def _build(name: str, options: dict[str, object]) -> Embedding:
    embedding: Embedding = registry.embeddings.get(name)(20, 4, **options)
    return embedding


@pytest.mark.parametrize(("name", "options"), OF_IDS)
@given(sequences=st.lists(st.lists(st.integers(1, 19), min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_a_vector_depends_on_its_own_sequence_up_to_there(
    name: str, options: dict[str, object], sequences: list[list[int]]
) -> None:
    embedding = _build(name, options)
    longest = max(map(len, sequences))
    inputs = torch.tensor([sequence + [PAD_ID] * (longest + 2 - len(sequence)) for sequence in sequences])
    vectors = embedding(inputs)
    assert vectors.shape == (*inputs.shape, 4)
    for row, sequence in enumerate(sequences):
        for length in range(1, len(sequence) + 1):
            alone = embedding(torch.tensor([sequence[:length]]))
            assert torch.equal(vectors[row, :length], alone[0])


@pytest.mark.parametrize(("name", "options"), OF_IDS)
def test_padding_is_zero_and_gets_no_gradient(name: str, options: dict[str, object]) -> None:
    embedding = _build(name, options)
    vectors = embedding(torch.tensor([[5, 6, PAD_ID, PAD_ID]]))
    assert not vectors[0, 2:].any()
    if list(embedding.parameters()):
        vectors.square().sum().backward()
    for parameter in embedding.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
        assert not parameter.grad[PAD_ID].any()


@pytest.mark.parametrize(("name", "options"), [*OF_IDS, ("features", {})])
def test_the_state_dict_restores_an_embedding(name: str, options: dict[str, object]) -> None:
    embedding, fresh = _build(name, options), _build(name, options)
    fresh.load_state_dict(embedding.state_dict())
    inputs = torch.randn(2, 3, 20) if embedding.kind == "features" else torch.randint(1, 20, (2, 3))
    assert torch.equal(embedding(inputs), fresh(inputs))


@given(sequence=st.lists(st.integers(1, 19), min_size=1, max_size=8), max_n=st.integers(2, 5), buckets=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_ngrams_add_the_vectors_of_their_buckets(sequence: list[int], max_n: int, buckets: int) -> None:
    embedding = NgramHashEmbedding(20, 4, max_n=max_n, buckets=buckets)
    words, ngrams = embedding.table.weight, embedding.ngram_table.weight
    expected = []
    for end, word in enumerate(sequence):
        vector = words[word].clone()
        for n in range(2, min(max_n, end + 1) + 1):
            value = sequence[end - n + 1]
            for following in sequence[end - n + 2 : end + 1]:
                value = (value * 116_049_371 + following) % buckets
            vector += ngrams[1 + value]
        expected.append(vector)
    vectors = embedding(torch.tensor([sequence]))[0]
    assert torch.allclose(vectors, torch.stack(expected), atol=1e-6)


def test_bigrams_tell_orders_apart() -> None:
    embedding = NgramHashEmbedding(20, 4, buckets=1000)
    forward, backward = embedding(torch.tensor([[5, 6, 7], [7, 6, 5]])).sum(dim=1)
    assert not torch.allclose(forward, backward)


def test_features_are_mapped_linearly() -> None:
    embedding = FeatureEmbedding(3, 2)
    x = torch.randn(4, 5, 3)
    assert torch.allclose(embedding(x), x @ embedding.projection.weight.T + embedding.projection.bias, atol=1e-6)


# Word vectors from files.

VECTORS = {"good": [1.0, 2.0], "bad": [-3.0, 4.5], "unused": [9.0, 9.0]}
WORDS = ["[PAD]", "[UNK]", "bad", "fine", "good"]
LINES = "".join(f"{word} {' '.join(map(str, values))}\n" for word, values in VECTORS.items())


@pytest.mark.parametrize("header", ["", "3 2\n"], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize("suffix", [".txt", ".vec.gz"])
def test_vectors_of_known_words_are_taken_from_the_file(
    tmp_path: Path, header: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"vectors{suffix}"
    data = (header + LINES).encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    embedding = PretrainedEmbedding(5, 2, path=str(path))
    with caplog.at_level(logging.INFO, "seqcls"):
        embedding.start(WORDS)
    weight = embedding.table.weight
    assert weight[[0, 2, 4]].tolist() == [[0, 0], [-3, 4.5], [1, 2]]
    assert weight[1].any()
    assert weight[3].any()
    assert f"{path} has vectors for 2 of 5 words (40.0%)" in caplog.text


def test_words_that_the_file_lacks_get_vectors_of_the_same_spread(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(4000)]
    lines = [f"{word} {' '.join(f'{value:.5f}' for value in rng.normal(scale=0.7, size=20))}" for word in words[:2000]]
    (tmp_path / "v.txt").write_text("\n".join(lines))
    embedding = PretrainedEmbedding(4002, 20, path=str(tmp_path / "v.txt"))
    embedding.start(["[PAD]", "[UNK]", *words])
    assert embedding.table.weight[2002:].std().item() == pytest.approx(0.7, rel=0.03)


@pytest.mark.parametrize("freeze", [False, True])
def test_frozen_vectors_stay_and_others_are_trained_on(tmp_path: Path, freeze: bool) -> None:
    (tmp_path / "v.txt").write_text("superb 1 1 1 1 1 1 1 1\nawful 2 2 2 2 2 2 2 2\n")
    options = {"path": str(tmp_path / "v.txt"), "freeze": freeze}
    config = toy_config(epochs=1).updated(
        {"model": {"embedding": "pretrained", "embedding_options": options}}, source="test"
    )
    result = Trainer(None, toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit()
    (tmp_path / "v.txt").unlink()  # a saved model holds its vectors
    classifier = Classifier.from_pretrained(result.run_dir)
    index = classifier.preprocessor.words().index("superb")
    vector = classifier._model.embedding.table.weight[index]  # type: ignore[union-attr, index]
    assert torch.equal(vector, torch.ones(8)) is freeze
    Trainer.resume(
        result.run_dir, data=toy_splits(), changes={"fit": {"epochs": 2}}, callbacks=[]
    ).fit()  # nor does a resumed run read the file


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"good 1 2\nbad 3\n", DataError, r"line 2: 1 numbers after the word, not 2"),
        (b"good 1 2\n\nbad 3 4\n", DataError, r"line 2: 0 numbers"),
        (b"good 1 2\nbad 3 x\n", DataError, r"line 2: could not convert"),
        (b"good 1 2\nbad 3 nan\n", DataError, r"line 2: a number is not finite"),
        (b"good 1 2\nbad 3 1e99\n", DataError, r"line 2: a number is not finite"),
        (b"good 1 2 3\n", ConfigError, r"have 3 numbers, but model.embedding_size is 2; use --set embedding_size=3"),
        (b"400000 100\ngood 1 2\n", ConfigError, r"have 100 numbers"),
        (b"4 " + b"9" * 5000, ConfigError, r"have 1 numbers"),  # no header: Python would not make a number of it
        (b"", DataError, r"has a vector for none of the 5 words"),
        (b"gut 1 2\nschlecht 3 4\n", DataError, r"for none of the 5 words"),
        (None, DataError, r"cannot read the word vectors .*v\.txt: .*No such file"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as raised:
        PretrainedEmbedding(5, 2, path=str(path)).start(WORDS)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"no gzip", lambda data: data[:12] + b"\xff" * 30])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "v.gz"
    path.write_bytes(damage(gzip.compress(LINES.encode() * 50)))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"v\.gz"):
        list(read_vectors(path, expected_size=2))


def test_words_with_spaces_and_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"good 1 2\n. . . 3 4\ncaf\xe9 5 6\n")
    vectors = {word: vector.tolist() for word, vector in read_vectors(tmp_path / "v.txt", expected_size=2)}
    assert vectors == {"good": [1, 2], ". . .": [3, 4], "caf�": [5, 6]}


def test_a_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    line = " ".join(["0.12345"] * 50)
    with (tmp_path / "v.txt").open("w") as file:
        file.writelines(f"w{number} {line}\n" for number in range(20_000))  # 8 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_vectors(tmp_path / "v.txt", expected_size=50)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("takes", "kind"), [("ids", "text"), ("features", "features")])
def test_an_embedding_written_for_0_1_says_takes_instead_of_kind(takes: str, kind: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"\.takes is now called kind"):
        old = type("Old", (FeatureEmbedding,), {"takes": takes})
    assert old.kind == kind
