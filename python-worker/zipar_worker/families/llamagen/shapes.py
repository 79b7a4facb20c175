"""What the shapes of a transformer's tensors tell of a LlamaGen checkpoint."""

from __future__ import annotations

import re

from zipar_worker.checkpoints.sidecar import SIDECAR_NAME
from zipar_worker.checkpoints.weights import Checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.llamagen.transformer import CaptionCondition, ClassCondition, LlamaGenConfig

OFFICIAL_HEADS = {
    ("B", 768, 12): 12,
    ("L", 1024, 24): 16,
    ("XL", 1280, 36): 20,
    ("XXL", 1536, 48): 24,
    ("3B", 3200, 24): 32,
}
"""Heads by (name, dim, layers): the one figure that the shapes of the tensors do not show."""


def recognise_condition(checkpoint: Checkpoint) -> ClassCondition | CaptionCondition:
    """Class or caption. Raises `checkpoint` where the tensors of neither are there."""
    if any(name.startswith(("cls_embedding.cap_proj.", "cls_embedding.uncond_")) for name in checkpoint.tensors):
        return caption_condition(checkpoint)
    embedding_count, _ = _matrix_shape(checkpoint, "cls_embedding.embedding_table.weight")
    # Only the training program knows whether the last row stands for no class.
    has_null_class = checkpoint.training.get("num_classes") != embedding_count
    if embedding_count < 1 + has_null_class:
        raise WorkerError(
            "checkpoint", f"{checkpoint.path}: the tensor cls_embedding.embedding_table.weight has no row of a class."
        )
    return ClassCondition(embedding_count - has_null_class, has_null_class=has_null_class)


def caption_condition(checkpoint: Checkpoint) -> CaptionCondition:
    """Raises `checkpoint` where the tensor that shows the sizes is missing."""
    return CaptionCondition(*_matrix_shape(checkpoint, "cls_embedding.uncond_embedding"))


def recognise_config(
    checkpoint: Checkpoint, condition: ClassCondition | CaptionCondition, grid: tuple[int, int]
) -> tuple[LlamaGenConfig, str]:
    """Configuration and name, for an official size. grid: (rows, columns). Raises `checkpoint`."""
    vocabulary_size, dim = _matrix_shape(checkpoint, "tok_embeddings.weight")
    pattern = re.compile(r"^layers\.(\d+)\.")
    layers = {match[1] for match in map(pattern.match, checkpoint.tensors) if match}
    official = next((key for key in OFFICIAL_HEADS if key[1:] == (dim, len(layers))), None)
    if official is None:
        known = ", ".join(f"{name} ({dim}, {layers})" for name, dim, layers in OFFICIAL_HEADS)
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path} has dim {dim} and {len(layers)} layers, which is none of the official (dim, layers): "
            f"{known}. Put the file into a directory with a {SIDECAR_NAME} that gives its configuration.",
        )
    head_count = OFFICIAL_HEADS[official]
    projected, _ = _matrix_shape(checkpoint, "layers.0.attention.wqkv.weight")
    kv_head_count = (projected * head_count // dim - head_count) // 2
    if kv_head_count < 1 or head_count % kv_head_count:
        raise WorkerError(
            "checkpoint",
            f"{checkpoint.path}: the tensor layers.0.attention.wqkv.weight has {projected} rows; expected {3 * dim}, "
            f"or less where {head_count} heads share K and V.",
        )
    config = LlamaGenConfig(
        dim=dim,
        layer_count=len(layers),
        head_count=head_count,
        kv_head_count=kv_head_count,
        vocabulary_size=vocabulary_size,
        condition=condition,
        rows=grid[0],
        columns=grid[1],
    )
    suffix = " text-to-image" if isinstance(condition, CaptionCondition) else ""
    return config, f"LlamaGen-{official[0]}{suffix}"


def _matrix_shape(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    shape = checkpoint.shape(name)
    if len(shape) != 2:
        raise WorkerError(
            "checkpoint", f"{checkpoint.path}: expected the tensor {name} to be a matrix, received {list(shape)}."
        )
    return shape[0], shape[1]
