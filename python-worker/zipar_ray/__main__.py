"""`python -m zipar_ray`: keeps workers on a Ray cluster, which dial in to one engine; see docs/clusters.md."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from zipar_ray.engine_load import EngineSilent, check_address, read_api_key, read_image_count
from zipar_ray.scale import Rule, Scale, plan_scale
from zipar_ray.team import Team
from zipar_worker.serve.remote import check_device, resolve_engine
from zipar_worker.wire.key_files import Secrets, encode_secrets, read_secrets

TICK_SECONDS = 2.0
RETRY_SECONDS = 60.0
"""After which a worker that ended as another try would is tried again, while others run."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        rule = resolve_rule(options)
        secrets = read_secrets(options.keys, options.token_file, os.environ)
        parameters = worker_parameters(options, secrets)
        read_images = image_reader(options)
    except ValueError as error:
        return refuse(str(error))
    try:
        import ray
    except ImportError:
        return refuse(f"{sys.executable} lacks Ray; install the packages of requirements-ray.lock into it")

    from zipar_ray.members import starts_actors

    try:
        ray.init(address=options.address, logging_level="warning")
    except ConnectionError as error:
        return refuse(f"there is no Ray cluster: {error}; `ray start --head` starts one, --address names another one")
    stop = stop_on_signals()
    start = starts_actors(parameters, encode_secrets(secrets), gpus=options.gpus, cpus=options.cpus)
    return keep_team(Team(start, options.drain), rule, read_images, stop)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="zipar_ray",
        description="Keeps workers on a Ray cluster, which dial in to one engine.",
    )
    parser.add_argument(
        "--connect", required=True, metavar="ENDPOINT", help="where the engine listens, tcp://HOST:PORT"
    )
    parser.add_argument("--keys", type=Path, metavar="DIR", help="the worker's folder that `zipar keys` made")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="default: ZIPAR_TOKEN, else `token` beside the keys"
    )
    parser.add_argument("--workers", default="1", metavar="N|MIN:MAX", help="how many; MIN:MAX needs --follow")
    parser.add_argument("--gpus", type=float, default=1, metavar="COUNT", help="of each worker; 0: on the CPU")
    parser.add_argument("--cpus", type=float, default=1, metavar="COUNT", help="of each worker, and its threads")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; auto leaves it to the engine")
    parser.add_argument("--follow", metavar="URL", help="`zipar serve` whose images say how many workers are needed")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="of that server")
    rule = Rule(1, 1)
    parser.add_argument(
        "--images-per-worker",
        type=int,
        default=rule.images_per_worker,
        metavar="COUNT",
        help="so many images need one worker: %(default)s",
    )
    parser.add_argument(
        "--up-after",
        type=float,
        default=rule.up_seconds,
        metavar="SECONDS",
        help="that more are needed: %(default)g",
    )
    parser.add_argument(
        "--down-after",
        type=float,
        default=rule.down_seconds,
        metavar="SECONDS",
        help="that fewer do: %(default)g",
    )
    parser.add_argument(
        "--drain", type=float, default=30.0, metavar="SECONDS", help="that images may take on a worker that shall leave"
    )
    parser.add_argument("--heartbeat-timeout", type=int, default=3_000, metavar="MS", help="silence that ends a link")
    parser.add_argument("--insecure-plaintext", action="store_true", help="plain TCP beyond this machine")
    parser.add_argument("--address", default="auto", help="of the cluster: RAY_ADDRESS, else the one of this machine")
    parser.add_argument("--stub", nargs="?", const="{}", metavar="JSON", help="serve the deterministic stub model")
    return parser.parse_args(arguments)


def resolve_rule(options: argparse.Namespace) -> Rule:
    """Raises `ValueError`."""
    wanted = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", options.workers, re.ASCII)
    least, most = (0, 0) if wanted is None else (int(wanted[1]), int(wanted[2] or wanted[1]))
    if not 1 <= least <= most:
        raise ValueError(
            f"--workers: expected a number such as 4, or MIN:MAX such as 2:16, received {options.workers!r}"
        )
    if (least < most) != (options.follow is not None):
        raise ValueError("--workers MIN:MAX and --follow URL belong together: the URL says how many of them are needed")
    if options.images_per_worker < 1:
        raise ValueError(f"--images-per-worker: expected at least 1, received {options.images_per_worker}")
    for name in ("gpus", "cpus", "up_after", "down_after", "drain"):
        value = getattr(options, name)
        if not 0 <= value <= 86_400:
            raise ValueError(f"--{name.replace('_', '-')}: expected 0 to 86400, received {value:g}")
    return Rule(least, most, options.images_per_worker, options.up_after, options.down_after)


def worker_parameters(options: argparse.Namespace, secrets: Secrets) -> list[str]:
    """What each worker is started with. Raises `ValueError` for what it would refuse."""
    check_device(options.device)
    resolve_engine(
        options.connect,
        secrets,
        insecure_plaintext=options.insecure_plaintext,
        heartbeat_timeout_ms=options.heartbeat_timeout,
    )
    return [
        *["--dial", options.connect, "--device", options.device, "--drain", f"{options.drain:g}"],
        *["--heartbeat-timeout", str(options.heartbeat_timeout)],
        *(["--insecure-plaintext"] if options.insecure_plaintext else []),
        *(["--stub", options.stub] if options.stub is not None else []),
    ]


def image_reader(options: argparse.Namespace) -> Callable[[], int] | None:
    """Raises `ValueError`."""
    if options.follow is None:
        return None
    address = check_address(options.follow)
    api_key = read_api_key(options.api_key_file)
    return lambda: read_image_count(address, api_key)


def stop_on_signals() -> threading.Event:
    """The first signal asks all workers to leave, the second one ends this process and them."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop


def keep_team(team: Team, rule: Rule, read_images: Callable[[], int] | None, stop: threading.Event) -> int:
    """Until `stop` is set; then it lets all of them leave. The exit code."""
    scale = Scale(rule.least)
    retry_at = 0.0
    tell = teller()
    while not stop.is_set():
        now = time.monotonic()
        for exit_code in team.collect(now):
            tell(f"a worker ended with exit code {exit_code}; its own lines say why")
            retry_at = now + RETRY_SECONDS
            if team.size == 0:
                return exit_code
        if read_images is not None:
            scale = plan_scale(scale, ask_engine(read_images, tell), now, rule)
        if now >= retry_at and team.size != scale.count:
            tell(f"{scale.count} workers")
            team.resize(scale.count, now)
        stop.wait(TICK_SECONDS)
    tell("all workers leave once their images are done; again: at once")
    team.resize(0, time.monotonic())
    while not team.is_gone:
        team.collect(time.monotonic())
        time.sleep(TICK_SECONDS / 10)
    return 0


def ask_engine(read_images: Callable[[], int], tell: Callable[[str], None]) -> int | None:
    try:
        return read_images()
    except EngineSilent as silent:
        tell(f"{silent}; the number of workers stays as it is")
        return None


def teller() -> Callable[[str], None]:
    """Tells nothing twice in a row."""
    last = ""

    def tell(text: str) -> None:
        nonlocal last
        if text != last:
            print(f"zipar_ray: {text}", file=sys.stderr, flush=True)
        last = text

    return tell


def refuse(problem: str) -> int:
    print(f"zipar_ray: {problem}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
