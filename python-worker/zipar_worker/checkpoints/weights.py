"""Opens weights files without ever executing what is in them, and moves their tensors into a module.

`.safetensors` files hold no code. Everything else is read by `torch.load(weights_only=True)`, whose unpickler builds
tensors, containers and the allow-listed `argparse.Namespace` of training files, and refuses the rest.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol, TypeAlias, cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.errors import WorkerError

HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

WRAPPINGS = ("model", "module", "state_dict")
"""Keys under which training code stores the weights, in the order in which the official code looks for them."""

_LISTED_KEYS = 4
_REFUSED_OBJECT = re.compile(r"unsupported (?:global|class)\W+(?:global )?([\w.]+)", re.IGNORECASE)


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

    def renamed(self, rename: Callable[[str], str | None]) -> Checkpoint:
        """The same tensors under other names; those renamed to None are left out."""
        names = {name: rename(name) for name in self.tensors}
        return Checkpoint(self.path, {new: self.tensors[old] for old, new in names.items() if new is not None})

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises `checkpoint` where the file lacks the tensor."""
        if name not in self.tensors:
            raise _lacks_keys(self, [name])
        return tuple(self.tensors[name].shape)


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a weights file, or a directory in the layout of the Hugging Face hub: one file, or shards and their index.

    Raises `checkpoint` where something is missing, damaged, or anything but weights.
    """
    if path.is_dir():
        return _open_directory(path)
    if not path.is_file():
        raise WorkerError(
            "checkpoint", f"The weights file {path} does not exist. Give the path of a .pt or .safetensors file."
        )
    if path.suffix == ".safetensors":
        return Checkpoint(path, _read_safetensors(path))
    return Checkpoint(path, _unwrap(path, _read_torch_file(path)))


def _open_directory(directory: Path) -> Checkpoint:
    for name in HUB_WEIGHTS:
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _open_shards(directory, index)
        if (directory / name).is_file():
            return open_checkpoint(directory / name)
    raise WorkerError(
        "checkpoint",
        f"The directory {directory} holds no weights: expected {' or '.join(HUB_WEIGHTS)}, or the index of their "
        f"shards (such as {HUB_WEIGHTS[0]}.index.json).",
    )


def _open_shards(directory: Path, index: Path) -> Checkpoint:
    try:
        places: dict[str, str] = msgspec.json.decode(index.read_bytes(), type=_ShardIndex).weight_map
    except (msgspec.MsgspecError, UnicodeError, OSError) as error:
        raise WorkerError("checkpoint", f"{index} is no index of shards: {error}.") from error
    shards = {name: open_checkpoint(_shard_path(directory, index, name)) for name in sorted(set(places.values()))}
    lacking = [key for key, name in places.items() if key not in shards[name].tensors]
    if lacking:
        raise WorkerError(
            "checkpoint",
            f"{index} says that {places[lacking[0]]} holds {_listed(lacking)}, but it does not. The shards and the "
            f"index do not belong together; download them again.",
        )
    tensors = {key: tensor for shard in shards.values() for key, tensor in shard.tensors.items()}
    return Checkpoint(directory, tensors)


def _shard_path(directory: Path, index: Path, name: str) -> Path:
    """Raises `checkpoint` for a shard that lies elsewhere or is not there."""
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise WorkerError("checkpoint", f"{index} names the shard {name!r}; expected a file name without folders.")
    if not (directory / name).is_file():
        raise WorkerError(
            "checkpoint", f"The shard {name}, which {index} names, is missing. Download it to {directory}."
        )
    return directory / name


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
    after_tensor: Callable[[nn.Module], None] = lambda owner: None,
) -> None:
    """Fills a module, typically one built `without_weights`, with the tensors of a file, cast and moved.

    `keys` says what the file calls them. One key may fill several parameters, and several keys one parameter of a
    module that is `Merged`. `adapt` works without copying where that can be. `after_tensor` sees each part of the
    module as soon as its own tensors are there. Raises `checkpoint` where keys are missing or left over, or shapes do
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
            for tensor in stored[f"{prefix}.{name}" if prefix else name]:
                parameter[first : first + len(tensor)].copy_(tensor)
                first += len(tensor)
                completed += tensor.nbytes
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
        sizes = cast(Merged, owner).part_sizes if len(stored) > 1 else (parameter.shape[0],)
        wanted[name] = {key: (size, *parameter.shape[1:]) for key, size in zip(stored, sizes, strict=True)}
    return wanted


def parameter_count(module: nn.Module) -> int:
    """Numbers in all parameters of a module, loaded or not."""
    return sum(parameter.numel() for parameter in module.parameters())


class _SkipInitialisation(TorchFunctionMode):
    """Random initial values on the meta device would import TorchDynamo, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise _damaged(path, _first_line(error)) from error


def _read_torch_file(path: Path) -> object:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return _load_mapped(path)
    except UnpicklingError as error:
        refused = _REFUSED_OBJECT.search(str(error))
        if refused is None:
            # PyTorch's message advises to load the file without the protection, so it is not passed on.
            raise _damaged(path, "it is no pickle of tensors") from error
        raise WorkerError(
            "checkpoint",
            f"{path} was refused: besides weights it holds the Python object {refused[1]}, and loading such objects "
            f"can run code from the file. Expected tensors in dictionaries, as `torch.save(model.state_dict(), file)` "
            f"writes them. Nothing in it was executed. Get the weights from a source that you trust, if possible as "
            f".safetensors.",
            {"object": refused[1]},
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(path, _first_line(error)) from error


def _load_mapped(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
    # A file in the format before PyTorch 1.6, which cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    """The state dictionary within a torch file, under one of the wrappings or at the top."""
    if isinstance(content, dict):
        candidates: list[Any] = [content[key] for key in WRAPPINGS if isinstance(content.get(key), dict)]
        for candidate in [*candidates, content]:
            tensors = {key: value for key, value in candidate.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
    keys = f"the keys {_listed([str(key) for key in content])}" if isinstance(content, dict) else type(content).__name__
    raise WorkerError(
        "checkpoint",
        f"{path} holds no weights: expected a dictionary of tensors, at the top or under one of "
        f"{', '.join(WRAPPINGS)}; received {keys}.",
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
            f"{_listed(unexpected)}. It belongs to another architecture.",
        )


def _check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]], tensors: Iterable[Tensor]) -> None:
    for (key, shape), tensor in zip(expected.items(), tensors, strict=True):
        if tuple(tensor.shape) != shape:
            raise WorkerError(
                "checkpoint",
                f"{path}: the tensor {key} has the shape {list(tensor.shape)}; this model needs {list(shape)}. The "
                f"file belongs to a model of another size, or its configuration is wrong.",
            )


def _lacks_keys(checkpoint: Checkpoint, missing: Collection[str]) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{checkpoint.path} lacks {len(missing)} tensors that this model needs: {_listed(missing)}; it holds "
        f"{len(checkpoint.tensors)} others: {_listed(list(checkpoint.tensors))}. "
        f"It belongs to another architecture or is incomplete.",
    )


def _damaged(path: Path, reason: str) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{path} cannot be read as a weights file ({path.stat().st_size} bytes): it is damaged, was not downloaded "
        f"completely, or is of another kind. Download it again and compare its size with the source's.",
        {"reason": reason},
    )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_LISTED_KEYS])
    return f"{shown}, ..." if len(names) > _LISTED_KEYS else shown


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
