"""A local twin of the Hugging Face Hub: an HTTP server that stands behind HF_ENDPOINT (data.md 4.4).

It serves folders as repositories, with revisions, resumable downloads and the Hub's refusals, and keeps a log of
every request, so that a test can say which files were asked for. No header names Xet: files come from here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.store import Repository, by_name, description, identity

BLOCK = 1 << 16
COMMITS_A_PAGE = 2
"""The Hub has 50; fewer, so that a short history has pages too."""

REVISION = re.compile(r"(refs/[^/]+/[^/]+|[^/]+)(?:/(.*))?")


@dataclass
class Logged:
    """One request as it was answered."""

    method: str
    path: str
    """As asked for, with the query."""
    range: str
    """The header `Range`; '' without."""
    status: int = 0
    sent: int = 0
    """Bytes of the body that went out."""
    repo: str = ""
    file: str = ""
    """The file of the repository, for requests that are about one."""


class Refusal(Exception):  # noqa: N818 (not an error of the server)
    """An answer without content, with the Hub's error code."""

    def __init__(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.commit = status, code, message, commit


class HubTwin:
    """The server: `with HubTwin(repositories) as twin`, then `twin.url` is an HF_ENDPOINT."""

    def __init__(self, repositories: Iterable[Repository] = (), port: int = 0) -> None:
        self.repositories: dict[str, Repository] = by_name(*repositories)
        self.requests: list[Logged] = []
        self.writers: set[str] = set()
        """Tokens of those who may write."""
        self.pushed: dict[str, dict[str, bytes]] = {}
        """Repositories that were made here, and the files that were uploaded to each."""
        self.private: dict[str, bool] = {}
        self.lock = threading.Lock()
        twin = self

        class TwinHandler(Handler):
            hub = twin

        self._server = ThreadingHTTPServer(("127.0.0.1", port), TwinHandler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to answer, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End; from then on connections are refused, as if the network were down. Once is enough."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> HubTwin:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def add(self, repository: Repository) -> Repository:
        """Serve one more repository, or another in the place of one of that name."""
        self.repositories[repository.name] = repository
        return repository

    def downloads(self, repo: str | None = None) -> list[str]:
        """Files whose content went out, each once, in the order of the first request; of all repositories or one."""
        found = [
            item.file
            for item in self.requests
            if item.method == "GET" and item.file and item.status in (200, 206) and repo in (None, item.repo)
        ]
        return list(dict.fromkeys(found))

    def asked(self, repo: str) -> list[Logged]:
        """All requests about a repository, whatever the answer."""
        return [item for item in self.requests if item.repo == repo]


class Handler(BaseHTTPRequestHandler):
    """Answers one request; a connection is closed after it, so that a stopped twin is gone at once."""

    hub: HubTwin
    protocol_version = "HTTP/1.1"
    logged: Logged

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `HubTwin.requests` is the log."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.logged = Logged(self.command, self.path, self.headers.get("Range", ""))
        with self.hub.lock:
            self.hub.requests.append(self.logged)
        with contextlib.suppress(ConnectionError):  # who asked has gone away
            try:
                self._route()
            except Refusal as refusal:
                self._refuse(refusal)

    # ------------------------------------------------------------------------------------- routes

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path, query = parts.path.lstrip("/"), parse_qs(parts.query)
        if self.command == "POST":
            self._write(path)
        elif path == "":
            self._send(200, b"twin of the Hugging Face Hub\n", {})
        elif path.startswith("api/"):
            self._api(path.removeprefix("api/"), query)
        elif "/resolve/" in path:
            name, _, rest = path.partition("/resolve/")
            kind, name = ("dataset", name[9:]) if name.startswith("datasets/") else ("model", name)
            self._file(self._repository(kind, unquote(name)), unquote(rest))
        else:
            raise Refusal(404, "EntryNotFound", "Not Found")

    def _repository(self, kind: str, name: str) -> Repository:
        self.logged.repo = name
        repository = self.hub.repositories.get(name)
        with self.hub.lock:
            if repository is not None and repository.errors:
                raise Refusal(
                    repository.errors.pop(0), message="Internal Error - We're working hard to fix this"
                )
        if repository is None or repository.kind != kind or repository.state == "gone":
            known = bool(self._token())
            raise Refusal(404 if known else 401, "RepoNotFound", "Repository not found")
        return repository

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ").strip()

    def _commit(self, repository: Repository, rest: str) -> tuple[str, str]:
        """The commit and the path after it in `main/README.md` or `refs/convert/parquet/README.md`."""
        match = REVISION.fullmatch(rest)
        assert match is not None
        commit = repository.commit_of(match[1])
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {match[1]}")
        return commit, match[2] or ""

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        """`datasets/{owner}/{name}[/{what}/{revision}[/{path}]]`."""
        match = re.fullmatch(r"(dataset|model)s/([^/]+/[^/]+)(?:/(\w+)(?:/(.*))?)?", path)
        if match is None:
            raise Refusal(404, message="Not Found")
        repository = self._repository(match[1], unquote(match[2]))
        what, rest = match[3] or "revision", unquote(match[4] or "main")
        if what == "refs":
            return self._json(_refs(repository))
        commit, below = self._commit(repository, rest)
        if what == "revision":
            return self._json(description(repository, commit, with_sizes="blobs" in query))
        if what == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            entries = repository.entries(commit, below, recursive=recursive)
            if entries is None:
                raise Refusal(404, "EntryNotFound", f"{below} does not exist on '{rest}'", commit)
            return self._json(entries)
        if what == "commits":
            return self._commits(repository, commit, int(query.get("p", ["0"])[0]))
        raise Refusal(404, message="Not Found")

    def _commits(self, repository: Repository, commit: str, page: int) -> None:
        history = repository.history(commit)
        first = page * COMMITS_A_PAGE
        shown = history[first : first + COMMITS_A_PAGE]
        headers = {}
        if first + COMMITS_A_PAGE < len(history):
            following = f"{self.hub.url}{urlsplit(self.path).path}?p={page + 1}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json([_commit_entry(item) for item in shown], headers)

    # ------------------------------------------------------------------------------------- uploads

    def _write(self, path: str) -> None:
        """Make a repository, say how its files are sent, and take a commit; everything is sent as small files are."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = re.fullmatch(r"api/models/([^/]+/[^/]+)/(preupload|commit)/([^/]+)", path)
        if path == "api/validate-yaml":
            self._json({"errors": [], "warnings": []})
            return
        if path != "api/repos/create" and match is None:
            raise Refusal(405, message="the twin only reads")
        if self._token() not in self.hub.writers:
            raise Refusal(401, message="Invalid credentials")
        if match is None:
            self._create(json.loads(body))
            return
        name = unquote(match[1])
        self.logged.repo = name
        if name not in self.hub.pushed:
            raise Refusal(404, "RepoNotFound", "Repository not found")
        if match[2] == "preupload":
            self._json(
                {
                    "files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                        for file in json.loads(body)["files"]
                    ]
                }
            )
            return
        self._commit_files(name, body)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'alice'}/{asked['name']}"
        self.hub.pushed.setdefault(name, {})
        self.hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def _commit_files(self, name: str, body: bytes) -> None:
        for line in body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                self.hub.pushed[name][item["value"]["path"]] = base64.b64decode(item["value"]["content"])
        commit = hashlib.sha1(body).hexdigest()
        self._json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"}
        )

    # -------------------------------------------------------------------------------------- files

    def _file(self, repository: Repository, rest: str) -> None:
        commit, name = self._commit(repository, rest)
        self.logged.file = name
        token = self._token()
        if repository.state == "gated" and token not in repository.tokens:
            raise Refusal(
                403 if token else 401, "GatedRepo", f"Access to dataset {repository.name} is restricted."
            )
        path = repository.file(commit, name)
        if path is None:
            raise Refusal(404, "EntryNotFound", "Entry not found", commit)
        git, sha256 = identity(path)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "ETag": f'"{sha256 or git}"'}
        size = path.stat().st_size
        if sha256 is not None:
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size)}
        start, end, status = self._range(size)
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._head(status, end - start, headers)
        if self.command == "GET":
            self._body(path, start, end, self._cut(repository, name))

    def _range(self, size: int) -> tuple[int, int, int]:
        """First byte, the one after the last, and the status."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.logged.range)
        if match is None or match[0] == "bytes=-":
            return 0, size, 200
        if not match[1]:
            return max(0, size - int(match[2])), size, 206
        start, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if start >= end:
            raise Refusal(416, message="Range Not Satisfiable")
        return start, end, 206

    def _cut(self, repository: Repository, name: str) -> int | None:
        with self.hub.lock:
            places = repository.cuts.get(name)
            return places.pop(0) if places else None

    def _body(self, path: Path, start: int, end: int, cut: int | None) -> None:
        """The bytes from start to end; with a cut, fewer than the header promised."""
        last = end if cut is None else max(start, min(end, cut))
        with path.open("rb") as file:
            file.seek(start)
            while start < last:
                block = file.read(min(BLOCK, last - start))
                start += len(block)
                self.logged.sent += len(block)  # before it goes out: whoever has it may read the log
                self.wfile.write(block)

    # ------------------------------------------------------------------------------------ answers

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _refuse(self, refusal: Refusal) -> None:
        headers = {
            "X-Error-Code": refusal.code,
            "X-Error-Message": refusal.message,
            "X-Repo-Commit": refusal.commit,
        }
        body = json.dumps({"error": refusal.message}).encode()
        self._send(refusal.status, body, {key: value for key, value in headers.items() if value})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.logged.sent += len(body)
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.logged.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()


def _refs(repository: Repository) -> dict[str, list[dict[str, str]]]:
    converts = [
        {"name": ref.removeprefix("refs/convert/"), "ref": ref, "targetCommit": commit}
        for ref, commit in repository.refs.items()
        if ref.startswith("refs/convert/")
    ]
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.main}
    return {"branches": [main], "converts": converts, "tags": []}


def _commit_entry(commit: str) -> dict[str, Any]:
    return {
        "id": commit,
        "title": f"Commit {commit[:7]}",
        "message": "",
        "authors": [{"user": "alice", "avatar": ""}],
        "date": "2024-01-01T00:00:00.000Z",
    }
