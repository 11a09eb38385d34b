"""Model directories on Hugging Face: downloaded to the cache of its client, and uploaded in one commit.

Only the files of a model directory are downloaded from a repository. They are verified like those of any other folder.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqcls.errors import HubError, MissingExtraError
from seqcls.storage.model_directory import MODEL_FILES
from seqcls.system.paths import switched_on

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FILES = (*MODEL_FILES, "manifest.json", "README.md")
_REPO_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def is_repo_id(name: str) -> bool:
    """Return whether ``name`` has the form "user/model" of a repository, and there is no folder "user" here."""
    return _REPO_ID.fullmatch(name) is not None and not Path(name).parent.exists()


def download(repo_id: str, *, revision: str | None = None) -> Path:
    """Download the model of a repository, unless it is cached, and return its folder in the cache of the client.

    Args:
        repo_id: "user/model".
        revision: A branch, a tag or a full commit hash; by default the branch main.

    Raises:
        HubError: The repository cannot be downloaded, huggingface_hub is not installed, or it does not hold a seqcls model.
    """
    if find_spec("huggingface_hub") is None:  # a mistyped path, more often than not
        raise HubError(f"there is no folder {repo_id} here; to fetch it from Hugging Face: pip install 'seqcls[hub]'")
    api, is_offline = _api(None), switched_on("SEQCLS_OFFLINE")
    task = f"there is no folder {repo_id} here, and it cannot be fetched from"
    with _explained(task, repo_id, revision, is_offline=is_offline), _bars_on_a_terminal():
        folder = Path(
            api.snapshot_download(repo_id, revision=revision, allow_patterns=list(_FILES), local_files_only=is_offline)
        )
    if not (folder / "manifest.json").is_file():
        raise HubError(f"{repo_id} is not a seqcls model: it has no manifest.json; upload models with `seqcls push`")
    return folder


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Upload a model directory to a repository, which is created if need be, and return the address of the commit.

    Args:
        folder: The model directory, or a checkpoint, whose state of training is not uploaded.
        repo_id: "user/model".
        private: Whether a new repository is private; None for the default of the user or organization.
        revision: The branch, which is created if need be; by default main.
        message: The commit message.
        token: An access token that may write; by default the one of `hf auth login`, or HF_TOKEN.

    Raises:
        HubError: It cannot be uploaded.
        MissingExtraError: huggingface_hub is not installed.
    """
    api = _api(token)
    if not _REPO_ID.fullmatch(repo_id):
        raise HubError(f"{repo_id!r} is not the name of a repository; write user/model")
    if switched_on("SEQCLS_OFFLINE"):
        raise HubError(f"cannot upload {folder} to {repo_id}: SEQCLS_OFFLINE forbids it")
    from huggingface_hub import CommitOperationAdd

    files = [CommitOperationAdd(name, str(folder / name)) for name in _FILES if (folder / name).is_file()]
    with _explained("cannot write to", repo_id, revision), _bars_on_a_terminal():
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        # One commit, so that nobody downloads the weights of one model with the manifest of another.
        commit = api.create_commit(repo_id, files, commit_message=message or "Add a model of seqcls", revision=revision)
    return str(commit.commit_url)


def _api(token: str | None) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    return HfApi(token=token, library_name="seqcls")


@contextlib.contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """Let the client show progress bars only on a terminal."""
    from huggingface_hub import utils

    client: Any = utils  # mypy: it does not list its exports
    if sys.stderr.isatty() or client.are_progress_bars_disabled():
        yield
        return
    client.disable_progress_bars()
    try:
        yield
    finally:
        client.enable_progress_bars()


@contextlib.contextmanager
def _explained(task: str, repo_id: str, revision: str | None, *, is_offline: bool = False) -> Iterator[None]:
    """Turn the exceptions of the client into a HubError of one line, which begins with the task that failed."""
    from huggingface_hub import constants

    try:
        yield
    except Exception as error:  # versions of the client differ in HTTP library, and so in the class of a lost connection
        reason = _reason(error, revision, is_offline=is_offline or constants.HF_HUB_OFFLINE)
        raise HubError(f"{task} {constants.ENDPOINT}/{repo_id}: {reason}") from error


def _reason(error: Exception, revision: str | None, *, is_offline: bool) -> str:
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"access is granted to those who ask for it; do so on its page, then {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no branch, tag or commit {revision or 'main'!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository; if it is private, {_LOG_IN}"
    if status in (401, 403):
        return f"no permission ({status}); {_LOG_IN}, with a token that may do this"
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError) and is_offline:
        return "it is not complete in the cache, and SEQCLS_OFFLINE or HF_HUB_OFFLINE forbids downloads; unset it"
    is_wrapped = isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and error.__cause__ is not None
    cause = error.__cause__ if is_wrapped else error
    advice = "" if isinstance(cause, ValueError) else "; check the network, or try again later"
    return f"{type(cause).__name__}: {' '.join(str(cause).split()):.300}{advice}"
