"""Models are sent to Hugging Face and fetched from it; a stand-in server answers its client."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

from hub_server import Hub, Repository, serving
from huggingface_hub import constants
from static_vectors import write_model2vec
from toy import toy_config, toy_splits

from seqcls import Classifier, Trainer
from seqcls.apps.cli.app import main
from seqcls.data.static_vectors import read_static_vectors
from seqcls.errors import CheckpointError, HubError, MissingExtraError
from seqcls.storage.model_directory import MODEL_FILES
from seqcls.system.hub import is_repo_id

# The client's own call of its HTTP library, on the way that large files take without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")

TEXTS = ["a superb film", "an awful meal"]
SENT = {*MODEL_FILES, "manifest.json", "README.md"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "run"
    Trainer(data=toy_splits(), config=toy_config(epochs=1), output=folder, callbacks=[]).fit()
    return folder


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return Classifier.from_pretrained(run, device="cpu")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, a cache and a token for this test alone; large files go over HTTP, not through the compiled client of Xet."""
    with serving() as hub:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
        monkeypatch.delenv("SEQCLS_OFFLINE", raising=False)
        yield hub


@pytest.fixture
def pushed(hub: Hub, classifier: Classifier) -> Repository:
    classifier.push_to_hub("me/model")
    return hub.repositories["me/model"]


def _load(name: str = "me/model", **options: Any) -> Classifier:
    return Classifier.from_pretrained(name, device="cpu", **options)


def test_a_model_that_was_pushed_says_the_same_when_it_is_loaded_by_its_name(
    hub: Hub, classifier: Classifier, run: Path
) -> None:
    url = classifier.push_to_hub("me/model", private=True, commit_message="The first")
    repository = hub.repositories["me/model"]

    assert url == f"{hub.url}/me/model/commit/{repository.branches['main']}"
    assert (repository.private, repository.messages[-1]) == (True, "The first")
    assert {name: data for name, data in repository.head().items() if name != ".gitattributes"} == {
        name: (run / "model" / name).read_bytes() for name in SENT
    }
    loaded = _load()
    assert (loaded.predict_proba(TEXTS) == classifier.predict_proba(TEXTS)).all()
    assert loaded.temperature == classifier.temperature


def test_pushing_twice_makes_one_repository_and_a_branch_where_it_is_asked_for(hub: Hub, classifier: Classifier) -> None:
    classifier.push_to_hub("me/model")
    before = hub.repositories["me/model"].branches["main"]
    for _ in range(2):
        classifier.push_to_hub("me/model", revision="smaller")
    repository = hub.repositories["me/model"]
    assert repository.branches["main"] == before
    assert set(repository.head("smaller")) == {*SENT, ".gitattributes"}
    assert _load(revision="smaller").predict(TEXTS) == classifier.predict(TEXTS)
    assert _load(revision=before).predict(TEXTS) == classifier.predict(TEXTS)


def test_of_a_checkpoint_the_state_of_the_training_stays_here(hub: Hub, run: Path) -> None:
    checkpoint = next((run / "checkpoints").iterdir())
    assert (checkpoint / "training.safetensors").is_file()
    _load(str(checkpoint)).push_to_hub("me/model")
    assert set(hub.repositories["me/model"].head()) == {*SENT, ".gitattributes"}
    assert _load().predict(TEXTS)


def test_nothing_but_the_files_of_a_model_is_fetched_and_nothing_twice(hub: Hub, pushed: Repository) -> None:
    pushed.commit("main", {"model.pkl": b"cos\nsystem\n", "code.py": b"1 / 0", "huge.bin": b"0" * 1000})
    _load()
    assert set(hub.fetched()) == SENT
    _load()
    assert len(hub.fetched()) == len(SENT)


def test_a_newer_commit_is_fetched(hub: Hub, pushed: Repository, classifier: Classifier) -> None:
    _load()
    pushed.commit("main", {"README.md": b"new words"})
    _load()
    assert hub.fetched().count("README.md") == 2
    assert hub.fetched().count("model.safetensors") == 1


@pytest.mark.usefixtures("pushed")
def test_a_folder_of_that_name_wins_over_the_repository(hub: Hub, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "me" / "model")
    hub.requests.clear()
    assert _load().predict(TEXTS)
    with pytest.raises(CheckpointError, match="there is no model directory me/typo"):
        _load("me/typo")
    assert hub.requests == []


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("variable", ["SEQCLS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_what_is_in_the_cache_is_loaded_and_nothing_else(
    hub: Hub, classifier: Classifier, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_offline() -> None:
        monkeypatch.setenv("SEQCLS_OFFLINE", "1" if variable == "SEQCLS_OFFLINE" else "0")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", variable == "HF_HUB_OFFLINE")  # read when it is imported
        hub.requests.clear()

    with monkeypatch.context():
        go_offline()
        with pytest.raises(HubError, match=r"there is no folder me/model here, .*SEQCLS_OFFLINE or HF_HUB_OFFLINE forbids"):
            _load()
        with pytest.raises(HubError, match="OFFLINE"):
            classifier.push_to_hub("me/model")
    monkeypatch.setenv("SEQCLS_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    _load()
    go_offline()
    assert _load().predict(TEXTS) == classifier.predict(TEXTS)
    assert hub.requests == []


def test_without_a_network_what_is_in_the_cache_is_loaded(
    pushed: Repository, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    assert _load().predict(TEXTS) == classifier.predict(TEXTS)
    with pytest.raises(HubError, match=r"from http://127\.0\.0\.1:9/me/other: Connect\w*: .*; check the network"):
        _load("me/other")


def _make_gated(hub: Hub) -> None:
    hub.repositories["me/model"].gated = True


def _make_private(hub: Hub) -> None:
    hub.repositories["me/model"].private = True


def _break(hub: Hub) -> None:
    hub.broken = True


def _empty(hub: Hub) -> None:
    hub.repositories["me/model"] = Repository()
    hub.repositories["me/model"].commit("main", {"pytorch_model.bin": b"weights of another library"})


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (_make_gated, {}, "access is granted to those who ask for it"),
        (_make_private, {}, "no such repository.*if it is private, log in with `hf auth login`, or set HF_TOKEN"),
        (_break, {}, "500.*try again later"),
        (_empty, {}, "me/model is not a seqcls model: it has no manifest.json"),
        (lambda hub: None, {"revision": "v9"}, "has no branch, tag or commit 'v9'"),
        (
            lambda hub: hub.repositories.clear(),
            {},
            "there is no folder me/model here, and it cannot be fetched from .*: there is no such repository",
        ),
    ],
)
def test_what_cannot_be_fetched_is_said_in_one_line_with_the_remedy(
    hub: Hub, spoil: Callable[[Hub], None], options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    spoil(hub)
    with pytest.raises(HubError, match=message) as caught:
        _load(**options)
    assert "\n" not in str(caught.value)
    assert "me/model" in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_damaged_is_named(pushed: Repository, name: str) -> None:
    data = pushed.head()[name]
    pushed.commit("main", {name: data[:-1] + bytes([data[-1] ^ 1])})
    with pytest.raises(CheckpointError, match=f"{name} is damaged or was changed"):
        _load()


def test_a_file_that_is_missing_is_named(pushed: Repository) -> None:
    del pushed.head()["tokenizer.json"]
    with pytest.raises(CheckpointError, match=r"lacks tokenizer\.json"):
        _load()


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("me/model", "hf_wrong", r"cannot write to http.*/me/model: no permission \(401\); log in"),
        ("others/model", Hub.TOKEN, r"no permission \(403\).*with a token that may do this"),
        ("model", None, "'model' is not the name of a repository; write user/model"),
        ("a/b/c", None, "'a/b/c' is not the name"),
        ("me/--", None, "'me/--' is not the name"),
    ],
)
def test_a_push_that_is_not_allowed_says_why(
    hub: Hub, classifier: Classifier, name: str, token: str | None, message: str
) -> None:
    with pytest.raises(HubError, match=message):
        classifier.push_to_hub(name, token=token)
    assert hub.repositories == {}


def test_a_model_card_that_the_hub_does_not_take_is_said(hub: Hub, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run / "model", tmp_path / "copy")
    (copy / "README.md").write_text("my own words")
    with pytest.raises(HubError, match=r"Invalid metadata in README.md. - empty or missing yaml metadata in repo card$"):
        _load(str(copy)).push_to_hub("me/model")


def test_files_that_changed_since_they_were_loaded_are_not_pushed(hub: Hub, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run / "model", tmp_path / "copy")
    loaded = _load(str(copy))
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        loaded.push_to_hub("me/model")
    assert hub.repositories == {}


def test_the_commands_push_and_predict_by_name(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seqcls(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["seqcls", *arguments])
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    code, out, err = seqcls("push", str(run), "me/model", "--private", "-m", "A message")
    assert (code, out) == (0, f"{hub.url}/me/model/commit/{hub.repositories['me/model'].branches['main']}\n")
    assert hub.repositories["me/model"].messages[-1] == "A message"
    assert err == 'Next: seqcls predict me/model "your text"\n'
    code, out, err = seqcls("predict", "me/model", "a superb film")
    assert code == 0, err
    assert out.endswith("\ta superb film\n")
    assert err == ""
    code, out, err = seqcls("evaluate", "me/nothing")
    assert (code, out) == (1, "")
    assert err.startswith("error: there is no folder me/nothing here, and it cannot be fetched from http")
    assert err.count("\n") == 1


def test_static_vectors_are_read_by_their_name(hub: Hub, tmp_path: Path) -> None:
    folder = write_model2vec(tmp_path / "folder")
    expected = read_static_vectors(str(folder))
    repository = hub.repositories["minish/vectors"] = Repository()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    repository.commit("main", files | {"onnx/model.onnx": b"large", "model.pkl": b"cos\nsystem\n"})
    for _ in range(2):
        table, tokenizer = read_static_vectors("minish/vectors")
        assert (table == expected.table).all()
        assert tokenizer.words() == expected.tokenizer.words()
    assert sorted(hub.fetched()) == ["model.safetensors", "tokenizer.json"]
    with pytest.raises(HubError, match=r"no folder minish/none here, and it cannot be fetched from .*: there is no such"):
        read_static_vectors("minish/none")


def test_without_the_client_the_extra_is_named(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"no folder someone/model here; .*: pip install 'seqcls\[hub\]'"):
        _load("someone/model")
    with pytest.raises(MissingExtraError, match="huggingface_hub is not installed"):
        classifier.push_to_hub("me/model")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in ("user/model", "user/my-model_1.0", "1/2")],
        *[
            (name, False)
            for name in ("model", "/tmp/model", "a/b/c", "../model", "./model", "~/model", "user/", "user/model@v1")
        ],
    ],
)
def test_what_has_the_form_of_a_repository(
    name: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_repo_id(name) is expected
