"""A small server that speaks what `huggingface_hub` needs of the hub, on a loopback port."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class FakeHub:
    repositories: Mapping[str, Mapping[str, bytes]]
    endpoint: str = ""
    gated: frozenset[str] = frozenset()
    break_once: dict[str, int] = field(default_factory=dict)
    """Files whose first download ends after so many bytes."""
    requests: list[str] = field(default_factory=list)
    """`METHOD path [range]` of every request."""
    tokens: set[str] = field(default_factory=set)

    def downloads(self) -> list[str]:
        return [line.removeprefix("GET ") for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def fake_hub(repositories: Mapping[str, Mapping[str, bytes]], **options: object) -> Iterator[FakeHub]:
    hub = FakeHub(repositories, **options)  # type: ignore[arg-type]

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        byte_range = self.headers.get("Range")
        self.state.requests.append(f"{self.command} {path}" + (f" {byte_range}" if byte_range else ""))
        if authorization := self.headers.get("Authorization"):
            self.state.tokens.add(authorization.removeprefix("Bearer "))
        parts = path.strip("/").split("/")
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        rest = parts[4:] if parts[0] == "api" else parts[2:]
        files = self.state.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        if repository in self.state.gated:
            return self.refuse(403, "GatedRepo")
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if parts[0] == "api" and rest[:1] == ["tree"]:
            return self.send_json([_entry(name, content) for name, content in files.items()])
        if parts[0] == "api":
            return self.send_json({"id": repository, "sha": COMMIT, "siblings": []})
        name = "/".join(rest[2:])
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        self.send_file(name, files[name], byte_range, with_body)

    def send_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, name: str, content: bytes, byte_range: str | None, with_body: bool) -> None:
        first = int(byte_range.removeprefix("bytes=").split("-")[0]) if byte_range else 0
        body = content[first:]
        self.send_response(206 if byte_range else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if byte_range:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        end = self.state.break_once.pop(name, None)
        self.wfile.write(body if end is None else body[:end])
        if end is not None:
            self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
