"""The embedding `static`: its settings follow the vectors, and its models need neither the folder nor the package."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import in_process, in_world
from safetensors.numpy import load_file
from static_vectors import TOKENS, new_table, write_model2vec, write_wordllama
from toy import toy_config, toy_pairs, toy_splits

from seqcls import Classifier, Config, NumpyClassifier, OnnxClassifier, Trainer, export_onnx
from seqcls.data.static_vectors import read_static_vectors
from seqcls.errors import ConfigError, MissingExtraError
from seqcls.model.embeddings.static import StaticEmbedding
from seqcls.storage.model_directory import load_model_directory

TEXTS = [text for text, _ in toy_pairs(20, seed=7)] + ["", "?!", "完全に", "superb " * 300, "a\ud800b", "unseen superbs"]


def _config(source: Path, *, encoder: str = "mean-pool", tune: bool = False, **fit: Any) -> Config:
    options = {"source": str(source), "tune": tune}
    model = {"embedding": "static", "embedding_options": options, "encoder": encoder, "embedding_size": "auto"}
    config = toy_config(**fit).replace(encoder=encoder, encoder_options={"pooling": "mean+max"})
    return config.updated({"model": model, "data": {"max_length": 60}}, source="test")


@pytest.fixture(params=["model2vec", "wordllama"])
def vectors(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write = {"model2vec": write_model2vec, "wordllama": write_wordllama}[request.param]
    return write(tmp_path / "vectors")


@pytest.mark.parametrize("tune", [False, True])
def test_a_saved_model_needs_no_folder_and_says_the_same_in_every_runtime(vectors: Path, tmp_path: Path, tune: bool) -> None:
    expected, tokenizer = read_static_vectors(str(vectors))
    result = Trainer(toy_splits(), config=_config(vectors, tune=tune), callbacks=[], output=tmp_path / "run").fit()
    shutil.rmtree(vectors)
    assert result.model_dir is not None
    table = load_file(result.model_dir / "model.safetensors")["embedding.table.weight"]
    assert table.dtype == (np.float32 if tune else np.float16)
    assert np.allclose(table, expected, rtol=1e-3, atol=1e-4) is not tune
    classifier = Classifier.from_pretrained(result.run_dir, device="cpu")
    assert classifier.preprocessor.words() == tokenizer.words()  # those of words that the training texts lack, too
    probabilities = classifier.predict_proba(TEXTS)
    np.testing.assert_allclose(
        NumpyClassifier.from_pretrained(result.run_dir).predict_proba(TEXTS), probabilities, atol=1e-5
    )
    copy = tmp_path / "copy"
    classifier.save_pretrained(copy)
    assert (Classifier.from_pretrained(copy, device="cpu").predict_proba(TEXTS) == probabilities).all()
    explanation = classifier.explain("a superb film")
    assert len(explanation.tokens) == len(explanation.contributions) > 0


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("encoder", ["mean-pool", "gru"])
def test_an_exported_model_says_the_same_and_in_8_bits_nearly(tmp_path: Path, encoder: str, tune: bool) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    config = _config(write_model2vec(tmp_path / "vectors"), encoder=encoder, tune=tune, epochs=1)
    run = Trainer(toy_splits(), config=config, callbacks=[], output=tmp_path / "run").fit().run_dir
    expected = Classifier.from_pretrained(run, device="cpu").predict_proba(TEXTS)
    for int8, tolerance in ((False, 1e-5), (True, 0.02)):
        path = tmp_path / f"{int8}.onnx"
        export_onnx(run, path, int8=int8)
        np.testing.assert_allclose(OnnxClassifier.from_pretrained(path).predict_proba(TEXTS), expected, atol=tolerance)


@pytest.mark.parametrize("tune", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, tune: bool) -> None:
    config = _config(write_model2vec(tmp_path / "vectors"), tune=tune, epochs=4, ema_decay=0.9, schedule="constant")
    whole = Trainer(toy_splits(), config=config, callbacks=[], output=tmp_path / "whole").fit()
    part = Trainer(toy_splits(), config=config.replace(epochs=2), callbacks=[], output=tmp_path / "part").fit()
    resumed = Trainer.resume(part.run_dir, data=toy_splits(), epochs=4, callbacks=[]).fit()
    first, second = (load_model_directory(result.model_dir).weights for result in (whole, resumed) if result.model_dir)
    assert all(torch.equal(first[name], second[name]) for name in first)


def _fit(path: str, source: str, tune: bool, rank: int = 0) -> Any:
    config = _config(Path(source), tune=tune).replace(word_dropout=0.0, embedding_dropout=0.0, output_dropout=0.0)
    return Trainer(toy_splits(), config=config, callbacks=[], output=path).fit().as_dict()["validation"]


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked")
@pytest.mark.parametrize("tune", [False, True])
def test_two_processes_learn_what_one_learns(tmp_path: Path, tune: bool) -> None:
    source = str(write_model2vec(tmp_path / "vectors"))
    one = in_process(_fit, str(tmp_path / "one"), source, tune)
    two = in_world(2, _fit, str(tmp_path / "two"), source, tune)
    assert two[0] == two[1]
    assert two[0] == pytest.approx(one, abs=1e-5)


def test_settings_follow_the_vectors(vectors: Path, tmp_path: Path) -> None:
    config = Trainer(toy_splits(), config=_config(vectors), output=tmp_path / "run").config
    assert (config.data.tokenizer, config.model.embedding_size) == (str(vectors), 6)
    smaller = _config(vectors).replace(embedding_size=4)
    model = Trainer(toy_splits(), config=smaller, output=tmp_path / "run").prepare()[1]
    expected, _ = read_static_vectors(str(vectors))
    np.testing.assert_allclose(model.embedding.state_dict()["table.weight"], expected[:, :4], rtol=1e-3, atol=1e-4)


def test_without_static_vectors_auto_means_words_of_size_64() -> None:
    config = Trainer(toy_splits()).config
    assert (config.data.tokenizer, config.model.embedding_size) == ("word", 64)


def test_its_tokenizer_also_serves_learned_vectors(vectors: Path, tmp_path: Path) -> None:
    result = Trainer(
        toy_splits(), config=toy_config(epochs=1), tokenizer=str(vectors), output=tmp_path / "run", callbacks=[]
    )
    result.fit()
    words = Classifier.from_pretrained(tmp_path / "run").preprocessor.words()
    assert words == read_static_vectors(str(vectors)).tokenizer.words()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer": "word"}, r"has vectors of the tokens of .*vectors, but tokenizer is 'word'; leave --tokenizer out"),
        ({"tokenizer": "bpe"}, "leave --tokenizer out"),
        ({"embedding_size": 7}, r"have 6 values, but model\.embedding_size is 7; leave it out, or give a smaller one"),
        ({"tokenizer": "missing.json"}, r"tokenizer is 'missing.json', which is not a file"),
    ],
)
def test_settings_that_do_not_fit_the_vectors_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    config = _config(write_model2vec(tmp_path / "vectors"))
    with pytest.raises(ConfigError, match=message):
        Trainer(toy_splits(), config=config, output=tmp_path / "run", **settings).prepare()


def test_vectors_of_other_tokens_are_refused(tmp_path: Path) -> None:
    embedding = StaticEmbedding(len(TOKENS), 6, source=str(write_model2vec(tmp_path / "vectors")))
    with pytest.raises(ConfigError, match="the tokens of the data are not those of the vectors"):
        embedding.start(TOKENS)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqcls\[static\]'"):
        Trainer(toy_splits(), embedding="static")


def test_rows_of_frozen_vectors_are_those_of_the_table() -> None:
    embedding = StaticEmbedding(9, 4)
    embedding.table.weight.copy_(torch.from_numpy(new_table(9, 4)))
    vectors = embedding(torch.tensor([[3, 0]]))
    assert vectors.dtype == torch.float32
    assert not list(embedding.parameters())
    assert torch.allclose(vectors[0, 0], torch.from_numpy(new_table(9, 4)[3]), rtol=1e-3)
