"""A model hub on this machine that speaks the protocol of huggingface_hub: repositories, commits, LFS, downloads.

Large files are on another host, as on the real hub, and can be asked for in parts. Servers fail: `Fault` plans how.

Source of the protocol: the requests of huggingface_hub (``hf_api.py``, ``_commit_api.py``, ``lfs.py``,
``file_download.py``), and the API documentation of Git LFS.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest
from local_servers import serving

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz012345"
"""The only token that the hub knows."""


@dataclass
class Repository:
    """One repository: its commits and its branches.

    Args:
        private: only logged in users know of it.
        gated: ``login``: only logged in users may read its files; ``access``: nobody may.
        commits: the files of each.
        branches: the newest commit of each, and of tags.
    """

    private: bool = False
    gated: Literal["", "login", "access"] = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch or commit."""
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        """Add a commit to a branch; its name."""
        name = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Fault:
    """How the next answers to some requests go wrong.

    Args:
        path: pattern that the path of a request must contain.
        status: the answer, an error of the server; None: the file, but not all of it.
        after: bytes after which the connection is cut.
        times: number of answers.
        methods: requests that it concerns.
    """

    path: str
    status: int | None = None
    after: int = 0
    times: int = 1
    methods: tuple[str, ...] = ("GET",)


@dataclass
class Hub:
    """The state of the hub.

    Args:
        address: where it answers.
        repositories: by owner/name.
        lfs: uploaded large files by digest.
        requests: method and path of every request.
        received: the bodies of all requests.
        ranges: path and range of every request for a part.
        faults: planned faults, in this order.
        archives: other files that the host of large files has, by name, such as those of data sets.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    archives: dict[str, bytes] = field(default_factory=dict)

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a revision."""
        found = self.repositories[name].files(revision)
        assert found is not None
        return found[1]

    def put(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Replace the files of a branch; the name of the commit."""
        return self.repositories.setdefault(name, Repository()).commit(revision, files)

    def fault(self, request: str, path: str) -> Fault | None:
        """The planned fault of a request, which is used up."""
        for fault in self.faults:
            if fault.times and request in fault.methods and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def asked(self, request: str) -> int:
        """Number of requests so far that contain a text, such as ``GET /lfs/``."""
        return sum(request in each for each in self.requests)


@contextlib.contextmanager
def model_hub() -> Iterator[Hub]:
    """A hub that runs until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    with serving(Handler) as hub.address:
        yield hub


def use(hub: str, monkeypatch: pytest.MonkeyPatch, home: Any, *, token: str | None = TOKEN) -> None:
    """Point huggingface_hub, which reads its settings when it is imported, to a hub.

    Args:
        hub: its address.
        monkeypatch: undoes it.
        home: folder for the cache.
        token: of the user; None: not logged in.
    """
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", hub)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    fault: Fault | None = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.requests.append(f"{self.command} {path}")
        self.state.received.append(body)
        self.fault = self.state.fault(self.command, path)
        if self.fault is not None and self.fault.status is not None:
            self._send(self.fault.status, {"error": "planned"})
            return
        for pattern, method, handle in _ROUTES:
            if self.command in method and (found := re.fullmatch(pattern, path)):
                handle(self, body, *found.groups())
                return
        self._send(404, {"error": f"no route {path}"}, "EntryNotFound")

    def _send(self, status: int, content: Any = None, code: str = "", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", str(content.get("error", "")))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_file(self, data: bytes, **headers: str) -> None:
        """All of a file, or the rest from where the request says; cut off if that is planned."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end = (int(asked[1]), int(asked[2] or len(data) - 1) + 1) if asked else (0, len(data))
        if asked:
            self.state.ranges.append(f"{urlsplit(self.path).path} {asked[0]}")
            if start >= len(data):
                self._send(416, b"", Content_Range=f"bytes */{len(data)}")
                return
            headers["Content_Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        if self.fault is None:
            self._send(206 if asked else 200, data[start:end], Accept_Ranges="bytes", **headers)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data[start : start + self.fault.after])
        self.close_connection = True

    def _logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str, *, write: bool = False) -> Repository | None:
        """The repository, or None after an answer that says why not."""
        if self.headers.get("Authorization") and not self._logged_in():
            self._send(401, {"error": "Invalid credentials"})
            return None
        found = self.state.repositories.get(name)
        if found is None or (found.private and not self._logged_in()):
            self._send(404, {"error": "Repository not found"}, "RepoNotFound")
            return None
        if write and not self._logged_in():
            self._send(403, {"error": "Forbidden"})
            return None
        return found

    def create(self, body: bytes) -> None:
        if not self._logged_in():
            self._send(401, {"error": "Invalid credentials"})
            return
        asked = json.loads(body)
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        if not name.startswith("me/"):
            self._send(403, {"error": "You do not have the rights to create a model under this namespace"})
        elif name in self.state.repositories:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.state.address}/{name}"})
        else:
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            made = self.state.repositories[name] = Repository(private)
            made.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
            self._send(200, {"url": f"{self.state.address}/{name}", "name": name})

    def validate(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        valid = text.startswith("---\n") and "\n---\n" in text[4:]
        self._send(200 if valid else 400, {"errors": [] if valid else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self._repository(name, write=True) is not None:
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            self._send(200, {"files": modes})

    def batch(self, body: bytes, name: str) -> None:
        if self._repository(name, write=True) is not None:
            objects = [
                {
                    **each,
                    "actions": {"upload": {"href": f"{self.state.address}/lfs/{each['oid']}"}},
                }
                for each in json.loads(body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, digest: str) -> None:
        right = hashlib.sha256(body).hexdigest() == digest
        if right:
            self.state.lfs[digest] = body
        self._send(200 if right else 400, {})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        repository = self._repository(name, write=True)
        if repository is None:
            return
        before = repository.files(revision)
        if before is None:
            self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return
        files = dict(before[1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.lfs[value["oid"]]
        made = repository.commit(revision, files)
        place = f"{self.state.address}/{name}/commit/{made}"
        self._send(200, {"success": True, "commitUrl": place, "commitOid": made, "hookOutput": ""})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repository = self._repository(name, write=True)
        if repository is None:
            return
        known = branch in repository.branches
        if not known:
            repository.branches[branch] = repository.branches["main"]
        self._send(409 if known else 200, {"error": "Reference already exists"} if known else {})

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        found = repository.files(revision or "main")
        if found is None:
            self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return
        commit, files = found
        listed = [{"rfilename": each} for each in files]
        self._send(200, {"id": name, "modelId": name, "sha": commit, "private": repository.private, "siblings": listed})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        found = repository.files(revision)
        if found is None:
            self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return
        commit, files = found
        if repository.gated and not (repository.gated == "login" and self._logged_in()):
            self._send(403 if self._logged_in() else 401, {"error": "Access is restricted"}, "GatedRepo")
            return
        if path not in files:
            self._send(404, {"error": "Entry not found"}, "EntryNotFound", X_Repo_Commit=commit)
            return
        data = files[path]
        if path.endswith((".safetensors", ".bin")):
            digest = hashlib.sha256(data).hexdigest()
            self.state.lfs.setdefault(digest, data)
            linked = {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(data))}
            # Large files are on another host, which does not get the token.
            # Its address is signed, anew for each request.
            place = (
                f"{self.state.address.replace('127.0.0.1', 'localhost')}/lfs/{digest}?signed={len(self.state.requests)}"
            )
            self._send(302, {}, X_Repo_Commit=commit, Location=place, ETag=f'"{digest}"', **linked)
        else:
            self._send_file(data, X_Repo_Commit=commit, ETag=f'"{hashlib.sha1(data).hexdigest()}"')

    def download(self, body: bytes, digest: str) -> None:
        assert not self.headers.get("Authorization"), "the token is for the hub only"
        self._send_file(self.state.lfs[digest], ETag=f'"{digest}"')

    def archive(self, body: bytes, name: str) -> None:
        if name in self.state.archives:
            data = self.state.archives[name]
            self._send_file(data, ETag=f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"')
        else:
            self._send(404, {"error": "no such archive"})

    def models(self, body: bytes) -> None:
        self._send(
            200, [{"id": name, "modelId": name} for name, one in self.state.repositories.items() if not one.private]
        )

    def tree(self, body: bytes, name: str, revision: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        found = repository.files(revision)
        if found is None:
            self._send(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return
        listed = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in found[1].items()
        ]
        self._send(200, listed)


_REPOSITORY = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, tuple[str, ...], Any]] = [
    ("/api/repos/create", ("POST",), _Handler.create),
    ("/api/validate-yaml", ("POST",), _Handler.validate),
    (rf"/api/models/{_REPOSITORY}/preupload/(.+)", ("POST",), _Handler.preupload),
    (rf"/{_REPOSITORY}\.git/info/lfs/objects/batch", ("POST",), _Handler.batch),
    (r"/lfs/([0-9a-f]{64})", ("PUT",), _Handler.upload),
    (r"/lfs/([0-9a-f]{64})", ("GET", "HEAD"), _Handler.download),
    (r"/archives/([\w.-]+)", ("GET", "HEAD"), _Handler.archive),
    (rf"/api/models/{_REPOSITORY}/commit/(.+)", ("POST",), _Handler.commit),
    (rf"/api/models/{_REPOSITORY}/branch/(.+)", ("POST",), _Handler.branch),
    ("/api/models", ("GET",), _Handler.models),
    (rf"/api/models/{_REPOSITORY}", ("GET",), _Handler.info),
    (rf"/api/models/{_REPOSITORY}/tree/(.+)", ("GET",), _Handler.tree),
    (rf"/api/models/{_REPOSITORY}/revision/(.+)", ("GET",), _Handler.info),
    (rf"/{_REPOSITORY}/resolve/([^/]+)/(.+)", ("GET", "HEAD"), _Handler.resolve),
]
