"""How many images `zipar serve` has in work: from its page for Prometheus, which every `createServer` has."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from zipar_worker.wire.key_files import read_secret_text

TIMEOUT_SECONDS = 5.0
PAGE_BYTES = 1 << 20

_IMAGES = re.compile(r'^zipar_images\{model="((?:[^"\\]|\\.)*)",state="(\w+)"\} (\d+)$', re.MULTILINE)


class EngineSilent(Exception):
    """The engine did not tell; the message says why."""


def check_address(address: str) -> str:
    """Without what follows the port. Raises `ValueError`."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f'expected the address of `zipar serve`, such as "http://10.0.0.5:7811", received {address!r}')
    return f"{parts.scheme}://{parts.netloc}"


def read_api_key(file: Path | None) -> str | None:
    """The first key of a file as `zipar serve --api-key-file` takes it. Raises `ValueError`."""
    if file is None:
        return None
    keys = read_secret_text(file).split()
    if not keys:
        raise ValueError(f"{file} holds no key; expected one on each line")
    return keys[0]


def read_image_count(address: str, api_key: str | None) -> int:
    """Images that are decoded, wait, or are asked for by requests, of all models. Raises `EngineSilent`."""
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        with urlopen(Request(f"{address}/metrics", headers=headers), timeout=TIMEOUT_SECONDS) as response:
            page = response.read(PAGE_BYTES).decode("utf-8", "replace")
    except HTTPError as error:
        remedy = "; give --api-key-file with a key of that server" if error.code == 401 else ""
        raise EngineSilent(f"{address}/metrics answered {error.code}{remedy}") from error
    except (URLError, OSError) as error:
        raise EngineSilent(f"{address}/metrics cannot be read: {getattr(error, 'reason', error)}") from error
    return count_images(page)


def count_images(page: str) -> int:
    """Raises `EngineSilent` where the page is another one."""
    models: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for model, state, count in _IMAGES.findall(page):
        models[model][state] = int(count)
    if not models:
        raise EngineSilent("the page of metrics tells no zipar_images; expected that of `zipar serve`")
    # A model that is being loaded has requests and no images yet; a program has images that no request asked for.
    return sum(
        max(counts.get("requested", 0), counts.get("decoding", 0) + counts.get("waiting", 0))
        for counts in models.values()
    )
