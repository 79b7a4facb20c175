"""`reference-features.safetensors`: what a checkpoint folder keeps of drawn pictures, to compare generated ones with.

F features, M held-out pictures. Tensors:
mean float64 [F], covariance float64 [F, F]   of many drawn pictures, all classes equally often
drawn float32 [M, F], labels int64 [M]        other drawn pictures: how far apart two sets of them are
reconstructed float32 [M, F]                  the same through the image tokenizer: the best that tokens allow
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.judge.frechet import Gaussian

REFERENCE_NAME = "reference-features.safetensors"


@dataclass(frozen=True)
class ReferenceFeatures:
    """The content of the file; see above."""

    gaussian: Gaussian
    drawn: Tensor
    reconstructed: Tensor
    labels: Tensor


def save_reference(reference: ReferenceFeatures, path: Path) -> None:
    tensors = {
        "mean": reference.gaussian.mean,
        "covariance": reference.gaussian.covariance,
        "drawn": reference.drawn,
        "reconstructed": reference.reconstructed,
        "labels": reference.labels,
    }
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)


def load_reference(path: Path, feature_count: int) -> ReferenceFeatures:
    """Raises `checkpoint` for a file of another form, or of another classifier's features."""
    try:
        tensors = load_file(path)
        reference = ReferenceFeatures(
            gaussian=Gaussian(tensors["mean"].double(), tensors["covariance"].double()),
            drawn=tensors["drawn"].float(),
            reconstructed=tensors["reconstructed"].float(),
            labels=tensors["labels"].long(),
        )
    except (SafetensorError, OSError, KeyError) as error:
        raise WorkerError("checkpoint", f"{path} cannot be used as reference features: {error}.") from error
    if reference.gaussian.covariance.shape != (feature_count, feature_count):
        raise WorkerError(
            "checkpoint",
            f"{path} describes {len(reference.gaussian.mean)} features; the classifier beside it has {feature_count}. "
            f"Make it again with `python -m zipar_demo.reference_features`.",
        )
    return reference
