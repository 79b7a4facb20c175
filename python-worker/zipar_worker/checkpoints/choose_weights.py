"""Finds the weights that are sought in what a training program saved.

Such programs keep weights in dictionaries within dictionaries (`model`, `ema`, ...), beside the optimizer's tensors and
others, under keys that wrappers of modules have put prefixes before (`module.`, `_orig_mod.`, `model.`). Which of it
is meant is told by a landmark: a key that every file of that kind has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from zipar_worker.checkpoints.passed_over import MEANINGLESS
from zipar_worker.errors import WorkerError, listed

_MAXIMAL_DEPTH = 4
_OFFICIAL_ORDER = ("model", "module", "state_dict")
"""In which the official code of LlamaGen looks for the weights (`sample_c2i.py`)."""
_TOP = "top"
"""Name of the weights that no dictionary within the file's holds."""
_EMA_NAME = re.compile(r"(?:^|[._])(?:ema|shadow|averaged?(?=$|[._])|swa(?=$|[._]))", re.IGNORECASE)
_WRAPPER_WITHIN = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Put around a part of a model, these stand within its keys."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What tells the weights that are sought from all else in a file.

    landmarks: keys, of which every such file has one; none: whatever holds most tensors.
    key: the name that the user gives to one of several sets of weights.
    """

    landmarks: tuple[str, ...] = ()
    prefers_ema: bool = False
    """Whether, of weights and their average over training, the average is meant where the user does not say."""
    key: str | None = None
    accepts_program: bool = False
    """Whether the tensors of a TorchScript file will do, whose code is not executed."""


@dataclass(frozen=True, slots=True)
class ChosenWeights:
    tensors: Mapping[str, Tensor]
    """Without the prefix that all share, and without those that mean nothing."""
    name: str = ""
    """Of the chosen set, where there was a choice."""
    others: tuple[str, ...] = ()
    passed_over: Mapping[str, Tensor] = field(default_factory=dict)


def choose_weights(path: Path, content: object, sought: Sought) -> ChosenWeights:
    """content: of the file `path`. Raises `checkpoint` where it holds no weights, or none of the given name."""
    every = list(_dictionaries(content))
    found = [weights for name, tensors in every for weights in _with_landmark(name, tensors, sought.landmarks)]
    if not found:
        # None is what is sought. The loader says what is missing in the largest.
        found = sorted(every, key=lambda weights: len(weights[1]))[-1:]
    if not found:
        raise _no_weights(path, content)
    found.sort(key=lambda weights: _rank(weights[0], sought))
    if len(found) > 1 and sought.key is not None and not _is_named(found[0][0], sought.key):
        raise WorkerError(
            "checkpoint",
            f"{path} holds several sets of weights, {listed([name for name, _ in found])}, and none is called "
            f"{sought.key!r}. Give one of these names with `--weights-key`.",
        )
    name, tensors = found[0]
    others = tuple(other for other, _ in found[1:])
    meaningless = {key for key in tensors if MEANINGLESS.search(key)}
    return ChosenWeights(
        {key: tensor for key, tensor in tensors.items() if key not in meaningless},
        name if others or (sought.key is not None and _is_named(name, sought.key)) else "",
        others,
        {key: tensors[key] for key in meaningless},
    )


def missing_under_other_names(tensors: Mapping[str, Tensor], missing: list[str]) -> str:
    """A sentence on a prefix that not all tensors share; empty where no missing one is there under another name."""
    for name in missing[:8]:
        key = next((key for key in tensors if key.endswith("." + name)), None)
        if key is not None:
            prefix = key.removesuffix(name)
            count = sum(key.startswith(prefix) for key in tensors)
            return (
                f" It holds {key}: {count} of its {len(tensors)} tensors begin with {prefix!r}. A prefix is taken off "
                f"only where all tensors share it; save the weights with the names of the model."
            )
    return ""


def _dictionaries(content: object) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each dictionary that holds tensors, under the names that lead to it with dots between them."""
    seen: set[int] = set()
    pending: list[tuple[tuple[str, ...], object]] = [((), content)]
    while pending:
        names, value = pending.pop(0)
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        tensors = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, Tensor)}
        if tensors:
            yield ".".join(names), _without_wrappers_within(tensors)
        if len(names) < _MAXIMAL_DEPTH:
            pending += [((*names, key), item) for key, item in value.items() if isinstance(key, str)]


def _without_wrappers_within(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {_WRAPPER_WITHIN.sub("", key): tensor for key, tensor in tensors.items()}
    return renamed if len(renamed) == len(tensors) else tensors


def _with_landmark(
    name: str, tensors: dict[str, Tensor], landmarks: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The weights in a dictionary: all of it, or what stands under each of the prefixes that all its keys have."""
    marks = [(key, mark) for mark in landmarks for key in tensors if key == mark or key.endswith("." + mark)]
    prefixes = {key.removesuffix(mark) for key, mark in marks}
    if "" in prefixes:
        yield name or _TOP, tensors
        return
    groups: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in sorted(prefixes, key=len, reverse=True)}
    for key, tensor in tensors.items():
        prefix = next((prefix for prefix in groups if key.startswith(prefix)), None)
        if prefix is not None:
            groups[prefix][key.removeprefix(prefix)] = tensor
        elif not MEANINGLESS.search(key):
            return
    for prefix, group in groups.items():
        own = prefix.rstrip(".") if len(groups) > 1 else ""
        yield ".".join(filter(None, (name, own))) or _TOP, group


def _rank(name: str, sought: Sought) -> tuple[bool, bool, int]:
    """The least is chosen; those of one rank in the order of the file."""
    is_other = sought.key is not None and not _is_named(name, sought.key)
    last = name.rpartition(".")[2]
    order = _OFFICIAL_ORDER.index(last) if last in _OFFICIAL_ORDER else len(_OFFICIAL_ORDER)
    return is_other, (_EMA_NAME.search(name) is not None) != sought.prefers_ema, order


def _is_named(name: str, key: str) -> bool:
    return name == key or key in name.split(".")


def _no_weights(path: Path, content: Any) -> WorkerError:
    keys = (
        f"the keys {listed([str(key)[:80] for key in content])}"
        if isinstance(content, dict)
        else type(content).__name__
    )
    return WorkerError(
        "checkpoint",
        f"{path} holds no weights: expected a dictionary of tensors, at the top or under a name such as model, module, "
        f"state_dict or ema; received {keys}.",
    )
