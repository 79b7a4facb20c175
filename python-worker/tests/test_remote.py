"""A worker that dials in to engines elsewhere: its files, its conversations one after the other, and their ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from wire_messages import EPOCH, encode_prompt, init, model, pack, request, unpack

from zipar_worker.execute.contract import Executor
from zipar_worker.serve.conversation import EXIT_AGAIN, EXIT_REFUSED, Server
from zipar_worker.serve.parent_watch import Credentials
from zipar_worker.serve.remote import resolve_engine
from zipar_worker.stub.executor import StubExecutor, StubOptions
from zipar_worker.wire.key_files import Secrets, decode_secrets, encode_secrets, read_keys, read_secrets, read_token
from zipar_worker.wire.link import LinkLost, RemoteLink
from zipar_worker.wire.protocol import PROTOCOL_VERSION, Describe, Init

TOKEN = "a token that nobody guesses"
TIMEOUT_MS = 10_000


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    public, secret = zmq.curve_keypair()
    engine, _ = zmq.curve_keypair()
    for name, content in (("worker.public", public), ("worker.secret", secret), ("engine.public", engine)):
        (tmp_path / name).write_bytes(content + b"\n")
    (tmp_path / "token").write_text(TOKEN + "\n")
    for name in ("worker.secret", "token"):
        (tmp_path / name).chmod(0o600)
    return tmp_path


def test_keys_and_token_are_read_from_their_folder(keys: Path) -> None:
    read = read_keys(keys)
    assert {len(key) for key in read} == {40} and len(set(read)) == 3
    assert read_token(None, keys, {}) == TOKEN


def test_the_token_of_a_file_counts_before_that_of_the_environment_and_that_before_the_folders(keys: Path) -> None:
    file = keys / "other"
    file.write_text("the token of the file\n")
    file.chmod(0o600)
    variables = {"ZIPAR_TOKEN": "that of the environment"}
    assert read_token(file, keys, variables) == "the token of the file"
    assert read_token(None, keys, variables) == "that of the environment"
    with pytest.raises(ValueError, match="needs the engine's token"):
        read_token(None, None, {})


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_could_have_read_is_refused(keys: Path, mode: int) -> None:
    (keys / "worker.secret").chmod(mode)
    with pytest.raises(ValueError, match=f"worker.secret is secret, but its mode {mode:o}"):
        read_keys(keys)
    (keys / "token").chmod(mode)
    with pytest.raises(ValueError, match=f"token is secret, but its mode {mode:o}"):
        read_token(None, keys, {})


def test_a_file_that_is_missing_or_holds_no_key_is_named(keys: Path) -> None:
    (keys / "engine.public").write_text("no key")
    with pytest.raises(ValueError, match=r"engine\.public holds no key"):
        read_keys(keys)
    (keys / "engine.public").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*engine.public"):
        read_keys(keys)


def test_secrets_travel_as_one_line_that_is_checked_where_it_comes_out(keys: Path) -> None:
    secrets = read_secrets(keys, None, {})
    assert decode_secrets(encode_secrets(secrets)) == secrets and secrets.keys == read_keys(keys)
    bare = read_secrets(None, keys / "token", {})
    assert bare.keys is None and decode_secrets(encode_secrets(bare)) == bare
    for line in (b"", b"{}\n", b"\xff\n", encode_secrets(secrets)[:-9], b'[null,"%s"]' % TOKEN.encode() + b"x"):
        with pytest.raises(ValueError, match="as one line of JSON") as refused:
            decode_secrets(line)
        assert TOKEN not in str(refused.value) and refused.value.__cause__ is None
    assert secrets.keys is not None
    for wrong in (Secrets(None, "short"), Secrets(secrets.keys._replace(secret=b"x" * 39), TOKEN)):
        with pytest.raises(ValueError, match=r"expected (a token of|keys of 40)"):
            decode_secrets(encode_secrets(wrong))


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.5:5555", "tcp://engine:5555", "tcp://127.0.0.1.example.org:5555"])
def test_plain_tcp_beyond_this_machine_is_refused_unless_a_name_says_what_it_is(keys: Path, endpoint: str) -> None:
    bare = Secrets(None, TOKEN)
    with pytest.raises(ValueError, match="--insecure-plaintext"):
        resolve_engine(endpoint, bare, insecure_plaintext=False, heartbeat_timeout_ms=3_000)
    assert resolve_engine(endpoint, bare, insecure_plaintext=True, heartbeat_timeout_ms=3_000).secrets == bare
    secrets = read_secrets(keys, None, {})
    assert resolve_engine(endpoint, secrets, insecure_plaintext=False, heartbeat_timeout_ms=3_000).secrets == secrets


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555"])
def test_plain_tcp_within_this_machine_needs_only_the_token(endpoint: str) -> None:
    bare = Secrets(None, TOKEN)
    assert resolve_engine(endpoint, bare, insecure_plaintext=False, heartbeat_timeout_ms=3_000).endpoint == endpoint
    with pytest.raises(ValueError, match="heartbeat timeout"):
        resolve_engine(endpoint, bare, insecure_plaintext=False, heartbeat_timeout_ms=0)


class Engine:
    """The other end of the wire, as it is on another machine."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 200)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.identity = b""

    def receive(self) -> dict[str, Any]:
        assert self.socket.poll(TIMEOUT_MS), "the worker does not answer"
        self.identity, *parts = self.socket.recv_multipart()
        return unpack(parts)[0]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.socket.send_multipart([self.identity, *pack(message)])
        while (answer := self.receive())["type"] in ("progress", "pulse"):
            pass
        return answer

    def close(self) -> None:
        self.socket.close()
        self.context.term()


class Worker:
    """A server that outlives its conversations, each in a thread."""

    def __init__(self, device: str = "auto") -> None:
        self.executors: list[Executor] = []
        self.server = Server(self.make_executor, device=device, answer_timeout_ms=TIMEOUT_MS)

    def make_executor(self, request: Init | Describe) -> Executor:
        self.executors.append(StubExecutor(StubOptions(rows=4, columns=6)))
        return self.executors[-1]

    def dial(self, endpoint: str) -> Conversation:
        return Conversation(self.server, endpoint)


class Conversation:
    def __init__(self, server: Server, endpoint: str) -> None:
        self.outcome: object = None
        self.thread = threading.Thread(target=self.run, args=(server, endpoint), daemon=True)
        self.thread.start()

    def run(self, server: Server, endpoint: str) -> None:
        try:
            self.outcome = server.serve(RemoteLink(endpoint, None, 3_000), Credentials(TOKEN, EPOCH))
        except LinkLost as lost:
            self.outcome = lost

    def end(self) -> object:
        self.thread.join(TIMEOUT_MS / 1000)
        assert not self.thread.is_alive(), "the conversation goes on"
        return self.outcome


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    engines = [Engine(), Engine()]
    yield engines
    for engine in engines:
        engine.close()


def test_a_lost_link_leaves_the_model_and_forgets_the_sequences(engines: list[Engine]) -> None:
    worker = Worker()
    for engine in engines:
        conversation = worker.dial(engine.endpoint)
        assert engine.receive()["type"] == "hello"
        assert engine.ask(init())["type"] == "ready"
        assert engine.ask(encode_prompt(2, 7, 4, 6, cacheRows=[0, 1]))["type"] == "prompt-encoded"
        assert engine.ask(request("stats", 3))["sequenceCount"] == 1
        engine.socket.close()
        assert isinstance(conversation.end(), LinkLost)
    assert len(worker.executors) == 1


def test_another_model_takes_the_place_of_the_first(engines: list[Engine]) -> None:
    worker = Worker()
    for engine, path in zip(engines, ("/models/a", "/models/b"), strict=True):
        conversation = worker.dial(engine.endpoint)
        engine.receive()
        assert engine.ask(init(model=model(path)))["type"] == "ready"
        assert engine.ask(init(2, model=model(path)))["error"]["code"] == "bad-request"
        engine.socket.close()
        conversation.end()
    assert len(worker.executors) == 2
    assert worker.server.operations.kept is not None and worker.server.operations.kept.executor is worker.executors[1]


def test_an_engine_of_another_version_is_told_both_versions(engines: list[Engine]) -> None:
    Worker().dial(engines[0].endpoint)
    engines[0].receive()
    error = engines[0].ask(init(protocolVersion=PROTOCOL_VERSION + 1))["error"]
    assert error["code"] == "protocol-version"
    assert error["details"] == {"expected": PROTOCOL_VERSION, "received": PROTOCOL_VERSION + 1}


@pytest.mark.parametrize(
    ("reason", "exit_code"), [("token", EXIT_REFUSED), ("protocol-version", EXIT_REFUSED), ("replayed", EXIT_AGAIN)]
)
def test_a_refusal_is_told_and_says_whether_to_come_again(
    engines: list[Engine], reason: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = Worker().dial(engines[0].endpoint)
    engines[0].receive()
    refusal = request("refuse", 0, reason=reason, message="you are not the one")
    engines[0].socket.send_multipart([engines[0].identity, *pack(refusal)])
    assert conversation.end() == exit_code
    assert "you are not the one" in capsys.readouterr().err


def test_a_device_of_its_own_is_used_where_the_engine_leaves_it_open_and_no_other(engines: list[Engine]) -> None:
    worker = Worker(device="cuda:1")
    worker.dial(engines[0].endpoint)
    engines[0].receive()
    error = engines[0].ask(init(device="cpu"))["error"]
    assert (error["code"], "--device cuda:1" in error["message"]) == ("device", True)
    assert worker.executors == []
    assert worker.server.operations.place(read_init(device="auto")).device == "cuda:1"
    assert worker.server.operations.place(read_init(device="cuda:1")).device == "cuda:1"
    assert engines[0].ask(init(2, device="auto"))["type"] == "ready"


def read_init(**fields: Any) -> Any:
    from zipar_worker.wire.codec import decode_request

    decoded = decode_request(pack(init(**fields)), EPOCH)
    assert decoded is not None
    return decoded.request


def test_nobody_at_the_endpoint_is_no_link() -> None:
    conversation = Worker().dial("tcp://127.0.0.1:9")
    assert "nobody listens at tcp://127.0.0.1:9" in str(conversation.end())
