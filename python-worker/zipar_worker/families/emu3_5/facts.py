"""What Emu3.5 makes of a prompt, and its official settings.

The official code forces a token between two rows; behind the last it forces the end of the image. Here a row's end
follows every row, as in Emu3: the last is never fed, so that it makes no difference. Guidance works on the logarithms
of probabilities of the whole vocabulary, of which only codes can be drawn: see docs/adding-a-family.md.

Facts: `configs/example_config_t2i.py` and `src/utils/logits_processor.py` of baaivision/Emu3.5 (Apache-2.0). The
attention that has the head norms is the one of `eager` and `flash_attention_2`; in `sdpa` they were forgotten.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.emu3.vocabulary import END_ROW, PADDING
from zipar_worker.families.emu3_5.files import KEYS, VQ_REPOSITORY, Files
from zipar_worker.families.emu3_5.prompt import MAXIMAL_PROMPT_TOKENS, branch_ids
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.chameleon_files import stored_decoder
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "emu3-5"

PIXELS_PER_TOKEN = 16

OFFICIAL_GRIDS = ((55, 73), (41, 97), (47, 85), (52, 78), (64, 64), (73, 55), (85, 47), (78, 52))
"""Rows and columns of `aspect_ratios`, the default first: 4:3, 21:9, 16:9, 3:2, 1:1, 3:4, 9:16, 2:3."""

_LONGEST_SIDE = 128
"""In tokens: the technical report (arXiv 2510.26583) has images of up to 2048 pixels."""

_GUIDANCE_SCALE = 5.0
_GENERAL_GUIDANCE_SCALE = 2.0
"""Of the general model, `Emu3.5`, for single images."""

_TOP_K = 5120


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where images and prompts do not fit the model, or the image tokenizer is another one."""
    config, vocabulary = files.config, files.vocabulary
    grids = _grids(files.size)
    longest_prompt = _longest_prompt(files, grids)
    codes = range(vocabulary.first_code, vocabulary.first_code + vocabulary.code_count)
    with without_weights():
        transformer = TokenTransformer(
            replace(config.decoder, head_norm="rms"),
            config.vocab_size,
            config.rope_theta,
            codes,
            vocabulary.ids[END_ROW],
        )
    image_tokenizer = stored_decoder(files.image_tokenizer)
    if image_tokenizer is not None:
        _check_pixels(image_tokenizer.checkpoint.path, image_tokenizer.module.pixels_per_token)

    def ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        return branch_ids(vocabulary, text.prompt, grid.rows, grid.columns)

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="token",
        code_count=len(codes),
        conditioning=TextCard(negative_prompt=None, max_prompt_tokens=longest_prompt),
        defaults=sampling_defaults(
            len(codes),
            grids,
            guidance_scale=_GENERAL_GUIDANCE_SCALE if files.name == "Emu3.5" else _GUIDANCE_SCALE,
            top_k=_TOP_K,
            # A quarter of a row; nobody has published another.
            window=max(1, grids[0].columns // 4),
        ),
        prompt_slots=longest_prompt,
        prompts=TokenPrompts(
            ids, longest_prompt, vocabulary.ids[PADDING], transformer.embed_text, vocabulary.find_lost
        ),
        transformer=Stored(transformer, files.weights, KEYS, adapt_tokens(codes, config.vocab_size)),
        image_tokenizer=image_tokenizer,
    )


def _grids(size: tuple[int, int] | None) -> tuple[Grid, ...]:
    """The official ones; another size that the user names at opening stands alone."""
    official = tuple(pixel_grid(rows, columns, PIXELS_PER_TOKEN) for rows, columns in OFFICIAL_GRIDS)
    if size is None or any((grid.width, grid.height) == size for grid in official):
        return official
    width, height = size
    longest = _LONGEST_SIDE * PIXELS_PER_TOKEN
    if any(side % PIXELS_PER_TOKEN or not PIXELS_PER_TOKEN <= side <= longest for side in size):
        raise WorkerError(
            "checkpoint",
            f"Emu3.5 makes no images of {width} x {height} pixels: expected sides that are multiples of "
            f"{PIXELS_PER_TOKEN} and at most {longest}. Leave the size out for the official ones, such as "
            f"{official[0].width} x {official[0].height}.",
        )
    return (pixel_grid(height // PIXELS_PER_TOKEN, width // PIXELS_PER_TOKEN, PIXELS_PER_TOKEN),)


def _longest_prompt(files: Files, grids: tuple[Grid, ...]) -> int:
    """Tokens that leave room for the largest image within the positions that the model knows."""
    positions, slots = files.config.max_position_embeddings, max(grid_slots(grid, "token") for grid in grids)
    if slots >= positions:
        raise WorkerError(
            "checkpoint",
            f"{files.weights.path}: the model knows {positions} positions, too few for images of {slots} tokens. Its "
            f"config.json (max_position_embeddings) is wrong, or a smaller size is meant: name it with `--size`.",
        )
    return min(MAXIMAL_PROMPT_TOKENS, positions - slots)


def _check_pixels(path: object, pixels_per_token: int) -> None:
    if pixels_per_token != PIXELS_PER_TOKEN:
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer {path} makes {pixels_per_token} x {pixels_per_token} pixels of a token; expected "
            f"{PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN}, as in {VQ_REPOSITORY}. Use that.",
        )
