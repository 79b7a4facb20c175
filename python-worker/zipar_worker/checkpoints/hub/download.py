"""Fetches the files of a checkpoint from the Hugging Face hub into the cache that other programs share.

`huggingface_hub` does the work and honours its variables (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, ...). A
connection that breaks within a file is taken up where it broke; files that are whole are not fetched again.
"""

from __future__ import annotations

import glob
import os
import shutil
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from zipar_worker.checkpoints.hub.failures import explain_failure
from zipar_worker.checkpoints.hub.files import needed_files
from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.wire.protocol import HubSource

_CONCURRENT_FILES = 4
_REPORT_SECONDS = 0.25
_PHASE_CHARACTERS = 64


def fetch(
    source: HubSource, report: ProgressReporter, *, tokenizer_alone: bool = False, option: str = "--model"
) -> Path:
    """The directory or the file of a source on this machine, once all that is needed of it is there.

    tokenizer_alone: no weights; option: names in messages what takes a path instead. Raises `checkpoint`.
    """
    hub = _import_hub()
    try:
        snapshot = _fetch_online(hub, source, report, tokenizer_alone)
    except WorkerError:
        raise
    except hub.errors.HFValidationError as error:
        raise explain_failure(source, error, option) from error
    except Exception as error:  # no network, offline, gated, not found, disk: what is whole in the cache will do
        cached = _find_cached(hub, source, tokenizer_alone)
        if cached is None:
            raise explain_failure(source, error, option) from error
        snapshot = cached
    return snapshot / source.path if source.path else snapshot


@dataclass(frozen=True, slots=True)
class _Listing:
    commit: str
    sizes: Mapping[str, int]
    """Bytes of each file of the repository."""


def _fetch_online(hub: ModuleType, source: HubSource, report: ProgressReporter, tokenizer_alone: bool) -> Path:
    listing = _list_files(hub, source)
    names = needed_files(source, listing.sizes, tokenizer_alone=tokenizer_alone)
    missing = [name for name in names if not _is_cached(hub, source, name, listing.commit)]
    _check_disk(hub, source, sum(listing.sizes[name] for name in missing))
    if missing:
        _download(hub, source, listing, names, missing, report)
    # All is there: this notes which commit the revision is and which files it has, for times without network.
    return Path(hub.snapshot_download(source.repository, revision=source.revision, allow_patterns=_exactly(names)))


def _list_files(hub: ModuleType, source: HubSource) -> _Listing:
    api = hub.HfApi()
    commit = api.model_info(source.repository, revision=source.revision).sha
    entries = api.list_repo_tree(source.repository, revision=commit, recursive=True)
    return _Listing(commit, {entry.path: entry.size for entry in entries if isinstance(entry, hub.hf_api.RepoFile)})


def _is_cached(hub: ModuleType, source: HubSource, name: str, commit: str) -> bool:
    return isinstance(hub.try_to_load_from_cache(source.repository, name, revision=commit), str)


def _check_disk(hub: ModuleType, source: HubSource, wanted_bytes: int) -> None:
    """Raises `checkpoint` before a download that cannot end."""
    directory = Path(hub.constants.HF_HUB_CACHE)
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    if wanted_bytes > free_bytes:
        raise WorkerError(
            "checkpoint",
            f"{source.repository} needs {wanted_bytes / 2**30:.2f} GiB more on disk and {free_bytes / 2**30:.2f} GiB "
            f"are free at {directory}. Make room, or set HF_HOME to a directory on a larger disk.",
            {"wantedBytes": wanted_bytes, "freeBytes": free_bytes},
        )


def _download(
    hub: ModuleType,
    source: HubSource,
    listing: _Listing,
    names: list[str],
    missing: list[str],
    report: ProgressReporter,
) -> None:
    """Several files at a time; progress is reported from this thread, to which the socket belongs."""
    counter = _Counter()
    total = sum(listing.sizes[name] for name in names)
    cached = total - sum(listing.sizes[name] for name in missing)
    phase = f"fetching {source.repository}"[:_PHASE_CHARACTERS]
    with ThreadPoolExecutor(_CONCURRENT_FILES) as threads:
        pending = {
            threads.submit(
                hub.hf_hub_download, source.repository, name, revision=listing.commit, tqdm_class=counter.bar_class()
            )
            for name in missing
        }
        while pending:
            done, pending = wait(pending, _REPORT_SECONDS, FIRST_EXCEPTION)
            failure = next((error for future in done if (error := future.exception())), None)
            if failure is not None:
                counter.stop()
                threads.shutdown(wait=False, cancel_futures=True)
                raise failure
            report(phase, min(cached + counter.count, total), total, "bytes")
    report(phase, total, total, "bytes")  # files of the same content are fetched once


class _Counter:
    """Bytes that all files together have received."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._is_stopped = False

    def stop(self) -> None:
        """Ends the downloads that still run, at the next bytes that they receive."""
        self._is_stopped = True

    def add(self, count: float) -> None:
        if self._is_stopped:
            raise ConnectionAbortedError("another file could not be fetched")
        with self._lock:
            self.count += int(count)

    def bar_class(self) -> Any:
        """What `huggingface_hub` takes for a progress bar."""
        counter = self

        class Bar:
            def __init__(self, *_arguments: object, **_options: object) -> None: ...

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...

            def update(self, count: float | None = 1) -> None:
                counter.add(count or 0)

            def update_transfer(self, count: float | None = 1) -> None: ...

            def set_postfix_str(self, text: str, refresh: bool = False) -> None: ...

            def set_transfer_postfix_str(self, text: str, refresh: bool = False) -> None: ...

            def close(self) -> None: ...

        return Bar


def _find_cached(hub: ModuleType, source: HubSource, tokenizer_alone: bool) -> Path | None:
    """The snapshot in the cache where it holds all that is needed; None where it does not."""
    try:
        tree = hub.get_cached_repo_tree(source.repository, revision=source.revision)
        names = needed_files(source, [file.path for file in tree], tokenizer_alone=tokenizer_alone)
        patterns: list[str] | None = _exactly(names)
    except hub.errors.CachedRepoTreeNotFoundError:
        patterns = None  # fetched by an older program, which did not note what there is
    try:
        snapshot = Path(
            hub.snapshot_download(
                source.repository, revision=source.revision, allow_patterns=patterns, local_files_only=True
            )
        )
    except hub.errors.LocalEntryNotFoundError:
        return None
    return snapshot if not source.path or (snapshot / source.path).exists() else None


def _exactly(names: Iterable[str]) -> list[str]:
    return [glob.escape(name) for name in names]


def _import_hub() -> ModuleType:
    """Lazily: only references to the hub need it."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.hf_api
    except ImportError as error:
        raise WorkerError(
            "checkpoint",
            "Checkpoints of the Hugging Face hub need the Python package huggingface_hub. Run `npx zipar setup`, or "
            "give the path of a directory.",
        ) from error
    return huggingface_hub
