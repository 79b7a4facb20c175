"""Workers on a Ray cluster, without Ray: how many there shall be, who leaves, what an actor runs.

With it: `npm run test:ray`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipar_ray import __main__ as driver
from zipar_ray import engine_load
from zipar_ray.actor import WorkerActor, worker_command
from zipar_ray.engine_load import EngineSilent, check_address, count_images, read_api_key, read_image_count
from zipar_ray.scale import Rule, Scale, needed_workers, plan_scale
from zipar_ray.team import KILL_SECONDS, Team
from zipar_worker.wire.key_files import Secrets, encode_secrets

TOKEN = "a token that nobody guesses"
RULE = Rule(2, 16, images_per_worker=4, up_seconds=10, down_seconds=100)


def follow(readings: list[tuple[float, int | None]], rule: Rule = RULE, count: int = 2) -> list[int]:
    scale = Scale(count)
    counts = []
    for now, images in readings:
        scale = plan_scale(scale, images, now, rule)
        counts.append(scale.count)
    return counts


def test_as_many_workers_are_needed_as_the_images_fill_within_the_bounds() -> None:
    assert [needed_workers(images, RULE) for images in (0, 8, 9, 40, 1000)] == [2, 2, 3, 10, 16]


def test_more_come_once_all_readings_have_asked_for_more_and_as_few_as_the_least_of_them() -> None:
    assert follow([(0, 40), (5, 20), (9.9, 64), (10, 64)]) == [2, 2, 2, 5]


def test_a_burst_that_is_over_before_brings_none() -> None:
    assert follow([(0, 40), (5, 40), (9, 0), (11, 40), (20, 40), (21, 40)]) == [2, 2, 2, 2, 2, 10]


def test_fewer_remain_once_all_readings_were_content_with_fewer_and_as_many_as_the_most_of_them_took() -> None:
    assert follow([(0, 0), (50, 20), (99, 0), (100, 0)], count=10) == [10, 10, 10, 5]
    assert follow([(0, 0), (99, 40), (100, 0), (199, 0), (200, 0)], count=10) == [10, 10, 10, 10, 2]


def test_an_engine_that_does_not_tell_changes_nothing_and_starts_the_time_anew() -> None:
    assert follow([(0, 0), (99, None), (100, 0), (150, 0), (200, 0)], count=10) == [10, 10, 10, 10, 2]


@given(st.lists(st.tuples(st.floats(0, 50), st.none() | st.integers(0, 200)), max_size=40))
def test_the_number_stays_within_the_bounds_and_never_turns_within_the_time_of_either_side(
    steps: list[tuple[float, int | None]],
) -> None:
    now = 0.0
    readings = [(now := now + pause, images) for pause, images in steps]
    counts = follow(readings)
    last, changed_at = 2, -1e9
    for (at, _), count in zip(readings, counts, strict=True):
        assert RULE.least <= count <= RULE.most
        if count != last:
            assert at - changed_at >= (RULE.up_seconds if count > last else RULE.down_seconds)
            last, changed_at = count, at


PAGE = """# HELP zipar_images Images now
zipar_images{model="demo",state="requested"} 7
zipar_images{model="demo",state="decoding"} 2
zipar_images{model="demo",state="waiting"} 1
zipar_images{model="a \\"name\\"",state="decoding"} 3
zipar_images{model="a \\"name\\"",state="requested"} 1
zipar_images_total{model="demo",outcome="finished"} 900
"""


def test_images_are_counted_whether_a_request_or_a_program_asked_for_them() -> None:
    assert count_images(PAGE) == 7 + 3
    with pytest.raises(EngineSilent, match="no zipar_images"):
        count_images("process_cpu_seconds_total 3\n")


def test_an_engine_that_is_not_there_is_silent_and_its_address_is_checked_before() -> None:
    with pytest.raises(EngineSilent, match=r"http://127.0.0.1:9/metrics cannot be read"):
        read_image_count("http://127.0.0.1:9", None)
    assert check_address("http://10.0.0.5:7811/") == "http://10.0.0.5:7811"
    for address in ("10.0.0.5:7811", "file:///etc/passwd", "http://", "http://host/metrics"):
        with pytest.raises(ValueError, match="the address of `zipar serve`"):
            check_address(address)


def test_the_key_of_the_server_is_sent_and_read_from_a_file_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("first\nsecond\n")
    file.chmod(0o600)
    seen: list[Any] = []
    monkeypatch.setattr(engine_load, "urlopen", lambda request, timeout: seen.append(request) or open_page(PAGE))
    assert read_image_count("http://engine:7811", read_api_key(file)) == 10
    assert (seen[0].full_url, seen[0].get_header("Authorization")) == ("http://engine:7811/metrics", "Bearer first")
    file.write_text("\n")
    with pytest.raises(ValueError, match="holds no key"):
        read_api_key(file)
    file.chmod(0o644)
    with pytest.raises(ValueError, match="lets others at it"):
        read_api_key(file)


def open_page(text: str) -> Any:
    from io import BytesIO

    return BytesIO(text.encode())


class FakeMember:
    def __init__(self) -> None:
        self.code: int | None = None
        self.calls: list[str] = []

    def exit_code(self) -> int | None:
        return self.code

    def leave(self) -> None:
        self.calls.append("leave")

    def remove(self) -> None:
        self.calls.append("remove")


def fake_team(drain: float = 30) -> tuple[Team, list[FakeMember]]:
    started: list[FakeMember] = []

    def start() -> FakeMember:
        started.append(FakeMember())
        return started[-1]

    return Team(start, drain), started


def test_those_that_are_too_many_leave_newest_first_and_are_removed_once_they_have_ended() -> None:
    team, started = fake_team()
    team.resize(3, 0)
    team.resize(1, 10)
    assert [member.calls for member in started] == [[], ["leave"], ["leave"]]
    started[2].code = 0
    assert team.collect(11) == [] and team.size == 1
    assert [member.calls for member in started] == [[], ["leave"], ["leave", "remove"]]
    team.collect(10 + 30 + KILL_SECONDS - 1)
    assert started[1].calls == ["leave"]
    team.collect(10 + 30 + KILL_SECONDS)
    assert started[1].calls == ["leave", "remove"]
    assert not team.is_gone


def test_one_that_ends_unasked_is_told_and_its_place_is_taken_when_the_team_grows() -> None:
    team, started = fake_team()
    team.resize(2, 0)
    started[0].code = 77
    assert team.collect(1) == [77] and team.collect(2) == []
    assert (team.size, started[0].calls) == (1, ["remove"])
    team.resize(2, 3)
    assert len(started) == 3


def test_the_driver_lets_all_leave_when_it_is_told_to_end_and_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TICK_SECONDS", 0.01)
    team, started = fake_team()
    stop = threading.Event()

    def read_images() -> int:
        if len(started) == 3:
            stop.set()
            for member in started:
                member.code = 0
        return 100

    rule = Rule(1, 3, up_seconds=0)
    assert driver.keep_team(team, rule, read_images, stop) == 0
    assert [member.calls for member in started] == [["leave", "remove"]] * 3


def test_the_driver_ends_as_its_workers_do_when_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TICK_SECONDS", 0.01)
    team, started = fake_team()
    monkeypatch.setattr(FakeMember, "exit_code", lambda _: 77)
    assert driver.keep_team(team, Rule(2, 2), None, threading.Event()) == 77
    assert len(started) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--workers", "0"], "--workers: expected a number"),
        (["--workers", "4:2"], "--workers: expected a number"),
        (["--workers", "x"], "--workers: expected a number"),
        (["--workers", "2:4"], "belong together"),
        (["--follow", "http://e:1"], "belong together"),
        (["--workers", "2:4", "--follow", "engine"], "the address of `zipar serve`"),
        (["--workers", "2:4", "--follow", "http://e:1", "--images-per-worker", "0"], "at least 1, received 0"),
        (["--gpus", "-1"], "--gpus: expected 0 to 86400"),
        (["--drain", "nan"], "--drain: expected 0 to 86400"),
        (["--device", "gpu"], "expected the device"),
        (["--connect", "10.0.0.5:5555"], "expected an endpoint"),
        (["--connect", "tcp://10.0.0.5:5555"], "--insecure-plaintext"),
        (["--keys", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_ray_is_looked_for(
    arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZIPAR_TOKEN", TOKEN)
    monkeypatch.setitem(sys.modules, "ray", None)
    given = ["--connect", "tcp://127.0.0.1:5555", *arguments]
    assert driver.main(given) == 2
    assert problem in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZIPAR_TOKEN", TOKEN)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert driver.main(["--connect", "tcp://127.0.0.1:5555"]) == 2
    assert "requirements-ray.lock" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_actor_runs_a_worker_that_leaves_when_told_and_whose_secrets_nobody_sees() -> None:
    actor = WorkerActor()
    codes: list[int] = []
    parameters = ["--dial", "tcp://127.0.0.1:9", "--stub", "--drain", "5"]
    running = threading.Thread(target=lambda: codes.append(actor.run(parameters, encode_secrets(Secrets(None, TOKEN)))))
    running.start()
    process = wait_for(lambda: actor._process)
    wait_for(lambda: b"zipar_worker" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
    for file in ("cmdline", "environ"):
        assert TOKEN.encode() not in Path(f"/proc/{process.pid}/{file}").read_bytes()
    actor.leave()
    running.join(20)
    assert codes == [0]


def test_an_actor_that_is_told_to_leave_before_its_worker_runs_ends_it_too() -> None:
    actor = WorkerActor()
    actor.leave()
    assert actor.run(["--dial", "tcp://127.0.0.1:9", "--stub"], encode_secrets(Secrets(None, TOKEN))) == 0


@pytest.mark.parametrize("parameters", [["--dial", "nowhere", "--stub"], ["--dial", "tcp://10.0.0.5:5555", "--stub"]])
def test_an_actor_tells_of_a_worker_that_another_try_would_not_help(parameters: list[str]) -> None:
    assert WorkerActor().run(parameters, encode_secrets(Secrets(None, TOKEN))) == 2


def test_an_actor_whose_worker_crashes_ends_itself_so_that_ray_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr("zipar_ray.actor.worker_command", lambda _: [sys.executable, "-c", "raise SystemExit(70)"])
    with pytest.raises(Ended, match="1"):
        WorkerActor().run([], b"\n")
    assert 5 < pauses[0] <= 10


def test_an_actor_starts_the_worker_of_its_own_installation_isolated() -> None:
    command = worker_command(["--dial", "x"])
    assert command[:2] == [sys.executable, "-I"] and command[-2:] == ["--dial", "x"]
    assert (Path(command[6]) / "zipar_worker" / "__main__.py").is_file() and Path(command[5]).is_file()


def wait_for(value: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := value()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
    return found
