"""Opens weights files without ever executing what is in them, and moves their tensors into a module.

safetensors files hold no code. Those of `torch.save` are scanned (`pickle_scan.py`), and then read by
`torch.load(weights_only=True)`, whose unpickler builds tensors, containers and the allow-listed `argparse.Namespace` of
training files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, takewhile
from math import prod
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zipar_worker.checkpoints.choose_weights import (
    Sought,
    choose_weights,
    missing_under_other_names,
)
from zipar_worker.checkpoints.file_kind import damaged, unfinished_files, weights_kind
from zipar_worker.checkpoints.foreign_weights import refuse_foreign_weights
from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.program_file import read_program_file
from zipar_worker.checkpoints.share import Share, share_of
from zipar_worker.checkpoints.small_files import decode_json, glance_json, read_small_file
from zipar_worker.checkpoints.torch_file import read_torch_file
from zipar_worker.errors import WorkerError, first_line, listed

HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

ANY_WEIGHTS = Sought()

_MAXIMAL_HEADER_BYTES = 1 << 24
"""Of a safetensors file: room for more than 100,000 tensors."""


class _ShardIndex(msgspec.Struct):
    weight_map: dict[str, str]


class ReportBytes(Protocol):
    """Says how many bytes of the total have been loaded."""

    def __call__(self, completed: int, total: int) -> None: ...


class Merged(Protocol):
    """A module whose parameters may be stored as several tensors, of so many rows each."""

    part_sizes: tuple[int, ...]


NO_RULES = KeyMap()
"""Of a file whose keys are the names of the parameters."""

Adapt: TypeAlias = Callable[[str, Tensor, int], Tensor]
"""Name of a parameter, a tensor stored for it, and the rows that it must fill -> that tensor as the module needs it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a weights file, mapped from the disk where its format allows: their shapes cost nothing."""

    path: Path
    tensors: Mapping[str, Tensor]
    chosen: str = ""
    """Which set of weights these are, where the file holds several or the user named one."""
    others: tuple[str, ...] = ()
    """The sets that were not chosen."""
    passed_over: Mapping[str, Tensor] = field(default_factory=dict)
    """Those without meaning."""
    remarks: tuple[str, ...] = ()
    """What the user should know of how it was read."""
    training: Mapping[str, object] = field(default_factory=dict)
    """The arguments of the training program, where it saved them as `args`."""

    def renamed(self, rename: Callable[[str], str | None]) -> Checkpoint:
        """The same tensors under other names; those renamed to None are left out."""
        names = {name: rename(name) for name in self.tensors}
        return replace(self, tensors={new: self.tensors[old] for old, new in names.items() if new is not None})

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises `checkpoint` where the file lacks the tensor."""
        if name not in self.tensors:
            raise _lacks_keys(self, [name])
        return tuple(self.tensors[name].shape)

    def counted(self, name: Callable[[int], str]) -> list[str]:
        """The names of the numbers from 0 on, as far as the file has their tensors."""
        return list(takewhile(self.tensors.__contains__, map(name, count())))


def open_checkpoint(path: Path, sought: Sought = ANY_WEIGHTS) -> Checkpoint:
    """Opens a weights file, or a directory in the layout of the Hugging Face hub: one file, or shards and their index.

    Raises `checkpoint` where something is missing, damaged, or anything but full weights.
    """
    if path.is_dir():
        return _open_directory(path, sought)
    if not path.is_file():
        raise WorkerError(
            "checkpoint", f"The weights file {path} does not exist. Give the path of a .pt or .safetensors file."
        )
    return _checkpoint(path, _read(path, sought.accepts_program), sought)


def glance_tensor_names(directory: Path) -> Collection[str]:
    """Of safetensors in the layout of the hub; none where nothing tells them. A glance, not a check."""
    whole = directory / HUB_WEIGHTS[0]
    if not whole.is_file():
        names = (glance_json(directory / f"{whole.name}.index.json") or {}).get("weight_map")
        return names if isinstance(names, dict) else ()
    try:
        _check_header(whole)
        with safe_open(whole, framework="pt") as file:
            return tuple(file.keys())
    except (WorkerError, SafetensorError, OSError, ValueError):
        return ()


def _checkpoint(path: Path, content: object, sought: Sought) -> Checkpoint:
    weights = choose_weights(path, content, sought)
    refuse_foreign_weights(path, weights.tensors)
    arguments = content.get("args") if isinstance(content, dict) else None
    training = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    return Checkpoint(
        path,
        weights.tensors,
        weights.name,
        weights.others,
        weights.passed_over,
        training=training if isinstance(training, dict) else {},
    )


def _open_directory(directory: Path, sought: Sought) -> Checkpoint:
    """As transformers does: one whole file before shards and their index, safetensors before others."""
    lacking: WorkerError | None = None
    for name in HUB_WEIGHTS:
        if (directory / name).is_file():
            return open_checkpoint(directory / name, sought)
        index = directory / f"{name}.index.json"
        if index.is_file():
            shards = _shard_paths(directory, index)
            missing = sorted({shard.name for shard in shards.values() if not shard.is_file()})
            if not missing:
                return _open_shards(directory, index, shards, sought)
            # Left behind, perhaps, by weights of another kind.
            lacking = lacking or WorkerError(
                "checkpoint",
                f"The shard {listed(missing)}, which {index} names, is missing. Download it to {directory}.",
            )
    if lacking is not None:
        raise lacking
    unfinished = unfinished_files(directory)
    raise WorkerError(
        "checkpoint",
        f"The directory {directory} holds no weights: expected {' or '.join(HUB_WEIGHTS)}, or the index of their "
        f"shards (such as {HUB_WEIGHTS[0]}.index.json)"
        f"{f'; the download of {listed(unfinished)} did not end' if unfinished else ''}.",
    )


def _open_shards(directory: Path, index: Path, shards: Mapping[str, Path], sought: Sought) -> Checkpoint:
    """shards: by key. `directory` names them in messages."""
    opened = {path: choose_weights(path, _read(path), ANY_WEIGHTS) for path in sorted(set(shards.values()))}
    contents = {path: {**weights.tensors, **weights.passed_over} for path, weights in opened.items()}
    lacking = [key for key, path in shards.items() if key not in contents[path]]
    if lacking:
        raise WorkerError(
            "checkpoint",
            f"{index} says that {shards[lacking[0]].name} holds {listed(lacking)}, but it does not. The shards and the "
            f"index do not belong together; download them again.",
        )
    return _checkpoint(
        directory, {key: tensor for tensors in contents.values() for key, tensor in tensors.items()}, sought
    )


def _shard_paths(directory: Path, index: Path) -> dict[str, Path]:
    """The shard of each key, there or not. Raises `checkpoint` for one that lies elsewhere."""
    try:
        names: dict[str, str] = decode_json(read_small_file(index), _ShardIndex).weight_map
    except ValueError as error:
        raise WorkerError("checkpoint", f"{index} is no index of shards: {error}.") from error
    for name in set(names.values()):
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise WorkerError("checkpoint", f"{index} names the shard {name!r}; expected a file name without folders.")
    return {key: directory / name for key, name in names.items()}


def _read(path: Path, accepts_program: bool = False) -> object:
    kind = weights_kind(path)
    if kind == "zip" and accepts_program:
        program = read_program_file(path)
        if program is not None:
            return program
    return _read_safetensors(path) if kind == "safetensors" else read_torch_file(path, is_zip=kind == "zip")


def check_claims(claimant: Path, checkpoint: Checkpoint, *, parts: int, widths: Iterable[int]) -> None:
    """Before anything is built: a configuration may claim any size, the file has what it has.

    claimant: the file of the configuration; parts: layers, or blocks, of which each has a tensor of its own; widths:
    lengths of sides of tensors. Raises `checkpoint` for more than there can be.
    """
    numbers = max((tensor.numel() for tensor in checkpoint.tensors.values()), default=0)
    problem = None
    if parts > len(checkpoint.tensors):
        problem = f"{parts} layers, but {checkpoint.path} holds {len(checkpoint.tensors)} tensors"
    elif (widest := max(widths, default=0)) > numbers:
        problem = f"a width of {widest}, but the largest tensor of {checkpoint.path} holds {numbers} numbers"
    if problem is not None:
        raise WorkerError(
            "checkpoint", f"{claimant} asks for {problem}. They do not belong together: take both from one source."
        )


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built within have no storage for their parameters, and spend no time on initial values."""
    with torch.device("meta"), _SkipInitialisation():
        yield


def as_stored(name: str, stored: Tensor, rows: int) -> Tensor:
    """The `Adapt` that changes nothing."""
    return stored


def load_module_(
    module: nn.Module,
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype,
    device: torch.device,
    report: ReportBytes,
    keys: KeyMap = NO_RULES,
    adapt: Adapt = as_stored,
    see_whole: Callable[[nn.Module, Tensor, torch.dtype], None] = lambda owner, whole, dtype: None,
    after_tensor: Callable[[nn.Module], None] = lambda owner: None,
) -> None:
    """Fills a module, typically one built `without_weights`, with the tensors of a file, cast and moved.

    `keys` says what the file calls them. One key may fill several parameters, and several keys one parameter of a
    module that is `Merged`. `adapt` works without copying where that can be. `see_whole` sees
    each stored tensor of which the module has columns alone, `after_tensor` each part of the module as soon as its own
    tensors are there. Raises `checkpoint` where keys are missing or left over, or shapes do
    not fit; it names them as the file does.
    """
    wanted = stored_shapes(module, keys)
    _check_keys(checkpoint, dict.fromkeys(key for shapes in wanted.values() for key in shapes), keys)
    stored = {
        name: [adapt(name, checkpoint.tensors[key], shape[0]) for key, shape in shapes.items()]
        for name, shapes in wanted.items()
    }
    for name, shapes in wanted.items():
        _check_shapes(checkpoint.path, shapes, stored[name])
    total = sum(tensor.nbytes for tensors in stored.values() for tensor in tensors)
    completed = 0
    for prefix, part in module.named_modules():
        own = [(name, parameter.shape) for name, parameter in part.named_parameters(recurse=False)]
        for name, shape in own:
            # Always a copy: a mapped tensor would change, or fault, with the file.
            parameter = torch.empty(shape, dtype=dtype, device=device)
            first = 0
            full_name = f"{prefix}.{name}" if prefix else name
            share = share_of(part, name)
            for key, whole in zip(wanted[full_name], stored[full_name], strict=True):
                if share is not None and share.dim > 0:
                    see_whole(part, whole, dtype)
                for tensor in [whole] if share is None else _own_pieces(stored[full_name], whole, share):
                    filled = parameter[first : first + len(tensor)].copy_(tensor)
                    _check_range(checkpoint.path, key, tensor, filled)
                    first += len(tensor)
                completed += whole.nbytes
                report(completed, total)
            setattr(part, name, nn.Parameter(parameter, requires_grad=False))
        if own:
            after_tensor(part)
    for name, buffer in list(module.named_buffers()):
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, buffer.to(device))


def stored_shapes(module: nn.Module, keys: KeyMap = NO_RULES) -> dict[str, dict[str, tuple[int, ...]]]:
    """For each parameter, the keys of the tensors that fill it, in their order, and their shapes."""
    wanted = {}
    for name, parameter in module.named_parameters():
        stored = keys.keys(name)
        owner = module.get_submodule(name.rpartition(".")[0])
        shape = _whole_shape(owner, name, parameter)
        sizes = cast(Merged, owner).part_sizes if len(stored) > 1 else (shape[0],)
        wanted[name] = {key: (size, *shape[1:]) for key, size in zip(stored, sizes, strict=True)}
    return wanted


def parameter_count(module: nn.Module) -> int:
    """Numbers in all parameters of a module, loaded or not; of a split one with those of the other ranks."""
    return sum(
        prod(_whole_shape(part, name, parameter))
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False)
    )


def _whole_shape(owner: nn.Module, name: str, parameter: Tensor) -> tuple[int, ...]:
    """Of a parameter as the file has it. name: with or without that of its owner."""
    share = share_of(owner, name.rpartition(".")[2])
    shape = tuple(parameter.shape)
    return shape if share is None else share.whole_shape(shape)


def _own_pieces(stored: list[Tensor], tensor: Tensor, share: Share) -> Iterator[Tensor]:
    """Views of what belongs to the share, so that nothing else is read from the disk. tensor: one of `stored`."""
    if share.dim > 0:
        for first, end in share.pieces():
            yield tensor.narrow(share.dim, first, end - first)
        return
    start = sum(len(other) for other in stored[: next(k for k, other in enumerate(stored) if other is tensor)])
    for first, end in share.pieces():
        own_first, own_end = max(first - start, 0), min(end - start, len(tensor))
        if own_first < own_end:
            yield tensor[own_first:own_end]


class _SkipInitialisation(TorchFunctionMode):
    """Random initial values on the meta device would import TorchDynamo, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, first_line(error)) from error


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if _MAXIMAL_HEADER_BYTES < header_bytes <= path.stat().st_size:
        raise WorkerError(
            "checkpoint",
            f"{path} was refused: its header has {header_bytes} bytes; expected at most {_MAXIMAL_HEADER_BYTES}, which "
            f"is room for more than 100,000 tensors.",
        )


def _check_keys(checkpoint: Checkpoint, expected: Collection[str], keys: KeyMap) -> None:
    missing = [key for key in expected if key not in checkpoint.tensors]
    if missing:
        raise _lacks_keys(checkpoint, missing)
    unexpected = [key for key in checkpoint.tensors if key not in expected and not keys.passes_over(key)]
    if unexpected:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} holds {len(unexpected)} tensors that this model has no place for: "
            f"{listed(unexpected)}. It belongs to another architecture.",
        )


def _check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]], tensors: Iterable[Tensor]) -> None:
    for (key, shape), tensor in zip(expected.items(), tensors, strict=True):
        if tuple(tensor.shape) != shape:
            raise WorkerError(
                "checkpoint",
                f"{path}: the tensor {key} has the shape {list(tensor.shape)}; this model needs {list(shape)}. The "
                f"file belongs to a model of another size, or its configuration is wrong.",
            )


def _check_range(path: Path, key: str, stored: Tensor, cast: Tensor) -> None:
    """Raises `checkpoint` for numbers that float16 makes infinite: no other type that is used has so small a range."""
    if cast.dtype != torch.float16 or stored.dtype == torch.float16:
        return
    lost = cast.isinf().cpu() & stored.isfinite()
    if lost.any():
        raise WorkerError(
            "checkpoint",
            f"{path} cannot be loaded as float16: {int(lost.sum())} numbers of the tensor {key} are beyond its range "
            f"of 65504, the largest is {float(stored[lost].abs().max()):.6g}. Use the dtype bfloat16 or float32.",
        )


def _lacks_keys(checkpoint: Checkpoint, missing: list[str]) -> WorkerError:
    elsewhere = missing_under_other_names(checkpoint.tensors, missing)
    return WorkerError(
        "checkpoint",
        f"{checkpoint.path} lacks {len(missing)} tensors that this model needs: {listed(missing)}; it holds "
        f"{len(checkpoint.tensors)} others: {listed(list(checkpoint.tensors))}."
        f"{elsewhere or ' It belongs to another architecture or is incomplete.'}",
    )
