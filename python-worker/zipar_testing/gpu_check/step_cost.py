"""What a forward of a model reads and what the model takes, as far as sizes alone say it."""

from __future__ import annotations

from torch import nn

from zipar_testing.gpu_check.random_models import Served


def weight_bytes_read(served: Served) -> int:
    """Bytes of the weights that every forward reads: of a table of embeddings it reads a few rows."""
    transformer = served.executor._family.transformer
    tables = {id(part.weight) for part in transformer.modules() if isinstance(part, nn.Embedding)}
    return sum(parameter.nbytes for parameter in transformer.parameters() if id(parameter) not in tables)


def kv_bytes_read(served: Served, visible_slots: int, branch_count: int) -> int:
    """Bytes of the keys and values of the slots that queries see."""
    return visible_slots * branch_count * served.card.kv_bytes_per_slot


def memory_estimate(served: Served) -> int:
    """Bytes, as `zipar info` gives them for one image: weights, and its keys and values."""
    description, cache = served.executor._description, served.executor._cache
    row_bytes = cache.stored_slot_count * description.card.kv_bytes_per_slot
    return sum(description.weight_bytes.values()) + description.branch_count * row_bytes
