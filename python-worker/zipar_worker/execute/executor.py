"""Executes what TypeScript planned, with PyTorch. Knows no schedule and no model family.

A forward keeps the device busy without waiting for it until the one read-back at its end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from zipar_worker.checkpoints.sources import resolve_model
from zipar_worker.errors import WorkerError
from zipar_worker.execute.attention import ProfileAttention
from zipar_worker.execute.contract import (
    EncodedPrompt,
    ForwardResult,
    Loaded,
    ModelDescription,
    ProgressReporter,
    SequenceFeed,
    Stats,
)
from zipar_worker.execute.cuda_capture import CudaCapture
from zipar_worker.execute.devices import (
    Placement,
    check_memory,
    describe_device,
    free_memory,
    naming_memory,
    release_unused_memory,
    resolve_device,
)
from zipar_worker.execute.dtypes import DTYPES, resolve_dtype
from zipar_worker.execute.kv_cache import KvCache, stored_slots
from zipar_worker.execute.layers import Layers
from zipar_worker.execute.linear import store_as_int8_
from zipar_worker.execute.outcome import choose, read_back
from zipar_worker.execute.profile import AttentionProfile, SlotGrid
from zipar_worker.execute.ranks import ALONE, Ranks
from zipar_worker.execute.step_graphs import Capture, StepGraphs
from zipar_worker.execute.step_layout import Step, lay_out_step
from zipar_worker.execute.step_shape import HeldPrompt, Padding, StepShape, feeds_prompt, padded, shape_of
from zipar_worker.families import companions_of, open_family
from zipar_worker.families.description import Description, OpenOptions
from zipar_worker.families.model import LoadedModel, OpenedModel
from zipar_worker.machine.threads import workers_here
from zipar_worker.wire.arrays import Array, view_as
from zipar_worker.wire.protocol import Describe, EncodePrompt, Init, ModelReference, Profile, TypeName

Result = TypeVar("Result")

CPU = torch.device("cpu")

CUDA_PADDING = Padding(queries=4, keys=64, runs=4)


class Prepared(NamedTuple):
    """A checkpoint that is about to be loaded, with a K/V cache for so many images."""

    opened: OpenedModel
    description: Description
    placement: Placement
    dtype: TypeName
    image_count: int
    wants_graphs: bool


class TorchExecutor:
    """The `Executor` of real checkpoints. Owns the model, the K/V pool and the prompts of the live sequences."""

    _family: LoadedModel
    _description: Description
    _cache: KvCache
    _layers: Layers
    _device: torch.device
    _padding: Padding
    _graphs: StepGraphs | None

    _ranks: Ranks = ALONE
    """Of which this executor is one."""

    def __init__(self) -> None:
        self._held: dict[int, HeldPrompt] = {}

    @torch.inference_mode()
    def describe(self, request: Describe, report: ProgressReporter) -> ModelDescription:
        opened, (device, warning), dtype = _open(request, report, self._ranks)
        description = opened.describe(DTYPES[dtype])
        return ModelDescription(
            card=description.card,
            device=describe_device(device),
            dtype=dtype,
            weight_bytes=description.weight_bytes,
            slot_count=description.slot_count,
            cache_bytes_per_image=description.branch_count * _cache_row_bytes(description, DTYPES[dtype], device),
            free_bytes=free_memory(device),
            warnings=_told(warning),
        )

    def init(self, request: Init, report: ProgressReporter) -> Loaded:
        return self.load(self.prepare(request, report), report)

    @torch.inference_mode()
    def prepare(self, request: Init, report: ProgressReporter) -> Prepared:
        """All that can be known before anything is loaded."""
        opened, placement, dtype = _open(request, report, self._ranks)
        description = opened.describe(DTYPES[dtype])
        image_count = _affordable_images(request, description, DTYPES[dtype], placement.device, self._ranks)
        return Prepared(opened, description, placement, dtype, image_count, request.cuda_graphs)

    @torch.inference_mode()
    def load(self, prepared: Prepared, report: ProgressReporter) -> Loaded:
        opened, description, (device, warning), type_name, image_count, wants_graphs = prepared
        dtype = DTYPES[type_name]
        with naming_memory("the weights", device):
            family = opened.load(dtype=dtype, device=device, report=report)
        cache_row_count = image_count * description.branch_count
        self.adopt(family, description, dtype, device, cache_row_count)
        warnings = _told(warning)
        if wants_graphs and device.type == "cuda" and self._ranks.count == 1:
            self.use_graphs_(partial(CudaCapture, device))
        elif wants_graphs:
            why = f"runs on {device}, which has no such graphs" if self._ranks.count == 1 else "is split over devices"
            warnings = (*warnings, f"cudaGraphs does nothing here: the model {why}.")
        return Loaded(
            card=description.card,
            device=describe_device(device),
            dtype=type_name,
            cache_row_count=cache_row_count,
            slot_count=description.slot_count,
            warnings=warnings,
        )

    def adopt(
        self,
        family: LoadedModel,
        description: Description,
        dtype: torch.dtype,
        device: torch.device,
        cache_row_count: int,
    ) -> None:
        """Allocates the K/V pool for a loaded family and serves it from now on, without graphs."""
        slot_count = description.slot_count
        with naming_memory(f"a K/V cache of {cache_row_count} rows with {slot_count} slots", device):
            slot_multiple = _padding_of(device).keys
            self._cache = KvCache(description.kv_shape, cache_row_count, slot_count, dtype, device, slot_multiple)
        self._family = family
        self._layers = Layers(family, self._cache, description.head_count)
        self._description = description
        self._device = device
        self._padding = _padding_of(device)
        self._graphs = None

    @torch.inference_mode()
    def encode_prompt(self, request: EncodePrompt) -> EncodedPrompt:
        prompt = self._family.encode_prompt(request)
        self._held[request.sequence] = HeldPrompt(prompt, request.cache_rows)
        return EncodedPrompt(prompt.length, prompt.branches, prompt.warnings)

    @torch.inference_mode()
    def forward(self, feeds: Sequence[SequenceFeed]) -> ForwardResult:
        query_count = sum(len(feed.tokens) for feed in feeds)
        with naming_memory(f"a forward of {query_count} queries in {len(feeds)} sequences", self._device):
            return self._making_room(lambda: self._forward(feeds))

    def _forward(self, feeds: Sequence[SequenceFeed]) -> ForwardResult:
        result = read_back(*self._compute(feeds))
        warnings = () if self._graphs is None else self._graphs.take_warnings_()
        return replace(result, warnings=warnings) if warnings else result

    def _compute(self, feeds: Sequence[SequenceFeed]) -> tuple[Step, Tensor]:
        """All of a forward but its read-back."""
        graphs, shape = self._graphs, shape_of(feeds, self._held)
        bucket = None if graphs is None or feeds_prompt(feeds, self._held) else graphs.bucket_of(shape)

        def lay_out(shape: StepShape) -> Step:
            return lay_out_step(feeds, self._held, shape, trash_slot=self._cache.trash_slot, device=self._device)

        def run_plainly() -> tuple[Step, Tensor]:
            step = lay_out(padded(shape, self._padding))
            return step, self._layers(step.inputs, step.prompts)

        if graphs is None or bucket is None:
            step, hidden = run_plainly()
        else:
            step = lay_out(bucket)
            replayed = graphs.replay(step.inputs)
            step, hidden = (step, replayed) if replayed is not None else graphs.first_use(step, run_plainly)
        return step, self._choose(step, hidden)

    def _choose(self, step: Step, hidden: Tensor) -> Tensor:
        """hidden: [B, Q, dim], of the step's layers; the result is for `read_back`."""
        if len(step.logit_rows) == 0:
            return hidden.new_empty(0, dtype=torch.float32)
        return choose(step, self._family.logits(hidden.flatten(0, 1).index_select(0, step.logit_rows)))

    @torch.inference_mode()
    def decode_image(self, codes: Array) -> Array:
        rows, columns = codes.shape
        if self._description.card.image_decoder is None:
            raise WorkerError(
                "bad-request",
                "decode-image: this checkpoint has no image tokenizer. Put its file beside the weights or give its "
                "path (`--vq FILE`), or generate tokens only.",
            )
        what = f"the decoding of {rows} x {columns} tokens"
        tokens = torch.tensor(codes.data.tolist(), dtype=torch.int64).view(rows, columns)
        try:
            with naming_memory(what, self._device):
                levels = self._making_room(lambda: self._pixel_levels(tokens))
        except WorkerError as error:
            # With other images at work the SDK asks again once they have ended; without there is no more room to come.
            if error.code != "out-of-memory" or self._device.type == "cpu" or self._held:
                raise
            print(f"{error.message} The image is decoded on the CPU, which takes longer.", file=sys.stderr, flush=True)
            with naming_memory(f"{what} on the CPU", CPU), self._family.image_tokenizer_on(CPU):
                levels = self._pixel_levels(tokens)
        height, width, channels = levels.shape
        data = bytearray(levels.numel())
        torch.frombuffer(data, dtype=torch.uint8).copy_(levels.flatten())
        return Array("pixels", "uint8", (height, width, channels), view_as(data, "uint8"))

    def _pixel_levels(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [rows, columns] on the CPU -> uint8 [height, width, 3] there, decoded where the decoder is."""
        pixels = self._family.decode_image(tokens)
        return ((pixels.float().clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5).to(torch.uint8).cpu()

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
            profile = AttentionProfile(grid, layers, heads, self._device)
            self._family.transform(embeddings, positions[None], ProfileAttention(branch.padding, profile.add_))
            if self._ranks.count > 1:
                profile.join_heads_(self._ranks)
            return profile.arrays()

    def use_graphs_(self, make_capture: Callable[[], Capture]) -> None:
        """From now on, for the K/V pool that there is."""
        self._graphs = StepGraphs(self._layers, self._padding, make_capture)

    def _making_room(self, run: Callable[[], Result]) -> Result:
        """Runs something that can be run again: without graphs, where there is no memory for it beside them."""
        try:
            return run()
        except torch.OutOfMemoryError:
            if self._graphs is None or not self._graphs.turn_off_("their memory is needed"):
                raise
        # Not before what failed is forgotten, with the tensors that it held.
        release_unused_memory()
        return run()

    def release(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            del self._held[sequence]

    def stats(self) -> Stats:
        return Stats(torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else None)

    def close(self) -> None:
        return


def _open(request: Init | Describe, report: ProgressReporter, ranks: Ranks) -> tuple[OpenedModel, Placement, TypeName]:
    """This rank's share of the checkpoint of a request, and where and in which number type it will run."""
    placement = resolve_device(request.device)
    model: ModelReference = request.model
    paths = resolve_model(model, companions_of(model.weights), report)
    options = OpenOptions(
        vq_path=paths.vq,
        text_encoder_path=paths.text_encoder,
        size=(model.size.width, model.size.height) if model.size else None,
        weights_key=model.weights_key,
    )
    opened = open_family(paths.weights, options)
    if request.weights == "int8":
        store_as_int8_(opened.transformer.module.decoder)
    opened = replace(opened, kv_cache=request.kv_cache)
    if ranks.count > 1:
        opened = opened.split(ranks)
    return opened, placement, resolve_dtype(request.dtype, placement.device, opened.fits_float16)


def _told(warning: str | None) -> tuple[str, ...]:
    return () if warning is None else (warning,)


def _affordable_images(
    request: Init, description: Description, dtype: torch.dtype, device: torch.device, ranks: Ranks
) -> int:
    """Images whose K/V cache will fit beside the weights. Raises `out-of-memory` before anything is loaded."""
    weight_bytes = sum(description.weight_bytes.values())
    image_bytes = description.branch_count * _cache_row_bytes(description, dtype, device)
    image_count = request.image_count
    free_bytes = free_memory(device)
    if request.fewer_images and free_bytes is not None:
        if device.type == "cpu":
            # They look at the same memory at the same time.
            free_bytes //= workers_here(os.environ)
        image_count = min(image_count, max(1, (free_bytes - weight_bytes) // image_bytes))
    check_memory(
        f"{description.card.name} in {str(dtype).removeprefix('torch.')} ({weight_bytes / 2**30:.2f} GiB of weights) "
        f"with a K/V cache for {image_count} images of {image_bytes / 2**30:.2f} GiB each",
        (weight_bytes + image_count * image_bytes) * (ranks.count if device.type == "cpu" else 1),
        device,
    )
    return image_count


def _cache_row_bytes(description: Description, dtype: torch.dtype, device: torch.device) -> int:
    stored = stored_slots(description.slot_count, _padding_of(device).keys)
    return stored * description.kv_shape.bytes_per_slot(dtype)


def _padding_of(device: torch.device) -> Padding:
    return CUDA_PADDING if device.type == "cuda" else Padding()
