"""Keys and token of a worker that dials in from elsewhere: files of `zipar keys`, which only their owner may read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zipar_worker.wire.protocol import TOKEN_CHARACTERS

WORKER_SECRET = "worker.secret"
WORKER_PUBLIC = "worker.public"
ENGINE_PUBLIC = "engine.public"
TOKEN = "token"
TOKEN_VARIABLE = "ZIPAR_TOKEN"
TOKEN_LEAST_CHARACTERS = 16

_KEY = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""A CURVE key as Z85 (ZeroMQ RFC 32): 32 bytes."""
_FILE_BYTES = 4096


class WorkerKeys(NamedTuple):
    """CURVE keys as Z85: the worker's own pair, and by which it knows the engine."""

    public: bytes
    secret: bytes
    engine: bytes


def read_keys(folder: Path) -> WorkerKeys:
    """Raises `ValueError` where a file is missing, is no key, or others can read what is secret."""
    return WorkerKeys(
        public=_read_key(folder / WORKER_PUBLIC),
        secret=_read_key(_checked_secret(folder / WORKER_SECRET)),
        engine=_read_key(folder / ENGINE_PUBLIC),
    )


def read_token(file: Path | None, keys: Path | None, variables: Mapping[str, str]) -> str:
    """The token of the file, else of the environment, else of the folder of keys. Raises `ValueError`."""
    if file is not None:
        token = _read_secret_text(file)
    elif TOKEN_VARIABLE in variables:
        token = variables[TOKEN_VARIABLE]
    elif keys is not None:
        token = _read_secret_text(keys / TOKEN)
    else:
        raise ValueError(f"a worker needs the engine's token: give --token-file, or set {TOKEN_VARIABLE}")
    if not TOKEN_LEAST_CHARACTERS <= len(token) <= TOKEN_CHARACTERS:
        raise ValueError(
            f"expected a token of {TOKEN_LEAST_CHARACTERS} to {TOKEN_CHARACTERS} characters, received {len(token)}"
        )
    return token


def _read_key(path: Path) -> bytes:
    key = _read(path).strip()
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"{path} holds no key: expected one line of 40 Z85 characters, as `zipar keys` writes it")
    return key


def _read_secret_text(path: Path) -> str:
    try:
        return _read(_checked_secret(path)).decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: expected one line") from error


def _checked_secret(path: Path) -> Path:
    """The path of a file that only its owner may read. Raises `ValueError`."""
    if os.name != "posix":  # elsewhere the rights of the user's folder protect it
        return path
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise _unreadable(path, error) from error
    if mode & 0o077:
        raise ValueError(
            f"{path} is secret, but its mode {mode:o} lets others at it; expected 600. If nobody has read it, "
            f"`chmod 600 {path}`; else make new keys"
        )
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ValueError:
    return ValueError(f"cannot read {path} ({error.strerror}); `zipar keys` makes the files of both sides")
