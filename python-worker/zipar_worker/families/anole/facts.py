"""What Anole makes of a prompt, and its official settings.

Facts: `text2image.py` and `Options` of `chameleon/inference/chameleon.py` of GAIR-NLP/anole.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.families.anole.files import Files
from zipar_worker.families.llama_config import check_positions
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.chameleon_files import square_grid, stored_decoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "anole"
MAXIMAL_PROMPT_TOKENS = 512
"""Of the conditional branch, all that stands around the words included. The limit is ours: the cache has a size."""

_GUIDANCE_SCALE = 3.0
_TEMPERATURE = 0.7
_TOP_P = 0.9
_WINDOW = 8
"""A quarter of a row; none is published for Anole."""

_LICENCE = "Chameleon Research License, for noncommercial research alone"
"""What the official README says. Pages of the hub say Apache 2.0, which is not Anole's to give."""


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where the model knows too few positions for its images."""
    config, tokenizer, codes = files.config, files.tokenizer, files.tokenizer.codes
    grids = (square_grid(files.image_tokenizer),)
    check_positions(files.config_path, config, MAXIMAL_PROMPT_TOKENS + grid_slots(grids[0], "none"))
    decoder_config = replace(
        config.decoder,
        head_norm="layer" if files.has_head_norms else None,
        has_output_norms=files.has_output_norms,
    )
    with without_weights():
        transformer = TokenTransformer(
            decoder_config,
            config.vocab_size,
            config.rope_theta,
            codes,
            has_interleaved_heads=files.has_interleaved_heads,
        )

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        return [tokenizer.conditional(text.prompt), tokenizer.unconditional()]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="none",
        code_count=len(codes),
        remarks=(_LICENCE,),
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(
            len(codes), grids, guidance_scale=_GUIDANCE_SCALE, temperature=_TEMPERATURE, top_p=_TOP_P, window=_WINDOW
        ),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, tokenizer.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, files.keys, adapt_tokens(codes, config.vocab_size)),
        image_tokenizer=stored_decoder(files.image_tokenizer),
    )
