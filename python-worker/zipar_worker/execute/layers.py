"""The model's part of a forward: from tokens to what the head reads. It never waits for the device."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zipar_worker.execute.attention import StepAttention
from zipar_worker.execute.kv_cache import KvCache
from zipar_worker.execute.model_inputs import ModelInputs
from zipar_worker.execute.visibility import visible_slots
from zipar_worker.families.model import LoadedModel


@dataclass(frozen=True, slots=True)
class FedPrompts:
    """embeddings: [prompt slots, dim] in the model's type; sources: int64 [P] into these, destinations: int64 [P] into
    B * Q queries.
    """

    embeddings: Tensor
    sources: Tensor
    destinations: Tensor


@dataclass(frozen=True, slots=True)
class Layers:
    """A loaded model over a K/V pool. head_count: of queries, in a layer."""

    family: LoadedModel
    cache: KvCache
    head_count: int

    def __call__(self, inputs: ModelInputs, prompts: FedPrompts | None = None) -> Tensor:
        """Writes K/V of all queries; returns what comes out of the last layer: [B, Q, dim]."""
        shape = inputs.shape
        cache = self.cache.open_step_(
            shape.cache_rows, inputs.cache_row_indices, inputs.slots, inputs.steps, shape.key_count
        )
        visible = visible_slots(
            inputs.slots,
            inputs.paddings,
            inputs.runs,
            inputs.steps,
            cache.slot_steps(),
            trash_slot=self.cache.trash_slot,
        )
        embeddings = self.family.embed(inputs.tokens)
        if prompts is not None:
            fed = prompts.embeddings.index_select(0, prompts.sources)
            embeddings.flatten(0, 1).index_copy_(0, prompts.destinations, fed)
        attention = StepAttention(cache, visible, self.head_count)
        return self.family.transform(embeddings, inputs.positions, attention)
