"""What Lumina-mGPT 2.0 makes of a prompt, and its official settings.

As in Lumina-mGPT, the first three tokens of an image are given here, and its row ends; the unconditional branch is
those three tokens alone. The official guidance is `u + s (c - u)` on logits. Its `s` starts at the scale that was asked
for and shrinks by a factor below 1 at every token, but never below 4: more than 4 becomes 4 within some rows, and less
(but 1, which is no guidance) becomes 4 at once. Here `s` is what was asked for, 4 by default, at every token.

Facts: `lumina_mgpt/inference_solver.py` and README.md of Alpha-VLLM/Lumina-mGPT-2.0.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.llama_config import check_positions
from zipar_worker.families.lumina_mgpt.prompt import MAXIMAL_PROMPT_TOKENS, known_sizes
from zipar_worker.families.lumina_mgpt_2.files import KEYS, Files
from zipar_worker.families.lumina_mgpt_2.vq import KEYS as IMAGE_TOKENIZER_KEYS
from zipar_worker.families.lumina_mgpt_2.vq import ImageTokenizer
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.movqgan import MoVQDecoder, SpatialDecoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "lumina-mgpt-2"
PIXELS_PER_TOKEN = 8

_GUIDANCE_SCALE = 4.0
_TOP_K = 4096


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` for sizes beyond the model's positions, and for another image tokenizer than the model's."""
    config, tokenizer, vocabulary = files.config, files.tokenizer, files.tokenizer.vocabulary
    decoder_config = replace(config.decoder, head_norm="layer", has_output_norms=files.has_output_norms)
    with without_weights():
        transformer = TokenTransformer(
            decoder_config, config.vocab_size, config.rope_theta, vocabulary.codes, vocabulary.row_end
        )
    grids = tuple(
        pixel_grid(height // PIXELS_PER_TOKEN, width // PIXELS_PER_TOKEN, PIXELS_PER_TOKEN)
        for width, height in known_sizes(files.target)
    )
    slots = MAXIMAL_PROMPT_TOKENS + max(grid_slots(grid, "token") for grid in grids)
    check_positions(files.config_path, config, slots)

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        size = (grid.width, grid.height)
        return [tokenizer.conditional(text.prompt, *size), tokenizer.unconditional(*size)]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="token",
        code_count=len(vocabulary.codes),
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(
            len(vocabulary.codes),
            grids,
            guidance_scale=_GUIDANCE_SCALE,
            top_k=_TOP_K,
            window=max(1, grids[0].columns // 4),
        ),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, vocabulary.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, KEYS, adapt_tokens(vocabulary.codes, config.vocab_size)),
        image_tokenizer=_stored(files.image_tokenizer) if files.image_tokenizer is not None else None,
    )


def _stored(tokenizer: ImageTokenizer) -> Stored[MoVQDecoder]:
    with without_weights():
        decoder = MoVQDecoder(tokenizer.config, SpatialDecoder(tokenizer.config))
    if decoder.pixels_per_token != PIXELS_PER_TOKEN:
        raise WorkerError(
            "checkpoint",
            f"{tokenizer.checkpoint.path} makes {decoder.pixels_per_token} x {decoder.pixels_per_token} pixels of a "
            f"token, but Lumina-mGPT 2.0 plans images of {PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN} per token. Take "
            f"movqgan_270M.ckpt of ai-forever/MoVQGAN.",
        )
    return Stored(decoder, tokenizer.checkpoint, IMAGE_TOKENIZER_KEYS)
