"""Keys and token of a worker that dials in from elsewhere: files of `zipar keys`, which only their owner may read, or
a line of whoever read them and starts the worker.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

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


class Secrets(NamedTuple):
    """What an engine lets a worker in by. Without keys: plain TCP."""

    keys: WorkerKeys | None
    token: str


def read_secrets(keys: Path | None, token_file: Path | None, variables: Mapping[str, str]) -> Secrets:
    """Of the folder of keys, and the token that `read_token` finds. Raises `ValueError`."""
    return Secrets(None if keys is None else read_keys(keys), read_token(token_file, keys, variables))


def encode_secrets(secrets: Secrets) -> bytes:
    """One line, as `decode_secrets` takes it."""
    return msgspec.json.encode(secrets) + b"\n"


def decode_secrets(line: bytes) -> Secrets:
    """Raises `ValueError`, which says nothing of what the line holds."""
    try:
        secrets = msgspec.json.decode(line, type=Secrets)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ValueError("expected keys and token as one line of JSON, as `encode_secrets` writes them") from None
    for key in secrets.keys or ():
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"expected keys of 40 Z85 characters, received one of {len(key)} bytes")
    return Secrets(secrets.keys, _checked_token(secrets.token))


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
        token = read_secret_text(file)
    elif TOKEN_VARIABLE in variables:
        token = variables[TOKEN_VARIABLE]
    elif keys is not None:
        token = read_secret_text(keys / TOKEN)
    else:
        raise ValueError(f"a worker needs the engine's token: give --token-file, or set {TOKEN_VARIABLE}")
    return _checked_token(token)


def _checked_token(token: str) -> str:
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


def read_secret_text(path: Path) -> str:
    """Raises `ValueError`."""
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
