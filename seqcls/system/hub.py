"""Repositories on Hugging Face: their files downloaded to the cache of its client, whose exceptions become one line."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqcls.errors import HubError, MissingExtraError
from seqcls.system.paths import switched_on

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPO_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def has_form_of_repo_id(name: str) -> bool:
    """Return whether ``name`` has the form "user/model"."""
    return _REPO_ID.fullmatch(name) is not None


def is_repo_id(name: str) -> bool:
    """Return whether ``name`` has the form "user/model" of a repository, and there is no folder "user" here."""
    return has_form_of_repo_id(name) and not Path(name).parent.exists()


def download_files(repo_id: str, patterns: Sequence[str], *, revision: str | None = None) -> Path:
    """Download the files of a repository that match a pattern, unless they are cached, and return the folder in the cache.

    Args:
        repo_id: "user/model".
        patterns: What the names of the files match, such as "*.json".
        revision: A branch, a tag or a full commit hash; by default the branch main.

    Raises:
        HubError: The repository cannot be downloaded, or huggingface_hub is not installed.
    """
    if find_spec("huggingface_hub") is None:  # a mistyped path, more often than not
        raise HubError(f"there is no folder {repo_id} here; to fetch it from Hugging Face: pip install 'seqcls[hub]'")
    api, is_offline = hub_client(None), switched_on("SEQCLS_OFFLINE")
    task = f"there is no folder {repo_id} here, and it cannot be fetched from"
    with explained(task, repo_id, revision, is_offline=is_offline), bars_on_a_terminal():
        return Path(
            api.snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns), local_files_only=is_offline)
        )


def hub_client(token: str | None) -> HfApi:
    """Return the client, which uses the token of `hf auth login` or HF_TOKEN if ``token`` is None.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    return HfApi(token=token, library_name="seqcls")


@contextlib.contextmanager
def bars_on_a_terminal() -> Iterator[None]:
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
def explained(task: str, repo_id: str, revision: str | None, *, is_offline: bool = False) -> Iterator[None]:
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
