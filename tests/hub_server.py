"""A stand-in for Hugging Face: repositories in memory, behind what its client asks of the real one over HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches, and the files of each commit; ``private`` ones are shown to the holder of the token alone."""

    private: bool | None = None
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: Files, message: str = "") -> str:
        """Add a commit and return its number."""
        content = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        described = repr((message, len(self.commits), sorted((name, _sha(data)) for name, data in content.items())))
        sha = hashlib.sha1(described.encode()).hexdigest()
        self.branches[branch], self.commits[sha] = sha, content
        self.messages.append(message)
        return sha

    def head(self, branch: str = "main") -> Files:
        return self.commits[self.branches[branch]]


class Hub:
    """The repositories, what was asked for, and what is to go wrong."""

    TOKEN = "hf_may_write"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: Files = {}  # large files by their SHA-256
        self.requests: list[str] = []
        self.url = ""
        self.broken = False

    def fetched(self) -> list[str]:
        """Return the names of the files that were fetched."""
        return [line.rsplit("/", 1)[-1] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _is_large(name: str) -> bool:
    return name.endswith(".safetensors")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _answer(self, status: int, body: object = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str = "") -> None:
        self._answer(status, {"error": code}, **({"X_Error_Code": code} if code else {}))

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        data = self._body()
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.broken:
            self._refuse(500)
            return
        for method, pattern, answer in _ROUTES:
            if method in (self.command, "GET" if self.command == "HEAD" else "") and (match := re.fullmatch(pattern, path)):
                answer(self, data, *match.groups())
                return
        self._refuse(404)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    @property
    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {Hub.TOKEN}"

    def _commit_of(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """Return the repository and the commit; None, once that is answered, where it cannot be read."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._may_write):
            self._refuse(404 if self._may_write else 401, "RepoNotFound")
        elif repository.gated and not self._may_write:
            self._refuse(403, "GatedRepo")
        elif (sha := repository.branches.get(revision, revision)) not in repository.commits:
            self._refuse(404, "RevisionNotFound")
        else:
            return repository, sha
        return None

    def info(self, _: bytes, name: str, revision: str | None = None) -> None:
        if found := self._commit_of(name, revision or "main"):
            repository, sha = found
            siblings = [{"rfilename": file} for file in repository.commits[sha]]
            self._answer(200, {"id": name, "sha": sha, "siblings": siblings, "private": bool(repository.private)})

    def tree(self, _: bytes, name: str, revision: str) -> None:
        if found := self._commit_of(name, revision):
            repository, sha = found
            self._answer(
                200,
                [
                    {"type": "file", "path": file, "size": len(data), "oid": _git_oid(data)}
                    | ({"lfs": {"size": len(data), "oid": _sha(data), "pointerSize": 134}} if _is_large(file) else {})
                    for file, data in repository.commits[sha].items()
                ],
            )

    def resolve(self, _: bytes, name: str, revision: str, file: str) -> None:
        if found := self._commit_of(name, revision):
            repository, sha = found
            data = repository.commits[sha].get(file)
            if data is None:
                self._refuse(404, "EntryNotFound")
            else:
                etag = _sha(data) if _is_large(file) else _git_oid(data)
                self._answer(200, data, ETag=f'"{etag}"', X_Repo_Commit=sha)

    def create(self, data: bytes) -> None:
        asked = json.loads(data)
        name = f"{asked['organization']}/{asked['name']}"
        if not self._may_write:
            self._refuse(401)
        elif asked["organization"] != "me":
            self._refuse(403)
        elif name in self.hub.repositories:
            self._answer(409, {"url": f"{self.hub.url}/{name}"})
        else:
            # Clients of different ages say it differently.
            private = {"private": True, "public": False}.get(asked.get("visibility", ""), asked.get("private"))
            self.hub.repositories[name] = Repository(private)
            self.hub.repositories[name].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
            self._answer(200, {"url": f"{self.hub.url}/{name}"})

    def branch(self, _: bytes, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        if branch in repository.branches:
            self._refuse(409)
        else:
            repository.branches[branch] = repository.branches["main"]
            self._answer(200, {})

    def validate(self, data: bytes) -> None:
        content = json.loads(data)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "empty or missing yaml metadata in repo card"}]
        self._answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, data: bytes, *_: str) -> None:
        files = [file["path"] for file in json.loads(data)["files"]]
        modes = [{"path": f, "uploadMode": "lfs" if _is_large(f) else "regular", "shouldIgnore": False} for f in files]
        self._answer(200, {"files": modes})

    def batch(self, data: bytes, *_: str) -> None:
        objects = json.loads(data)["objects"]
        actions = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}} for wanted in objects
        ]
        self._answer(200, {"transfer": "basic", "objects": actions})

    def store(self, data: bytes, oid: str) -> None:
        assert _sha(data) == oid
        self.hub.stored[oid] = data
        self._answer(200)

    def commit(self, data: bytes, name: str, branch: str) -> None:
        if not self._may_write:
            self._refuse(403)
            return
        lines = [json.loads(line) for line in data.splitlines()]
        files, message = {}, ""
        for kind, value in ((line["key"], line["value"]) for line in lines):
            if kind == "header":
                message = value["summary"]
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        sha = self.hub.repositories[name].commit(branch, files, message)
        self._answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None})


_NAME, _PART = r"([^/]+/[^/]+)", r"([^/]+)"
_ROUTES = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("GET", f"/api/models/{_NAME}", _Handler.info),
    ("GET", f"/api/models/{_NAME}/revision/{_PART}", _Handler.info),
    ("GET", f"/api/models/{_NAME}/tree/{_PART}", _Handler.tree),
    ("POST", f"/api/models/{_NAME}/branch/{_PART}", _Handler.branch),
    ("POST", f"/api/models/{_NAME}/preupload/{_PART}", _Handler.preupload),
    ("POST", f"/api/models/{_NAME}/commit/{_PART}", _Handler.commit),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", f"/large/{_PART}", _Handler.store),
    ("GET", f"/{_NAME}/resolve/{_PART}/{_PART}", _Handler.resolve),
]


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub for the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
