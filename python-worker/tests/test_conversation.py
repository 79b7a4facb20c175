"""A real worker process over the real wire: conversation, failures, and that it never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq
from wire_messages import EPOCH, Entry, Query, encode_prompt, forward, frame, init, model, pack, request, unpack

from zipar_worker import __version__
from zipar_worker.serve.conversation import EXIT_NOBODY, Server
from zipar_worker.serve.parent_watch import Credentials, remove_socket
from zipar_worker.stub.executor import StubExecutor, StubOptions
from zipar_worker.wire.link import Link
from zipar_worker.wire.protocol import PROTOCOL_VERSION

WORKER_FOLDER = Path(__file__).resolve().parents[1]
TOKEN = "a-secret"
FIRST_LINE = json.dumps({"token": TOKEN, "epoch": EPOCH}).encode() + b"\n"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(WORKER_FOLDER)}
TIMEOUT_MS = 20_000


class Sdk:
    """The other end of the wire: binds a ROUTER and starts a worker that dials in."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = ("--stub", '{"rows": 4, "columns": 6}'),
        program: Sequence[str] = ("-m", "zipar_worker"),
    ) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 200)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 600)
        self.socket.bind(f"ipc://{folder}/w.sock")
        self.process = subprocess.Popen(
            [sys.executable, *program, "--connect", f"ipc://{folder}/w.sock", *arguments],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.identity = b""
        assert self.process.stdin is not None
        self.process.stdin.write(FIRST_LINE)
        self.process.stdin.flush()

    def receive(self) -> tuple[dict[str, Any], dict[str, list[float]]]:
        assert self.socket.poll(TIMEOUT_MS), "the worker does not answer"
        self.identity, *parts = self.socket.recv_multipart()
        return unpack(parts)

    def send(self, parts: Sequence[bytes]) -> None:
        self.socket.send_multipart([self.identity, *parts])

    def ask(self, parts: Sequence[bytes]) -> tuple[dict[str, Any], dict[str, list[float]]]:
        self.send(parts)
        while (answer := self.receive())[0]["type"] == "pulse":
            pass
        return answer

    def load(self) -> dict[str, Any]:
        self.send(pack(init()))
        while (message := self.receive()[0])["type"] in ("progress", "pulse"):
            assert message["request"] == 1
        return message

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.kill()
        self.process.wait()
        self.socket.close()
        self.context.term()


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: a path of an ipc socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="zipar-") as path:
        yield Path(path)


@pytest.fixture
def sdk(folder: Path) -> Iterator[Sdk]:
    sdk = Sdk(folder)
    yield sdk
    sdk.close()


def test_a_conversation_from_hello_to_shutdown(sdk: Sdk) -> None:
    hello = sdk.receive()[0]
    assert hello == {
        "type": "hello",
        "epoch": EPOCH,
        "frames": [],
        "protocolVersion": PROTOCOL_VERSION,
        "workerVersion": __version__,
        "pid": sdk.process.pid,
        "token": TOKEN,
    }
    ready = sdk.load()
    assert (ready["type"], ready["request"], ready["card"]["family"]) == ("ready", 1, "stub")
    assert ready["limits"] == {"cacheRowCount": 4, "slotCount": 16384}

    encoded = sdk.ask(pack(encode_prompt(2, 7, 4, 6, cacheRows=[0, 1])))[0]
    assert (encoded["type"], encoded["promptLength"]) == ("prompt-encoded", 1)
    assert encoded["branches"] == [
        {"name": "conditional", "padding": 0},
        {"name": "unconditional", "padding": 0},
    ]

    done, arrays = sdk.ask(forward(3, [Entry(7, [Query(0, 0, 1)], [(0, 1)], [0.9])]))
    assert (done["type"], done["request"], done["epoch"]) == ("forward-done", 3, EPOCH)
    (token,) = arrays["drawnTokens"]
    arrays = sdk.ask(forward(4, [Entry(7, [Query(int(token), 1, 2)], [(0, 2)])]))[1]
    assert list(arrays) == [
        "drawnTokens",
        "drawnProbabilities",
        "distributionLengths",
        "distributionTokens",
        "distributionProbabilities",
    ]
    assert arrays["drawnTokens"] == []
    assert sum(arrays["distributionProbabilities"]) == pytest.approx(1)
    assert arrays["distributionLengths"] == [len(arrays["distributionTokens"])]

    described, data = frame("codes", "int32", range(6), columns=3)
    decoded, arrays = sdk.ask(pack(request("decode-image", 5, frames=[described]), [data]))
    assert decoded["frames"] == [{"name": "pixels", "dtype": "uint8", "shape": [16, 24, 3]}]
    assert len(arrays["pixels"]) == 16 * 24 * 3

    stats = sdk.ask(pack(request("stats", 6)))[0]
    assert (stats["forwardCount"], stats["sequenceCount"], stats["deviceBytes"]) == (2, 1, None)
    assert stats["residentBytes"] > 1 << 20 and stats["forwardMs"] > 0

    assert sdk.ask(pack(request("release", 7, sequences=[7, 8])))[0]["type"] == "done"
    assert sdk.ask(pack(request("stats", 8)))[0]["sequenceCount"] == 0
    assert sdk.ask(pack(request("shutdown", 9)))[0]["type"] == "done"
    assert sdk.process.wait(5) == 0
    assert sdk.process.stdout is not None and sdk.process.stdout.read() == b""


def test_failures_are_answered_and_the_worker_goes_on(sdk: Sdk) -> None:
    sdk.receive()
    codes, data = frame("codes", "int32", [16384], columns=1)
    sdk.send(pack({**request("stats", 1), "epoch": EPOCH - 1}))
    conversation = [
        (pack(request("stats", 2)), "not-ready"),
        (pack(request("dance", 3)), "protocol"),
        (pack(init(4, protocolVersion=PROTOCOL_VERSION + 1)), "protocol-version"),
        (pack(request("stats", 5, frames=[codes]), [data]), "protocol"),
        (pack(request("stats", 6), [b"spare"]), "protocol"),
    ]
    for number, (parts, code) in enumerate(conversation, 2):
        answer = sdk.ask(parts)[0]
        assert (answer["type"], answer["request"], answer["error"]["code"]) == ("error", number, code)
    assert sdk.load()["type"] == "ready"
    conversation = [
        (pack(init(7)), "bad-request"),
        (forward(8, [Entry(1, [Query(0, 0)], [(0, 1)])]), "bad-request"),
        (pack(request("decode-image", 9, frames=[codes]), [data]), "bad-request"),
    ]
    for number, (parts, code) in enumerate(conversation, 7):
        answer = sdk.ask(parts)[0]
        assert (answer["type"], answer["request"], answer["error"]["code"]) == ("error", number, code)
    assert sdk.ask(pack(request("stats", 10)))[0]["type"] == "stats-report"


def test_a_profile_needs_a_held_prompt_and_its_grid_and_attention(sdk: Sdk) -> None:
    sdk.receive()
    sdk.load()
    sdk.ask(pack(encode_prompt(2, 1, 2, 3)))
    codes, data = frame("codes", "int32", [1, 2, 3, 4, 5, 6], columns=3)
    tall, _ = frame("codes", "int32", [1, 2, 3, 4, 5, 6], columns=2)
    stray, stray_data = frame("codes", "int32", [1, 2, 3, 4, 5, 16384], columns=3)
    conversation = [
        (pack(request("profile", 3, sequence=9, frames=[codes]), [data]), "sequence 9 is unknown"),
        (pack(request("profile", 4, sequence=1, frames=[tall]), [data]), "for 2 x 3 tokens, received 3 x 2"),
        (pack(request("profile", 5, sequence=1, frames=[stray]), [stray_data]), "received 16384"),
        (pack(request("profile", 6, sequence=1, frames=[codes]), [data]), "no attention to profile"),
    ]
    for parts, message in conversation:
        answer = sdk.ask(parts)[0]
        assert (answer["type"], answer["error"]["code"]) == ("error", "bad-request")
        assert message in answer["error"]["message"]


BROKEN = """
import sys
from zipar_worker import __main__ as program
from zipar_worker.wire.protocol import PROTOCOL_VERSION
from zipar_worker.errors import WorkerError
from zipar_worker.stub.executor import StubExecutor, StubOptions

class BrokenExecutor(StubExecutor):
    def init(self, request, report):
        if request.model.weights.path == "/missing":
            raise WorkerError("checkpoint", "no such file", {"path": "/missing"})
        return super().init(request, report)

    def decode_image(self, codes):
        raise (MemoryError(), KeyError("x"), RuntimeError("CUDA error: device-side assert triggered"))[codes.data[0]]

program.choose_executor = lambda options: lambda request: BrokenExecutor(StubOptions())
sys.exit(program.main())
"""


def test_failures_of_the_executor_travel_and_a_broken_device_ends_the_worker(folder: Path) -> None:
    sdk = Sdk(folder, (), ("-c", BROKEN))
    try:
        sdk.receive()
        missing = sdk.ask(pack(init(1, model=model("/missing"))))[0]
        assert (missing["type"], missing["error"]["code"]) == ("error", "checkpoint")
        assert missing["error"]["details"] == {"path": "/missing"}
        assert sdk.load()["type"] == "ready"
        for code, expected in ((0, "out-of-memory"), (1, "internal")):
            described, data = frame("codes", "int32", [code], columns=1)
            answer = sdk.ask(pack(request("decode-image", 3 + code, frames=[described]), [data]))[0]
            assert (answer["type"], answer["error"]["code"]) == ("error", expected)
            assert "decode_image" in answer["error"]["traceback"]
        described, data = frame("codes", "int32", [2], columns=1)
        answer = sdk.ask(pack(request("decode-image", 5, frames=[described]), [data]))[0]
        assert (answer["type"], answer["error"]["code"]) == ("fatal", "device")
        assert sdk.process.wait(5) == 70
    finally:
        sdk.close()


def test_a_message_that_nobody_can_be_answered_for_is_fatal(sdk: Sdk) -> None:
    sdk.receive()
    message = sdk.ask([b"noise"])[0]
    assert (message["type"], message["error"]["code"]) == ("fatal", "protocol")
    assert sdk.process.wait(5) == 70


def test_the_worker_leaves_within_a_second_when_stdin_ends(sdk: Sdk) -> None:
    sdk.receive()
    sdk.load()
    assert sdk.process.stdin is not None
    sdk.process.stdin.close()
    assert sdk.process.wait(1) == 0


def test_the_worker_leaves_in_the_middle_of_a_forward_when_stdin_ends(folder: Path) -> None:
    sdk = Sdk(folder, ("--stub", '{"delayMs": 30000}'))
    try:
        sdk.receive()
        sdk.load()
        sdk.ask(pack(encode_prompt(2, 1, 4, 4)))
        sdk.send(forward(3, [Entry(1, [Query(0, 0)], [(0, 1)])]))
        time.sleep(0.1)
        assert sdk.process.stdin is not None
        sdk.process.stdin.close()
        assert sdk.process.wait(1) == 0
    finally:
        sdk.close()


@pytest.mark.parametrize("first_line", [FIRST_LINE, b""], ids=["after its first line", "before its first line"])
def test_a_parent_that_dies_before_it_has_answered_leaves_no_socket_directory(folder: Path, first_line: bytes) -> None:
    directory = folder / "zipar-worker-1"
    directory.mkdir()
    endpoint = f"ipc://{directory}/w.sock"
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind(endpoint)
    worker = [sys.executable, "-m", "zipar_worker", "--connect", endpoint, "--stub"]
    with subprocess.Popen(worker, env=ENVIRONMENT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(first_line)
        process.stdin.close()
        process.wait(5)
    assert not directory.exists()
    context.destroy(linger=0)


def test_a_directory_that_holds_other_things_or_has_another_name_is_left_alone(folder: Path) -> None:
    other = folder / "zipar-worker-2"
    other.mkdir()
    (other / "precious").touch()
    remove_socket(f"ipc://{other}/w.sock")
    remove_socket(f"ipc://{folder}/w.sock")
    assert (other / "precious").exists()


def test_ctrl_c_in_the_terminal_is_left_to_the_sdk(sdk: Sdk) -> None:
    sdk.receive()
    sdk.process.send_signal(signal.SIGINT)
    assert sdk.load()["type"] == "ready"


PARENT = """
import subprocess, sys, time
worker = subprocess.Popen(sys.argv[1:], stdin=sys.stdin)
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux only")
def test_a_parent_that_is_killed_leaves_no_worker_even_if_stdin_stays_open(folder: Path) -> None:
    worker = [sys.executable, "-m", "zipar_worker", "--connect", f"ipc://{folder}/w.sock", "--stub"]
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(f"ipc://{folder}/w.sock")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *worker], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None and parent.stdout is not None
    try:
        parent.stdin.write(FIRST_LINE)
        parent.stdin.flush()
        worker_id = int(parent.stdout.readline())
        assert socket.poll(TIMEOUT_MS), "the worker does not dial in"
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 5
        while is_running(worker_id):
            assert time.monotonic() < deadline, "the worker outlived its parent by five seconds"
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.stdin.close()
        parent.stdout.close()
        socket.close()
        context.term()


def is_running(process_id: int) -> bool:
    """A zombie does not run; it waits for whoever adopted it."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "stdin ended"),
        (b"hello\n", "expected"),
        (b'{"token": "x"}\n', "epoch"),
        (b'{"token": "", "epoch": 1}\n', "1 to 128 characters"),
        (b'{"token": "' + b"x" * 5000, "longer than"),
    ],
    ids=["empty", "text", "no epoch", "no token", "too long"],
)
def test_a_bad_first_line_ends_the_worker_with_one_sentence(line: bytes, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "zipar_worker", "--connect", "ipc:///nowhere", "--stub"],
        env=ENVIRONMENT,
        input=line,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr.decode() and b"Traceback" not in ended.stderr
    assert ended.stdout == b""


def test_the_stub_runs_without_pytorch_and_numpy(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; sys.argv = ['zipar_worker', *sys.argv[1:]]; "
        "import runpy; runpy.run_module('zipar_worker', run_name='__main__')"
    )
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind(f"ipc://{folder}/w.sock")
    with subprocess.Popen(
        [sys.executable, "-c", code, "--connect", f"ipc://{folder}/w.sock", "--stub"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(FIRST_LINE)
        process.stdin.flush()
        assert socket.poll(TIMEOUT_MS)
        process.stdin.close()
    context.destroy(linger=0)


def test_the_version_is_printed() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "zipar_worker", "--version"],
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert ended.stdout.decode().strip() == __version__


def test_the_probe_prints_one_object() -> None:
    pytest.importorskip("torch")
    ended = subprocess.run(
        [sys.executable, "-m", "zipar_worker", "--probe"], env=ENVIRONMENT, capture_output=True, check=True, timeout=60
    )
    assert set(json.loads(ended.stdout)) == {
        "python",
        "torch",
        "cuda",
        "cudaDevices",
        "gpuProblem",
        "memory",
        "zmq",
        "msgspec",
        "safetensors",
        "threads",
    }


def test_a_worker_that_dials_in_to_nobody_gives_up_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    credentials = Credentials(token="token", epoch=EPOCH)
    server = Server(lambda _: StubExecutor(StubOptions()), answer_timeout_ms=200)

    assert server.serve(Link("tcp://127.0.0.1:9"), credentials) == EXIT_NOBODY
    assert "nobody answered at tcp://127.0.0.1:9 within 0.2 s" in capsys.readouterr().err
