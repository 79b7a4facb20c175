"""The executor of the first rank, which speaks for the whole group: it tells the others what it does itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from msgspec.structs import replace as replace_field
from torch import Tensor

from zipar_worker.errors import FatalWorkerError
from zipar_worker.execute.contract import (
    EncodedPrompt,
    Loaded,
    ModelDescription,
    ProgressReporter,
    SequenceFeed,
    Stats,
)
from zipar_worker.execute.devices import describe_device, free_memory, resolve_device
from zipar_worker.execute.step_layout import Step
from zipar_worker.families.description import Prompt
from zipar_worker.ranks.connected import ConnectedRanks
from zipar_worker.ranks.followers import Followers
from zipar_worker.ranks.messages import (
    Connect,
    CountBytes,
    Forget,
    HoldPrompt,
    Load,
    Prepare,
    RunForward,
    RunProfile,
)
from zipar_worker.ranks.rank_executor import RankExecutor
from zipar_worker.serve.failures import describe_failure
from zipar_worker.wire.arrays import Array
from zipar_worker.wire.protocol import Describe, EncodePrompt, Init, Profile


class GroupExecutor(RankExecutor):
    """Owns the processes of the other ranks."""

    def __init__(self, devices: Sequence[str], followers: Followers | None) -> None:
        """devices: of the ranks, this one's first. followers: not needed to describe a model."""
        super().__init__(ConnectedRanks(0, len(devices)))
        self._devices = devices
        self._followers = followers

    def describe(self, request: Describe, report: ProgressReporter) -> ModelDescription:
        """Bytes are those of the first device, which has the most; free is what each of them has at least."""
        devices = [resolve_device(name).device for name in self._devices]
        description = super().describe(replace_field(request, device=self._devices[0]), report)
        free_bytes = [count for device in devices if (count := free_memory(device)) is not None]
        sharers = len(devices) if devices[0].type == "cpu" else 1
        return replace(
            description,
            device=_describe(devices),
            free_bytes=min(free_bytes) // sharers if free_bytes else None,
        )

    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        followers = self._told()
        try:
            prepared = self.prepare(replace_field(request, device=self._devices[0]), report)
            # Only now: a model of the hub has been fetched, once.
            for device, follower in zip(self._devices[1:], followers.each, strict=True):
                follower.tell(Prepare(replace_field(request, device=device)))
            image_count = min(prepared.image_count, *followers.answers())
            followers.tell(Connect())
            self._ranks.connect(prepared.placement.device, followers.store)
            followers.tell(Load(image_count))
            loaded = self.load(prepared._replace(image_count=image_count), report)
            followers.answers()
        except BaseException:
            followers.end()
            raise
        return replace(loaded, device=_describe([torch.device(name) for name in self._devices]))

    def encode_prompt(self, request: EncodePrompt) -> EncodedPrompt:
        encoded = super().encode_prompt(request)
        prompt = self._held[request.sequence].prompt
        batch, length, dim = prompt.embeddings.shape
        self._told().tell(HoldPrompt(request.sequence, request.cache_rows, (batch, length, dim), prompt.branches))
        with _together():
            embeddings = self.share_embeddings((batch, length, dim), prompt.embeddings)
        self.hold(request.sequence, Prompt(embeddings, prompt.branches, prompt.warnings), request.cache_rows)
        return encoded

    def _compute(self, feeds: Sequence[SequenceFeed]) -> tuple[Step, Tensor]:
        self._told().tell(RunForward(list(feeds)))
        with _together():
            return super()._compute(feeds)

    def profile(self, request: Profile, codes: Array) -> Sequence[Array]:
        rows, columns = codes.shape
        self._told().tell(RunProfile(request.sequence, rows, columns, codes.data.tolist()))
        with _together():
            return super().profile(request, codes)

    def release(self, sequences: Sequence[int]) -> None:
        self._told().tell(Forget(list(sequences)))
        super().release(sequences)

    def stats(self) -> Stats:
        device_bytes = super().stats().device_bytes
        followers = self._told()
        if device_bytes is not None:
            followers.tell(CountBytes())
            device_bytes += sum(followers.answers())
        return Stats(device_bytes, tuple(follower.process.pid for follower in followers.each))

    def close(self) -> None:
        if self._followers is not None:
            self._followers.end()

    def _told(self) -> Followers:
        if self._followers is None:
            raise RuntimeError("this group was made to describe a model, not to run it")
        return self._followers


@contextmanager
def _together() -> Iterator[None]:
    """What fails within leaves the other ranks where nothing calls them back, so that the worker cannot go on."""
    try:
        yield
    except Exception as error:
        body, _ = describe_failure(error)
        message = f"{body.message} The devices of the group are out of step after it."
        raise FatalWorkerError(body.code, message, body.details or None) from error


def _describe(devices: Sequence[torch.device]) -> str:
    """e.g. "cpu+cpu", "cuda:0+cuda:1 NVIDIA H100"; different cards are all named."""
    cards = dict.fromkeys(describe_device(device).partition(" ")[2] for device in devices)
    return " ".join(filter(None, ["+".join(map(str, devices)), ", ".join(cards)]))
