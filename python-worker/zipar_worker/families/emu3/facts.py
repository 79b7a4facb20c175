"""What Emu3-Gen makes of a prompt, and its official settings.

Facts: `image_generation.py` and `emu3/mllm/processing_emu3.py` of baaivision/Emu3 (Apache-2.0).
"""

from __future__ import annotations

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.emu3.files import OFFICIAL_IMAGE_AREA, Files
from zipar_worker.families.emu3.vocabulary import END_ROW, NEGATIVE_PROMPT, PADDING, POSITIVE_SUFFIX
from zipar_worker.families.emu3.vq import adapt_vq_tensor
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.emu3 import Emu3VQDecoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "emu3"

RATIOS = ((1, 1), (16, 9), (9, 16), (4, 3), (3, 4), (3, 2), (2, 3), (21, 9))
"""Width to height, the default first."""

_OFFICIAL_PIXELS_PER_TOKEN = 8
_GUIDANCE_SCALE = 3.0
_TOP_K = 2048
_WINDOW = 7
"""Of the ZipAR paper (arXiv 2412.04062): 8,190 forwards become 713."""


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where the model knows too few positions for its images."""
    config, vocabulary, tokenizer = files.config, files.vocabulary, files.image_tokenizer
    with without_weights():
        code_ids = range(vocabulary.first_code, vocabulary.first_code + vocabulary.code_count)
        row_end = vocabulary.ids[END_ROW]
        transformer = TokenTransformer(config.decoder, config.vocab_size, config.rope_theta, code_ids, row_end)
    image_tokenizer, pixels_per_token = None, _OFFICIAL_PIXELS_PER_TOKEN
    if tokenizer is not None:
        with without_weights():
            decoder = Emu3VQDecoder(tokenizer.config)
        image_tokenizer = Stored(decoder, tokenizer.weights, tokenizer.keys, adapt_vq_tensor)
        pixels_per_token = decoder.pixels_per_token
    grids = image_grids(files.image_area, pixels_per_token)
    longest_prompt = _longest_prompt(files, grids)

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        negative = NEGATIVE_PROMPT if text.negative_prompt is None else text.negative_prompt
        prompts = (text.prompt + POSITIVE_SUFFIX, negative)
        return [vocabulary.encode_prompt(prompt, grid.rows, grid.columns) for prompt in prompts]

    return OpenedModel(
        family=NAME,
        name=_name(files.image_area),
        grids=grids,
        row_end="token",
        code_count=vocabulary.code_count,
        conditioning=TextCard(negative_prompt=NEGATIVE_PROMPT, max_prompt_tokens=longest_prompt),
        defaults=sampling_defaults(
            vocabulary.code_count, grids, guidance_scale=_GUIDANCE_SCALE, top_k=_TOP_K, window=_WINDOW
        ),
        prompt_slots=longest_prompt,
        prompts=TokenPrompts(
            branch_ids, longest_prompt, vocabulary.ids[PADDING], transformer.embed_text, vocabulary.find_lost
        ),
        transformer=Stored(transformer, files.weights, files.keys, adapt_tokens(code_ids, config.vocab_size)),
        image_tokenizer=image_tokenizer,
    )


def image_grids(image_area: int, pixels_per_token: int) -> tuple[Grid, ...]:
    """A grid for each ratio, as close to the area as whole tokens allow; halves are rounded to even, as in Python."""
    grids = []
    for width, height in RATIOS:
        scale = (image_area / (height * width)) ** 0.5
        rows = max(round(height * scale / pixels_per_token), 1)
        columns = max(round(width * scale / pixels_per_token), 1)
        grids.append(pixel_grid(rows, columns, pixels_per_token))
    # Small areas may give two ratios the same grid.
    return tuple(dict.fromkeys(grids))


def _longest_prompt(files: Files, grids: tuple[Grid, ...]) -> int:
    """Tokens of a prompt that leave room for the largest image within the positions that the model knows."""
    positions = files.config.max_position_embeddings
    longest = positions - max(grid_slots(grid, "token") for grid in grids)
    if longest < 1:
        raise WorkerError(
            "checkpoint",
            f"{files.weights.path}: the model knows {positions} positions, too few for images of {files.image_area} "
            f"pixels. The configuration of the checkpoint is wrong: download it again.",
        )
    return longest


def _name(image_area: int) -> str:
    side = image_area**0.5
    return "Emu3-Gen" if image_area == OFFICIAL_IMAGE_AREA else f"Emu3 ({side:.0f} x {side:.0f} pixels)"
