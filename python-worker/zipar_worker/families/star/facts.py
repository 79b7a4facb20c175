"""What STAR makes of a prompt, and its official settings: those of README.md. Its scripts fall back on others.

Guidance is `u + s (c - u)` on logits. Facts: `star/models/model.py` and README.md of MM-MVR/STAR.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.llama_config import check_positions
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.star.files import Files
from zipar_worker.families.star.transformer import StarTransformer, star_keys
from zipar_worker.families.vq.llamagen import DECODER_KEYS, LlamaGenVQDecoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "star"

MAXIMAL_PROMPT_TOKENS = 512
"""`--max-text-tokens` of the official scripts."""

_SIDE = 24
"""Of the published models: `--vq-tokens` 576."""
_GUIDANCE_SCALE = 1.1
_TOP_K = 1000
_TOP_P = 0.8
# No published window is known for STAR. LlamaGen's at the same grid is 8.
_WINDOW = 8


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` for a size that no such model makes."""
    config, tokenizer = files.config, files.tokenizer
    inner, stacked = config.num_hidden_layers, files.stacked_layer_count
    decoder_config = replace(config.decoder, layer_count=inner + stacked, inner_layer_count=inner, has_qkv_bias=True)
    code_count = files.image_tokenizer.codebook_size
    with without_weights():
        transformer = StarTransformer(
            decoder_config, config.vocab_size, config.rope_theta, code_count, files.adapter_widths
        )
        image_decoder = LlamaGenVQDecoder(files.image_tokenizer)
    grids = (_grid(files.size, image_decoder.pixels_per_token),)
    check_positions(files.config_path, config, MAXIMAL_PROMPT_TOKENS + grid_slots(grids[0], "none"))

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        # Equally long: the padding of the unconditional branch is attended to, so none of it is left padding.
        ids = tokenizer.conditional(text.prompt)
        return [ids, tokenizer.without_condition(ids)]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="none",
        code_count=code_count,
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(
            code_count, grids, guidance_scale=_GUIDANCE_SCALE, top_k=_TOP_K, top_p=_TOP_P, window=_WINDOW
        ),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, tokenizer.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, star_keys(inner, stacked)),
        image_tokenizer=Stored(image_decoder, files.image_tokenizer_checkpoint, DECODER_KEYS),
    )


def _grid(size: tuple[int, int] | None, pixels_per_token: int) -> Grid:
    width, height = size or (_SIDE * pixels_per_token,) * 2
    if width != height or width < pixels_per_token or width % pixels_per_token:
        raise WorkerError(
            "checkpoint",
            f"{width} x {height} pixels is a size of no STAR. Expected a square in steps of {pixels_per_token} pixels; "
            f"the published models were trained for {_SIDE * pixels_per_token}.",
        )
    side = width // pixels_per_token
    return pixel_grid(side, side, pixels_per_token)
