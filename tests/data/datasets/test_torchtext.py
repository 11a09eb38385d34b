"""torchtext's data sets, vocabularies and vectors. Most need torchtext 0.18 and torch 2.3, and files from a local server."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import os
import sys
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqcls import Trainer, load_recipe
from seqcls.data.datasets.imdb import ImdbDataset
from seqcls.data.datasets.torchtext import TorchtextDataset, tokenizer_from_vocab, write_vectors
from seqcls.data.prepare import load_splits
from seqcls.data.rules import UNK_ID
from seqcls.data.tokenizer import TextTokenizer
from seqcls.errors import ConfigError, DataError
from seqcls.model.embeddings.pretrained import PretrainedEmbedding, read_vectors
from seqcls.testing import check_dataset

needs_torchtext = pytest.mark.skipif(
    importlib.util.find_spec("torchtext") is None, reason="needs torchtext, which works with torch 2.3 alone"
)
WORKS = r"torch 2\.3\.1, torchtext 0\.18\.0, torchdata below 0\.10 and numpy below 2"


def torchtext(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"torchtext.{name}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder; yield it with its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def review(split: str, label: str, number: int) -> str:
    return f"This {label} review of {split}, number {number}, isn't long.<br />It ends here."


def imdb_archive(path: Path, *, reviews: int, labels: tuple[str, ...] = ("neg", "pos")) -> str:
    """Write an archive like IMDB's; return its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for split in ("train", "test"):
            for label in labels:
                for number in range(reviews):
                    data = review(split, label, number).encode()
                    info = tarfile.TarInfo(f"aclImdb/{split}/{label}/{number}_7.txt")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def imdb(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make torchtext's IMDB one of 40 reviews a split, served locally; return the archive."""
    folder, address = server
    module = torchtext("datasets.imdb")
    path = folder / "aclImdb_v1.tar.gz"
    monkeypatch.setattr(module, "URL", f"{address}/{path.name}")
    monkeypatch.setattr(module, "MD5", imdb_archive(path, reviews=20))
    monkeypatch.setattr(module, "NUM_LINES", {"train": 40, "test": 40})
    return path


@needs_torchtext
def test_imdb_has_both_labels_all_rows_and_the_texts_as_they_are(imdb: Path, tmp_path: Path) -> None:
    dataset = TorchtextDataset(name="IMDB", root=str(tmp_path / "root"))
    check_dataset(dataset)
    splits = dataset.load()
    assert splits.label_names == ("neg", "pos")
    for name, split in splits.labelled().items():
        expected = {
            (review(name, label, number), index) for index, label in enumerate(("neg", "pos")) for number in range(20)
        }
        assert set(split) == expected
        assert len(split) == 40


@needs_torchtext
def test_rows_sorted_by_class_make_no_difference_to_validation_and_batches(imdb: Path, tmp_path: Path) -> None:
    config = load_recipe("default", encoder="mean-pool", dataset="torchtext").updated(
        {
            "data": {"dataset_options": {"name": "IMDB", "root": str(tmp_path / "root")}},
            "fit": {"epochs": 1, "device": "cpu"},
        },
        source="test",
    )
    splits = load_splits(config.data)
    assert splits.validation is not None
    assert np.bincount(splits.validation.labels).tolist() == [2, 2]
    result = Trainer(config=config, output=tmp_path / "run").fit()
    assert result.test is not None
    assert result.test.count == 40


@needs_torchtext
def test_half_the_data_is_refused(imdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = imdb_archive(imdb, reviews=20, labels=("neg",))
    monkeypatch.setattr(torchtext("datasets.imdb"), "MD5", md5)
    with pytest.raises(DataError, match=r"torchtext gave 20 rows of IMDB, train, which has 40; delete .*IMDB and try again"):
        TorchtextDataset(name="IMDB", root=str(tmp_path)).load()


@needs_torchtext
def test_another_archive_than_the_expected_one_is_refused(
    imdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchtext("datasets.imdb"), "MD5", "0" * 32)
    with pytest.raises(DataError, match=r"torchtext could not read IMDB, train: .*hash"):
        TorchtextDataset(name="IMDB", root=str(tmp_path)).load()


@needs_torchtext
def test_a_missing_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchtext("datasets.imdb"), "URL", "http://127.0.0.1:9/aclImdb_v1.tar.gz")
    with pytest.raises(DataError, match="torchtext could not read IMDB, train: "):
        TorchtextDataset(name="IMDB", root=str(tmp_path)).load()


@needs_torchtext
def test_ag_news_has_four_named_labels(server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = server
    module = torchtext("datasets.ag_news")
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[1 + n % 4, f"Title {n}", f'Text, "{n}"'] for n in range(12)])
    monkeypatch.setattr(module, "URL", {split: f"{address}/{split}.csv" for split in ("train", "test")})
    md5s = {split: hashlib.md5((folder / f"{split}.csv").read_bytes()).hexdigest() for split in ("train", "test")}
    monkeypatch.setattr(module, "MD5", md5s)
    monkeypatch.setattr(module, "NUM_LINES", {"train": 12, "test": 12})
    splits = TorchtextDataset(name="AG_NEWS", root=str(tmp_path)).load()
    assert splits.label_names == ("world", "sports", "business", "sci/tech")
    assert splits.train[5] == ('Title 5 Text, "5"', 1)


@needs_torchtext
@pytest.mark.parametrize(
    ("name", "folder_name", "files", "header", "row"),
    [
        (
            "CoLA",
            "cola_public/raw",
            ("in_domain_train", "in_domain_dev", "out_of_domain_dev"),
            None,
            "src\t{label}\t*\t{text}",
        ),
        ("SST2", "SST-2", ("train", "dev", "test"), "sentence\tlabel", "{text}\t{label}"),
    ],
)
def test_glue_sets_bring_their_validation_split(
    server: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    folder_name: str,
    files: tuple[str, ...],
    header: str | None,
    row: str,
) -> None:
    folder, address = server
    module = torchtext(f"datasets.{name.lower()}")
    path = folder / module._PATH
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(files):
            lines = [row.format(text=f"text {number} {n}", label=n % 2) for n in range(6)]
            if (name, file) == ("SST2", "test"):
                lines = [f"{n}\ttext {number} {n}" for n in range(6)]
            first = ["index\tsentence"] if (name, file) == ("SST2", "test") else [header] if header else ["a\tb\tc\td"]
            archive.writestr(f"{folder_name}/{file}.tsv", "\n".join([*first, *lines, ""]))
    monkeypatch.setattr(module, "URL", f"{address}/{path.name}")
    monkeypatch.setattr(module, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(module, "NUM_LINES", dict.fromkeys(("train", "dev", "test"), 5 if name == "CoLA" else 6))
    splits = TorchtextDataset(name=name, root=str(tmp_path)).load()  # type: ignore[arg-type]
    assert splits.validation is not None
    assert splits.train[1] == ("text 0 1", 1)
    assert splits.validation[0][0] == "text 1 0"
    if name == "SST2":
        assert splits.test is None
        assert splits.unlabelled is not None
        assert splits.unlabelled[2] == ("text 2 2", None)
    else:
        assert splits.test is not None
        assert splits.label_names == ("unacceptable", "acceptable")


def test_a_name_that_torchtext_lacks_is_refused_with_those_it_has() -> None:
    config = load_recipe("default", dataset="torchtext").updated(
        {"data": {"dataset_options": {"name": "imdb"}}}, source="test"
    )
    with pytest.raises(ConfigError, match=r'name must be "AG_NEWS" .*"IMDB"'):
        Trainer(config=config)


@pytest.mark.parametrize("raises", ["OSError('undefined symbol: _ZN5torch3jit')", "ModuleNotFoundError('No module')"])
def test_another_torch_is_answered_with_the_versions_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: str
) -> None:
    for name in ("torchtext", "torchdata"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise {raises}")
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchtext", "torchdata")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"{WORKS}.*'seqcls\\[torchtext\\]'; here is torch {torch.__version__[:3]}"):
        TorchtextDataset(name="IMDB").fingerprint()


# Vocabularies and word vectors.


@needs_torchtext
def test_a_vocab_gives_the_same_words(tmp_path: Path) -> None:
    vocab_module, data_utils = torchtext("vocab"), torchtext("data.utils")
    words = data_utils.get_tokenizer("basic_english")
    texts = ["It's good, isn't it?", "The film: not good (at all)."]
    vocab = vocab_module.build_vocab_from_iterator(map(words, texts), specials=["<pad>", "<unk>"])
    vocab.set_default_index(vocab["<unk>"])
    tokenizer = tokenizer_from_vocab(vocab)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json", max_length=None, truncating="post")
    for text in [*texts, "An unseen film: it's bad!"]:
        expected = [word if word in vocab else "[UNK]" for word in words(text)]
        assert [loaded.words()[index] for index in loaded.encode(text)] == expected


def test_a_vocab_keeps_the_order_of_its_words() -> None:
    vocab = SimpleNamespace(get_itos=lambda: ["the", "<unk>", "b", "<pad>", "a"], get_default_index=lambda: 1)
    tokenizer = tokenizer_from_vocab(vocab)
    assert tokenizer.words() == ["[PAD]", "[UNK]", "the", "b", "a"]
    assert tokenizer.encode("a <unk> the").tolist() == [4, UNK_ID, 2]


def test_a_vocab_without_an_unknown_word_is_refused() -> None:
    vocab = SimpleNamespace(get_itos=lambda: ["the", "a"], get_default_index=lambda: None)
    with pytest.raises(ConfigError, match=r"no unknown word; .*set_default_index"):
        tokenizer_from_vocab(vocab)


@needs_torchtext
@pytest.mark.parametrize("kind", ["Vectors", "GloVe", "FastText"])
def test_vectors_become_the_initial_embeddings(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder, address = server
    vocab = torchtext("vocab")
    content = "good 0.1 -0.2 1e-3\nbad 0.30000001 4 5\nÉté 1 2 3\n"
    cache = str(tmp_path / "cache")
    if kind == "Vectors":
        (folder / "own.txt").write_text(content)
        vectors = vocab.Vectors(str(folder / "own.txt"), cache=cache)
    elif kind == "GloVe":
        with zipfile.ZipFile(folder / "glove.6B.zip", "w") as archive:
            archive.writestr("glove.6B.3d.txt", content)
        monkeypatch.setitem(vocab.GloVe.url, "6B", f"{address}/glove.6B.zip")
        vectors = vocab.GloVe("6B", dim=3, cache=cache)
    else:
        (folder / "wiki.en.vec").write_text(f"3 3\n{content}")
        monkeypatch.setattr(vocab.FastText, "url_base", f"{address}/wiki.{{}}.vec")
        vectors = vocab.FastText("en", cache=cache)
    path = tmp_path / "vectors.vec"
    write_vectors(vectors, path)
    embedding = PretrainedEmbedding(4, 3, path=str(path))
    embedding.start(["[PAD]", "[UNK]", "bad", "good"])
    assert torch.equal(embedding.table.weight[2:], vectors.get_vecs_by_tokens(["bad", "good"]))
    assert [word for word, _ in read_vectors(path, expected_size=3)] == vectors.itos


def test_vectors_of_a_word_with_white_space_are_refused(tmp_path: Path) -> None:
    vectors = SimpleNamespace(itos=["a b"], dim=1, vectors=torch.ones(1, 1))
    with pytest.raises(DataError, match="'a b' contains white space"):
        write_vectors(vectors, tmp_path / "v.vec")


# basic_english: the same words from the same text.


def words_of(text: str) -> list[str]:
    tokenizer = TextTokenizer.fit([text], vocab_size=10_000, rules="basic-english")
    return [tokenizer.words()[index] for index in tokenizer.encode(text)]


@needs_torchtext
@given(st.text(st.one_of(st.characters(max_codepoint=0x24F), st.sampled_from("<br />'\".,()!?;:\x1c\x85\u2028"))))
def test_any_western_text_gives_the_words_of_basic_english(text: str) -> None:
    words = torchtext("data.utils").get_tokenizer("basic_english")
    assert words_of(text) == (words(text) or ["[UNK]"])


@needs_torchtext
@pytest.mark.imdb
def test_every_training_review_of_imdb_gives_the_words_of_basic_english() -> None:
    words = torchtext("data.utils").get_tokenizer("basic_english")
    folder = os.environ.get("SEQCLS_DATA_DIR")
    if not folder or not Path(folder, "imdb").is_dir():
        pytest.skip("SEQCLS_DATA_DIR names no folder with imdb/ in it")
    splits = ImdbDataset().load()
    assert splits.validation is not None
    texts = [*splits.train.texts, *splits.validation.texts]
    assert len(texts) == 25_000
    tokenizer = TextTokenizer.fit(texts, vocab_size=1_000_000, rules="basic-english")
    vocabulary = tokenizer.words()
    for text in texts:
        assert [vocabulary[index] for index in tokenizer.encode(text)] == words(text)
