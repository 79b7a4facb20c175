"""What Lumina-mGPT makes of a prompt, and its official settings.

An image is `<boi> <height> <width>`, then its rows, each closed by a token of its own. The official code lets the model
write the first three and forces the row ends; here both are given. The unconditional branch is told the size alone, so
it starts with those three tokens, at positions of its own.

Facts: `lumina_mgpt/inference_solver.py` and README.md of Alpha-VLLM/Lumina-mGPT.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.lumina_mgpt.files import KEYS, Files
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS, known_sizes
from zipar_worker.families.model import OpenedModel, Stored, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.chameleon_files import stored_decoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "lumina-mgpt"
PIXELS_PER_TOKEN = 16
"""Of the image tokenizer that the published models were trained with: half of the unit in which sizes are told."""

_GUIDANCE_SCALE = 4.0
_TOP_K = 2000


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where the image tokenizer is another one than the model's."""
    config, vocabulary = files.config, files.tokenizer.vocabulary
    decoder_config = replace(config.decoder, head_norm="layer", has_output_norms=files.has_output_norms)
    with without_weights():
        transformer = TokenTransformer(
            decoder_config, config.vocab_size, config.rope_theta, vocabulary.codes, vocabulary.row_end
        )
    image_tokenizer = stored_decoder(files.image_tokenizer)
    if image_tokenizer is not None:
        _check_pixels(image_tokenizer.module.pixels_per_token)
    grids = tuple(
        pixel_grid(height // PIXELS_PER_TOKEN, width // PIXELS_PER_TOKEN, PIXELS_PER_TOKEN)
        for width, height in known_sizes(files.target)
    )
    # A quarter of a row: 12 at 768 pixels, near the 11 that ZipAR's authors use there.
    window = max(1, grids[0].columns // 4)

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        tokenizer, size = files.tokenizer, (grid.width, grid.height)
        return [tokenizer.conditional(text.prompt, *size), tokenizer.unconditional(*size)]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="token",
        code_count=len(vocabulary.codes),
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(
            len(vocabulary.codes), grids, guidance_scale=_GUIDANCE_SCALE, top_k=_TOP_K, window=window
        ),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, vocabulary.padding, transformer.embed_text, files.tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, KEYS, adapt_tokens(vocabulary.codes, config.vocab_size)),
        image_tokenizer=image_tokenizer,
    )


def _check_pixels(pixels_per_token: int) -> None:
    if pixels_per_token != PIXELS_PER_TOKEN:
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer makes {pixels_per_token} x {pixels_per_token} pixels of a token, but Lumina-mGPT "
            f"plans images of {PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN} per token. Use the one of Chameleon.",
        )
