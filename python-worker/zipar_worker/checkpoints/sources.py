"""Where the files of a model reference lie on this machine, fetched where they come from the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from zipar_worker.checkpoints.hub.download import fetch
from zipar_worker.execute.contract import ProgressReporter
from zipar_worker.wire.protocol import HubSource, ModelReference, PathSource, Source

BUNDLED_DEMO = Path(__file__).resolve().parents[3] / "checkpoints" / "demo"
"""What an engine elsewhere means by "demo": it does not know where this machine keeps it."""


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """Existing or not: opening a checkpoint finds that out."""

    weights: Path
    vq: Path | None
    text_encoder: Path | None


@dataclass(frozen=True, slots=True)
class Companions:
    """Repositories that the official code loads beside one."""

    vq: HubSource | None = None
    text_encoder: HubSource | None = None
    folder: str | None = None
    """Of the repository itself, where its model lies, if not at the top."""
    tokenizer_alone: bool = False
    """Of the text encoder's repository, which is another checkpoint of the same family."""


def hub_source(repository: str, path: str | None = None) -> HubSource:
    """Of the newest revision. path: a file or folder of the repository."""
    return HubSource(repository=repository, path=path, revision=None)


def resolve_model(model: ModelReference, companions: Companions, report: ProgressReporter) -> ModelPaths:
    """Paths of all parts. What the user names wins over a companion. Raises `checkpoint` where one cannot be had."""
    text_encoder = model.text_encoder or companions.text_encoder
    alone = companions.tokenizer_alone and model.text_encoder is None
    vq = model.vq or companions.vq
    return ModelPaths(
        weights=resolve_source(_within(model.weights, companions.folder), report),
        vq=resolve_source(vq, report, option="--vq") if vq else None,
        text_encoder=resolve_source(text_encoder, report, tokenizer_alone=alone, option="--text-encoder")
        if text_encoder
        else None,
    )


def _within(source: Source, folder: str | None) -> Source:
    """That folder of a repository; whatever the user named in it wins."""
    if folder is None or not isinstance(source, HubSource) or source.path is not None:
        return source
    return structs.replace(source, path=folder)


def resolve_source(
    source: Source, report: ProgressReporter, *, tokenizer_alone: bool = False, option: str = "--model"
) -> Path:
    """The path of a directory or file. Raises `checkpoint` where it cannot be had."""
    if isinstance(source, PathSource):
        path = Path(source.path)
        return BUNDLED_DEMO if source.path == "demo" and not path.exists() else path
    return fetch(source, report, tokenizer_alone=tokenizer_alone, option=option)


def describe_source(source: Source) -> str:
    """In words, for whoever watches."""
    return source.path if isinstance(source, PathSource) else source.repository
