"""What Janus makes of a prompt, and its official settings.

Facts: `generation_inference.py` of deepseek-ai/Janus.
"""

from __future__ import annotations

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.janus.files import Files
from zipar_worker.families.janus.transformer import JanusTransformer
from zipar_worker.families.model import OpenedModel, Stored, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.vq.llamagen import LlamaGenVQDecoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "janus"

MAX_PROMPT_TOKENS = 512
"""Ours: the official code has no limit, but every token of it costs K/V in every branch of every image."""

_GUIDANCE_SCALE = 5.0
# No published window is known for Janus. LlamaGen's at the same grid, 24 x 24, over the same image tokenizer is 8.
_WINDOW = 8


def model_of(files: Files) -> OpenedModel:
    config, tokenizer = files.config, files.tokenizer
    with without_weights():
        transformer = JanusTransformer(config)
        image_decoder = LlamaGenVQDecoder(files.image_tokenizer)
    side = config.side
    grids = (pixel_grid(side, side, image_decoder.pixels_per_token),)
    longest_prompt = min(MAX_PROMPT_TOKENS, config.language.max_position_embeddings - side * side)

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        # Equally long: the padding of the unconditional branch is attended to, so none of it is left padding.
        ids = tokenizer.encode(text.prompt)
        return [ids, tokenizer.without_condition(ids)]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="none",
        code_count=config.code_count,
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=longest_prompt),
        defaults=sampling_defaults(config.code_count, grids, guidance_scale=_GUIDANCE_SCALE, top_k=0, window=_WINDOW),
        prompt_slots=longest_prompt,
        prompts=TokenPrompts(
            branch_ids, longest_prompt, tokenizer.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, config.keys),
        image_tokenizer=Stored(image_decoder, files.checkpoint, config.image_tokenizer_keys),
    )
