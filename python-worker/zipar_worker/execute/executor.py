"""Executes what TypeScript planned, with PyTorch. Knows no schedule and no model family.

A forward keeps the device busy without waiting for it until the one read-back at its end.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zipar_worker.checkpoints.sources import resolve_model
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import ProfileAttention, StepAttention
from zipar_worker.execute.contract import (
    Array,
    EncodedPrompt,
    ForwardResult,
    Loaded,
    Outline,
    ProgressReporter,
    Stats,
    view_as,
)
from zipar_worker.execute.devices import (
    DTYPES,
    TypeName,
    check_memory,
    describe_device,
    free_memory,
    naming_memory,
    resolve_device,
    resolve_dtype,
)
from zipar_worker.execute.kv_cache import KvCache, stored_slots
from zipar_worker.execute.locality import LocalityReduction, SlotGrid
from zipar_worker.execute.sampling import FilterSettings, draw_at_quantiles, filtered_weights, guide, normalised
from zipar_worker.execute.step_layout import HeldPrompt, Padding, StepLayout, StepTensors, lay_out_step, upload
from zipar_worker.execute.visibility import visible_slots
from zipar_worker.families import open_family
from zipar_worker.families.family import Description, Family, OpenedCheckpoint, OpenOptions
from zipar_worker.serve.forward_batch import ForwardBatch
from zipar_worker.wire.protocol import Describe, EncodePrompt, Forward, Init, ModelReference, Profile

_CUDA_PADDING = Padding(queries=4, keys=64, runs=4)


class TorchExecutor:
    """The `Executor` of real checkpoints. Owns the model, the K/V pool and the prompts of the live sequences."""

    _family: Family
    _description: Description
    _cache: KvCache
    _device: torch.device
    _padding: Padding

    def __init__(self) -> None:
        self._held: dict[int, HeldPrompt] = {}

    @torch.inference_mode()
    def describe(self, request: Describe, report: ProgressReporter) -> Outline:
        opened, device, dtype = _open(request, report)
        description = opened.describe(DTYPES[dtype])
        return Outline(
            card=description.card,
            device=describe_device(device),
            dtype=dtype,
            weight_bytes=description.weight_bytes,
            slot_count=description.slot_count,
            cache_bytes_per_image=description.branch_count * _cache_row_bytes(description, DTYPES[dtype], device),
            free_bytes=free_memory(device),
        )

    @torch.inference_mode()
    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        opened, device, type_name = _open(request, report)
        dtype = DTYPES[type_name]
        description = opened.describe(dtype)
        image_count = _affordable_images(request, description, dtype, device)
        with naming_memory("the weights", device):
            family = opened.load(dtype=dtype, device=device, report=report)
        cache_row_count = image_count * description.branch_count
        self.adopt(family, description, dtype, device, cache_row_count)
        return Loaded(
            card=description.card,
            device=describe_device(device),
            dtype=type_name,
            cache_row_count=cache_row_count,
            slot_count=description.slot_count,
        )

    def adopt(
        self, family: Family, description: Description, dtype: torch.dtype, device: torch.device, cache_row_count: int
    ) -> None:
        """Allocates the K/V pool for a loaded family and serves it from now on."""
        slot_count = description.slot_count
        with naming_memory(f"a K/V cache of {cache_row_count} rows with {slot_count} slots", device):
            slot_multiple = _padding_of(device).keys
            self._cache = KvCache(description.kv_shape, cache_row_count, slot_count, dtype, device, slot_multiple)
        self._family = family
        self._description = description
        self._device = device
        self._padding = _padding_of(device)

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
            step.paddings,
            step.runs,
            step.steps,
            key_count=layout.key_count,
            trash_slot=self._cache.trash_slot,
        )
        cache = self._cache.open_step(layout.cache_rows, step.cache_rows, step.slots, layout.key_count)
        hidden = self._family.transform(embeddings, step.positions, StepAttention(cache, mask))
        if layout.wanted_count == 0:
            return hidden.new_empty(0, dtype=torch.float32)
        logits = self._family.logits(hidden.flatten(0, 1).index_select(0, step.logit_rows))
        conditional, unconditional = logits[: layout.wanted_count], logits.index_select(0, step.unconditional)
        return _choose(layout, step, guide(conditional, unconditional, step.guidance_scales.float()))

    @torch.inference_mode()
    def decode_image(self, codes: Array) -> Array:
        rows, columns = codes.shape
        if self._description.card.image_decoder is None:
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
        grid = SlotGrid(rows, columns, prompt.length, has_row_ends=self._description.card.row_end == "token")
        tokens = torch.tensor(codes.data.tolist(), dtype=torch.int64).view(rows, columns).to(self._device)
        if grid.has_row_ends:
            tokens = functional.pad(tokens, (0, 1), value=self._description.card.code_count)
        slots = torch.arange(grid.slot_count, device=self._device)
        branch = prompt.branches[0]
        positions = (slots - branch.position_offset).clamp(min=0)
        with naming_memory(f"the attention of {grid.slot_count} slots", self._device):
            embeddings = torch.cat((prompt.embeddings[:1], self._family.embed(tokens.view(1, -1))), dim=1)
            description = self._description
            layers, heads = description.kv_shape.layer_count, description.head_count
            reduction = LocalityReduction(grid, layers, heads, self._device)
            self._family.transform(embeddings, positions[None], ProfileAttention(branch.padding, reduction.add_))
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


def _open(request: Init | Describe, report: ProgressReporter) -> tuple[OpenedCheckpoint, torch.device, TypeName]:
    """The checkpoint of a request, and where and in which number type it will run."""
    device = resolve_device(request.device)
    dtype = resolve_dtype(request.dtype, device)
    model: ModelReference = request.model
    paths = resolve_model(model, report)
    options = OpenOptions(
        vq_path=paths.vq,
        text_encoder_path=paths.text_encoder,
        size=(model.size.width, model.size.height) if model.size else None,
    )
    return open_family(paths.weights, options), device, dtype


def _affordable_images(request: Init, description: Description, dtype: torch.dtype, device: torch.device) -> int:
    """Images whose K/V cache will fit beside the weights. Raises `out-of-memory` before anything is loaded."""
    weight_bytes = sum(description.weight_bytes.values())
    image_bytes = description.branch_count * _cache_row_bytes(description, dtype, device)
    image_count = request.image_count
    free_bytes = free_memory(device)
    if request.fewer_images and free_bytes is not None:
        image_count = min(image_count, max(1, (free_bytes - weight_bytes) // image_bytes))
    check_memory(
        f"{description.card.name} in {str(dtype).removeprefix('torch.')} ({weight_bytes / 2**30:.2f} GiB of weights) "
        f"with a K/V cache for {image_count} images of {image_bytes / 2**30:.2f} GiB each",
        weight_bytes + image_count * image_bytes,
        device,
    )
    return image_count


def _cache_row_bytes(description: Description, dtype: torch.dtype, device: torch.device) -> int:
    stored = stored_slots(description.slot_count, _padding_of(device).keys)
    return stored * description.kv_shape.bytes_per_slot(dtype)


def _padding_of(device: torch.device) -> Padding:
    return _CUDA_PADDING if device.type == "cuda" else Padding()


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
