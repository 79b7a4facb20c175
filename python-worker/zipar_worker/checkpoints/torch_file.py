"""Reads a file of `torch.save` without executing anything in it, in time and memory that its size bounds."""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import BinaryIO

import torch

from zipar_worker.checkpoints.file_kind import damaged
from zipar_worker.checkpoints.pickle_scan import MAXIMAL_BYTES, Scan, scan_pickle
from zipar_worker.errors import WorkerError, first_line, listed

_LEGACY_PICKLES = 5
"""Magic number, version of the protocol, sizes of numbers, the content, the keys of its storages; then the storages."""


def read_torch_file(path: Path, *, is_zip: bool) -> object:
    """The content, its tensors mapped from the disk where the format allows. Raises `checkpoint`."""
    try:
        scans = [_scan_archive(path)] if is_zip else _scan_legacy(path)
        refuse_objects(path, scans)
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            # A file in the format before PyTorch 1.6 cannot be mapped, and PyTorch reads whatever ends like this as
            # safetensors.
            is_mapped = is_zip and path.suffix != ".safetensors"
            return torch.load(path if is_mapped else file, map_location="cpu", weights_only=True, mmap=is_mapped)
    except UnpicklingError as error:
        # PyTorch's message advises to load the file without the protection, so it is not passed on.
        raise damaged(path, "it is no pickle of tensors, or was not saved with the usual pickle protocol 2") from error
    except (
        *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError),
        *(zipfile.BadZipFile, NotImplementedError, MemoryError, RecursionError),
    ) as error:
        raise damaged(path, first_line(error) or type(error).__name__) from error


def _scan_archive(path: Path) -> Scan:
    with zipfile.ZipFile(path) as archive:
        content = pickle_of(path, archive)
        if is_program(archive):
            raise WorkerError(
                "checkpoint",
                f"{path} is a TorchScript program, which holds code. Nothing in it was executed. Save the weights "
                f"alone: `torch.save(model.state_dict(), file)`.",
            )
    return scan_pickle(io.BytesIO(content))


def pickle_of(path: Path, archive: zipfile.ZipFile) -> bytes:
    """What says which tensors an archive of PyTorch's holds. Raises `checkpoint` for an archive of another form."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _of_another_kind(path, names)
    if len(set(names)) < len(names):
        raise WorkerError("checkpoint", f"{path} was refused: its archive holds a name twice.")
    # The code of a program is compressed, but is never read.
    stored = [entry for entry in entries if "/code/" not in entry.filename]
    packed = next((entry.filename for entry in stored if entry.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise WorkerError(
            "checkpoint",
            f"{path} was refused: {packed} within it is compressed, which `torch.save` never does. Save the "
            f"weights again with `torch.save`, or download the file again.",
        )
    if pickles[0].file_size > MAXIMAL_BYTES:
        raise _too_large(path)
    return archive.read(pickles[0])


def is_program(archive: zipfile.ZipFile) -> bool:
    """Whether it is TorchScript, not what `torch.save` writes of tensors."""
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _scan_legacy(path: Path) -> list[Scan]:
    with path.open("rb") as file:
        head: BinaryIO = io.BytesIO(file.read(MAXIMAL_BYTES))
    scans = []
    for _ in range(_LEGACY_PICKLES):
        try:
            scans.append(scan_pickle(head))
        except ValueError:
            if path.stat().st_size > MAXIMAL_BYTES:
                raise _too_large(path) from None
            if not scans:
                raise
            break  # what was found says enough, or PyTorch will
    return scans


def refuse_objects(path: Path, scans: list[Scan]) -> None:
    """Raises `checkpoint` where a pickle holds what weights do not need."""
    refused = [name for scan in scans for name in scan.refused]
    if refused:
        dangerous = next((scan.dangerous for scan in scans if scan.dangerous is not None), None)
        raise _holds_objects(path, refused, dangerous)
    oddity = next((scan.oddity for scan in scans if scan.oddity is not None), None)
    if oddity is not None:
        raise WorkerError(
            "checkpoint",
            f"{path} was refused: it is nothing that `torch.save` writes of weights, as {oddity}. Nothing in it was "
            f"executed. Get the weights from a source that you trust, if possible as .safetensors.",
            {"reason": oddity},
        )


def _holds_objects(path: Path, refused: list[str], dangerous: str | None) -> WorkerError:
    if dangerous is not None:
        return WorkerError(
            "checkpoint",
            f"{path} was refused: besides weights it holds the Python object {dangerous}, which runs code where it is "
            f"loaded. No training leaves that: the file is an attack or was tampered with. Nothing in it was executed. "
            f"Get the weights from a source that you trust, if possible as .safetensors.",
            {"object": dangerous},
        )
    strip = (
        f"""python -c "import torch; torch.save(torch.load({str(path)!r}, map_location='cpu', weights_only=False)"""
        """['model'], 'weights.pt')\""""
    )
    return WorkerError(
        "checkpoint",
        f"{path} was refused: besides weights it holds the Python objects {listed(refused)}, such as training programs "
        f"save with their settings and results. None of them is made here, since that can run code from a file. "
        f"Nothing in it was executed. Of a file that you made yourself, this writes the weights alone: {strip} (or "
        f"another name than 'model' under which it keeps them). Never run it on a file of somebody else.",
        {"object": refused[0]},
    )


def _of_another_kind(path: Path, names: list[str]) -> WorkerError:
    arrays = all(name.endswith(".npy") for name in names) and names
    what = "of NumPy arrays" if arrays else f"of other files: {listed(names)}" if names else "of nothing"
    remedy = "save them with `torch.save` or safetensors" if arrays else "if the weights are in it, unpack it"
    return WorkerError(
        "checkpoint",
        f"{path} is of another kind: it is a zip archive {what}. Expected weights in a .safetensors file or one of "
        f"`torch.save`: {remedy}.",
    )


def _too_large(path: Path) -> WorkerError:
    return WorkerError(
        "checkpoint",
        f"{path} was refused: besides its tensors it holds more than {MAXIMAL_BYTES >> 20} MiB of Python values. Save "
        f"the weights alone: `torch.save(model.state_dict(), file)`.",
    )
