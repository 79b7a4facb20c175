"""Executes what TypeScript planned, with PyTorch. Knows no schedule and no model family.

A forward keeps the device busy without waiting for it until the one read-back at its end.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from zipar_worker.devices import (
    DTYPES,
    check_memory,
    describe_device,
    naming_memory,
    resolve_device,
    resolve_dtype,
)
from zipar_worker.errors import WorkerError
from zipar_worker.executor_interface import (
    Array,
    EncodedPrompt,
    ForwardResult,
    Loaded,
    ProgressReporter,
    Stats,
    view_as,
)
from zipar_worker.families import load_family
from zipar_worker.families.family import Family
from zipar_worker.forward_batch import ForwardBatch
from zipar_worker.kv_cache import KvCache, stored_slots
from zipar_worker.locality import LocalityReduction, SlotGrid
from zipar_worker.protocol import EncodePrompt, Forward, Init, Profile
from zipar_worker.sampling import FilterSettings, draw_at_quantiles, filtered_weights, guide, normalised
from zipar_worker.step_layout import HeldPrompt, Padding, StepLayout, StepTensors, lay_out_step, upload
from zipar_worker.visibility import visible_slots

_CUDA_PADDING = Padding(queries=4, keys=64, runs=4)


class TorchExecutor:
    """The `Executor` of real checkpoints. Owns the model, the K/V pool and the prompts of the live sequences."""

    _family: Family
    _cache: KvCache
    _device: torch.device
    _padding: Padding

    def __init__(self) -> None:
        self._held: dict[int, HeldPrompt] = {}

    @torch.inference_mode()
    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        device = resolve_device(request.device)
        dtype = resolve_dtype(request.dtype, device)
        model = request.model
        with naming_memory("the weights", device):
            family = load_family(
                Path(model.path),
                vq_path=Path(model.vq_path) if model.vq_path else None,
                size=(model.size.width, model.size.height) if model.size else None,
                dtype=DTYPES[dtype],
                device=device,
                report=report,
            )
        self.adopt(family, DTYPES[dtype], device, request.cache_row_count)
        return Loaded(
            card=family.card,
            device=describe_device(device),
            dtype=dtype,
            cache_row_count=request.cache_row_count,
            slot_count=family.slot_count,
        )

    def adopt(self, family: Family, dtype: torch.dtype, device: torch.device, cache_row_count: int) -> None:
        """Allocates the K/V pool for a loaded family and serves it from now on."""
        what = f"a K/V cache of {cache_row_count} rows with {family.slot_count} slots"
        padding = _CUDA_PADDING if device.type == "cuda" else Padding()
        row_slots = stored_slots(family.slot_count, padding.keys)
        check_memory(what, cache_row_count * row_slots * family.kv_shape.bytes_per_slot(dtype), device)
        with naming_memory(what, device):
            self._cache = KvCache(family.kv_shape, cache_row_count, family.slot_count, dtype, device, padding.keys)
        self._family = family
        self._device = device
        self._padding = padding

    @torch.inference_mode()
    def encode_prompt(self, request: EncodePrompt) -> EncodedPrompt:
        prompt = self._family.encode_prompt(request)
        self._held[request.sequence] = HeldPrompt(prompt, request.cache_rows)
        return EncodedPrompt(prompt.length, prompt.branches)

    @torch.inference_mode()
    def forward(self, request: Forward, batch: ForwardBatch) -> ForwardResult:
        layout = lay_out_step(request, batch, self._held, self._cache.trash_slot, self._padding)
        with naming_memory(f"a forward of {len(layout.cache_rows)} x {layout.query_count} queries", self._device):
            outcome = self.run(layout)
            return _read_back(layout, outcome)

    def run(self, layout: StepLayout) -> Tensor:
        """All device work of a forward; the result is what `_read_back` copies to the host."""
        step = upload(layout, self._device)
        embeddings = self._embed(layout, step)
        mask = visible_slots(
            step.slots,
            step.position_offsets,
            step.runs,
            key_count=layout.key_count,
            trash_slot=self._cache.trash_slot,
        )
        cache = self._cache.open_step(layout.cache_rows, step.cache_rows, step.slots, layout.key_count)
        hidden = self._family.transform(embeddings, step.positions, mask, cache)
        if layout.wanted_count == 0:
            return hidden.new_empty(0, dtype=torch.float32)
        logits = self._family.logits(hidden.flatten(0, 1).index_select(0, step.logit_rows))
        conditional, unconditional = logits[: layout.wanted_count], logits.index_select(0, step.unconditional)
        return _choose(layout, step, guide(conditional, unconditional, step.guidance_scales.float()))

    @torch.inference_mode()
    def decode_image(self, codes: Array) -> Array:
        rows, columns = codes.shape
        if self._family.card.image_decoder is None:
            raise WorkerError(
                "bad-request",
                "decode-image: this checkpoint has no image tokenizer. Put its file beside the weights or give its "
                "path (`--vq FILE`), or generate tokens only.",
            )
        with naming_memory(f"the decoding of {rows} x {columns} tokens", self._device):
            tokens = torch.tensor(codes.data.tolist(), dtype=torch.int64).view(rows, columns).to(self._device)
            pixels = self._family.decode_image(tokens)
            levels = ((pixels.float().clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5).to(torch.uint8).cpu()
        height, width, channels = levels.shape
        data = bytearray(levels.numel())
        torch.frombuffer(data, dtype=torch.uint8).copy_(levels.flatten())
        return Array("pixels", "uint8", (height, width, channels), view_as(data, "uint8"))

    @torch.inference_mode()
    def profile(self, request: Profile, codes: Array) -> Sequence[Array]:
        prompt = self._held[request.sequence].prompt
        rows, columns = codes.shape
        grid = SlotGrid(rows, columns, prompt.length, has_row_ends=self._family.card.row_end == "token")
        tokens = torch.tensor(codes.data.tolist(), dtype=torch.int64).view(rows, columns).to(self._device)
        if grid.has_row_ends:
            tokens = functional.pad(tokens, (0, 1), value=self._family.card.code_count)
        slots = torch.arange(grid.slot_count, device=self._device)
        padding = prompt.branches[0].position_offset
        positions = (slots - padding).clamp(min=0)
        with naming_memory(f"the attention of {grid.slot_count} slots", self._device):
            embeddings = torch.cat((prompt.embeddings[:1], self._family.embed(tokens.view(1, -1))), dim=1)
            reduction = LocalityReduction(grid, self._family.layer_count, self._family.head_count, self._device)
            for block in self._family.attention_blocks(embeddings, positions[None], padding):
                reduction.add_(block)
            return reduction.arrays()

    def release(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            del self._held[sequence]

    def stats(self) -> Stats:
        return Stats(torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else None)

    def _embed(self, layout: StepLayout, step: StepTensors) -> Tensor:
        """[B, Q, dim]: embeddings of the tokens, and of the held prompts for queries in their slots."""
        embeddings = self._family.embed(step.tokens)
        if layout.prompt_query_count:
            prompts = torch.cat([prompt.flatten(0, 1) for prompt in layout.prompts])
            fed = prompts.index_select(0, step.prompt_sources)
            embeddings.flatten(0, 1).index_copy_(0, step.prompt_destinations, fed)
        return embeddings


def _choose(layout: StepLayout, step: StepTensors, logits: Tensor) -> Tensor:
    """Filter and draw. logits: float32 [W, V] -> everything the host wants to know, as one float32 array of bits.

    First float64 values: W flags that say whether the logits are finite, D tokens, D probabilities; then the float32
    probabilities of the distributions, [N, V].
    """
    settings = FilterSettings(
        temperatures=step.temperatures,
        top_k=step.top_k,
        top_p=step.top_p,
        largest_top_k=layout.largest_top_k,
        same_top_k=layout.same_top_k,
        some_top_p=layout.some_top_p,
        some_greedy=layout.some_greedy,
        all_greedy=layout.all_greedy,
    )
    weights = filtered_weights(logits, settings)
    tokens, probabilities = draw_at_quantiles(weights.index_select(0, step.draws), step.uniforms)
    finite = logits.isfinite().all(dim=-1)
    head = torch.cat((finite.double(), tokens.double(), probabilities)).view(torch.float32)
    distributions = normalised(weights.index_select(0, step.distributions))
    return torch.cat((head, distributions.flatten()))


def _read_back(layout: StepLayout, outcome: Tensor) -> ForwardResult:
    """The one copy to the host. Raises `checkpoint` where the model gave no numbers."""
    host = outcome.cpu()
    wanted_count, draw_count = layout.wanted_count, layout.draw_count
    head_size = 2 * (wanted_count + 2 * draw_count)
    head = host[:head_size].view(torch.float64).tolist()
    if not all(head[:wanted_count]):
        raise WorkerError(
            "checkpoint",
            "The model gave logits that are not finite numbers. Its weights are damaged, or they overflow in float16: "
            "use bfloat16 or float32.",
        )
    tokens = array("i", [int(token) for token in head[wanted_count : wanted_count + draw_count]])
    probabilities = array("f", head[wanted_count + draw_count :])
    lengths, distribution_tokens, distribution_probabilities = array("i"), array("i"), array("f")
    if layout.distribution_count:
        for distribution in host[head_size:].view(layout.distribution_count, -1):
            kept = distribution.nonzero()[:, 0]
            lengths.append(len(kept))
            distribution_tokens.extend(kept.tolist())
            distribution_probabilities.extend(distribution[kept].tolist())
    return ForwardResult(
        drawn_tokens=memoryview(tokens),
        drawn_probabilities=memoryview(probabilities),
        distribution_lengths=memoryview(lengths),
        distribution_tokens=memoryview(distribution_tokens),
        distribution_probabilities=memoryview(distribution_probabilities),
    )
