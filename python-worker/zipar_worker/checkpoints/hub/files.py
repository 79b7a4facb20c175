"""Which files of a repository a model family reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from zipar_worker.checkpoints.sidecar import SIDECAR_NAME
from zipar_worker.errors import WorkerError
from zipar_worker.wire.protocol import HubSource

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
CONFIGURATION_SUFFIXES = (".json", ".txt", ".model", ".tiktoken", ".yaml")
"""Of configurations and tokenizers."""

_TRAINING_FILES = re.compile(r"^(training_args|optimizer|scheduler|rng_state|trainer_state|all_results)\b")
_WHOLE_MODEL = re.compile(r"^(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)$")
"""As transformers names weights; beside them lie copies in other formats and number types."""


def needed_files(source: HubSource, names: Iterable[str], *, tokenizer_alone: bool = False) -> list[str]:
    """Those of a repository's files that a model family reads. Raises `checkpoint` where there is no choice to make."""
    names = sorted(names)
    if source.path in names:
        return [source.path]
    folder = f"{source.path}/" if source.path else ""
    here = [name.removeprefix(folder) for name in names if name.startswith(folder)]
    here = [name for name in here if "/" not in name and not _TRAINING_FILES.match(name)]
    if not here:
        raise WorkerError(
            "checkpoint",
            f"{source.repository} has neither a file nor a folder {source.path!r}; it holds {_listed(names)}."
            if source.path
            else f"{source.repository} holds no files of a model, only {_listed(names)}.",
        )
    weights = [] if tokenizer_alone else _one_kind_of_weights(source, here)
    kinds = tuple({Path(name).suffix for name in weights})
    configuration = [name for name in here if name.endswith(CONFIGURATION_SUFFIXES)]
    # An index of weights that are left out would be taken for a checkpoint whose shards are missing.
    configuration = [
        name
        for name in configuration
        if not name.endswith(".index.json") or name.removesuffix(".index.json").endswith(kinds)
    ]
    return [folder + name for name in sorted({*weights, *configuration})]


def _one_kind_of_weights(source: HubSource, names: list[str]) -> list[str]:
    """safetensors where there are several kinds. Raises `checkpoint` for none, and for several checkpoints."""
    every = [name for name in names if name.endswith(WEIGHTS_SUFFIXES)]
    safe = [name for name in every if name.endswith(".safetensors")]
    chosen = safe or every
    whole = [name for name in chosen if _WHOLE_MODEL.match(name) and SIDECAR_NAME not in names]
    if not chosen:
        raise WorkerError("checkpoint", f"{source.repository} holds no weights; it holds {_listed(names)}.")
    if len(chosen) > 1 and not whole and not {"config.json", SIDECAR_NAME} & set(names):
        raise WorkerError(
            "checkpoint",
            f"{source.repository} holds several checkpoints: {_listed(chosen)}. Name one of them: "
            f"{source.repository}/{source.path + '/' if source.path else ''}{chosen[0]}",
        )
    return whole or chosen


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
