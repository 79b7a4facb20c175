"""What Liquid makes of a prompt, and its official settings.

Facts: `evaluation/inference_t2i.py` of FoundationVision/Liquid.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.liquid.files import KEYS, Files
from zipar_worker.families.llama_config import check_positions
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.chameleon_files import square_grid, stored_decoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "liquid"
MAXIMAL_PROMPT_TOKENS = 512
"""Of the conditional branch, the instruction included. The limit is ours, so that the cache has a size."""

_GUIDANCE_SCALE = 7.0
_TEMPERATURE = 0.99
_TOP_K = 4096
_TOP_P = 0.96
_WINDOW = 8
"""A quarter of a row; none is published for Liquid."""


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where the model knows too few positions for its images."""
    config, tokenizer, code_ids = files.config, files.tokenizer, files.code_ids
    grids = (square_grid(files.image_tokenizer),)
    check_positions(files.config_path, config, MAXIMAL_PROMPT_TOKENS + grid_slots(grids[0], "none"))
    with without_weights():
        transformer = TokenTransformer(
            replace(config.decoder, norms_add_one=True),
            config.vocab_size,
            config.rope_theta,
            code_ids,
            embedding_scale=config.hidden_size**0.5,
        )

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        return [tokenizer.conditional(text.prompt), tokenizer.unconditional()]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="none",
        code_count=len(code_ids),
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(
            len(code_ids),
            grids,
            guidance_scale=_GUIDANCE_SCALE,
            temperature=_TEMPERATURE,
            top_k=_TOP_K,
            top_p=_TOP_P,
            window=_WINDOW,
        ),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, tokenizer.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, KEYS, adapt_tokens(code_ids, config.vocab_size)),
        image_tokenizer=stored_decoder(files.image_tokenizer),
    )
