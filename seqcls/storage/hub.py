"""Model directories on Hugging Face: downloaded to the cache of its client, and uploaded in one commit.

Only the files of a model directory are downloaded from a repository. They are verified like those of any other folder.
"""

from __future__ import annotations

from pathlib import Path

from seqcls.data.encoding import NGRAMS_FILE
from seqcls.errors import HubError
from seqcls.storage.model_directory import MODEL_FILES
from seqcls.system.hub import bars_on_a_terminal, download_files, explained, has_form_of_repo_id, hub_client
from seqcls.system.paths import switched_on

_FILES = (*MODEL_FILES, NGRAMS_FILE, "manifest.json", "README.md")


def download(repo_id: str, *, revision: str | None = None) -> Path:
    """Download the model of a repository, unless it is cached, and return its folder in the cache of the client.

    Args:
        repo_id: "user/model".
        revision: A branch, a tag or a full commit hash; by default the branch main.

    Raises:
        HubError: The repository cannot be downloaded, huggingface_hub is not installed, or it does not hold a seqcls model.
    """
    folder = download_files(repo_id, _FILES, revision=revision)
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
    api = hub_client(token)
    if not has_form_of_repo_id(repo_id):
        raise HubError(f"{repo_id!r} is not the name of a repository; write user/model")
    if switched_on("SEQCLS_OFFLINE"):
        raise HubError(f"cannot upload {folder} to {repo_id}: SEQCLS_OFFLINE forbids it")
    from huggingface_hub import CommitOperationAdd

    files = [CommitOperationAdd(name, str(folder / name)) for name in _FILES if (folder / name).is_file()]
    with explained("cannot write to", repo_id, revision), bars_on_a_terminal():
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        # One commit, so that nobody downloads the weights of one model with the manifest of another.
        commit = api.create_commit(repo_id, files, commit_message=message or "Add a model of seqcls", revision=revision)
    return str(commit.commit_url)
