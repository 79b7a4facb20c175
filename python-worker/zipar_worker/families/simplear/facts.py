"""What SimpleAR makes of a prompt, and its official settings.

Guidance works on the logarithms of probabilities of the whole vocabulary (see docs/adding-a-family.md). The official
code may draw tokens of text, and then paints code 0: here only codes are drawn. Its top-k of 64,000 is all codes. Sizes
are those that it offers, though the published models draw 1024 x 1024. Facts: `generate.py` and
`simpar/model/language_model/simpar_qwen2.py` of wdrink/SimpleAR.
"""

from __future__ import annotations

from dataclasses import replace

from zipar_worker.checkpoints.weights import without_weights
from zipar_worker.errors import WorkerError
from zipar_worker.families.llama_config import check_positions
from zipar_worker.families.model import OpenedModel, Stored, grid_slots, pixel_grid, sampling_defaults
from zipar_worker.families.prompts import TokenPrompts
from zipar_worker.families.simplear.files import KEYS, Files
from zipar_worker.families.simplear.prompt import NEGATIVE_PROMPT
from zipar_worker.families.transformer import TokenTransformer, adapt_tokens
from zipar_worker.families.vq.cosmos_files import REPOSITORY, CosmosTokenizer
from zipar_worker.wire.protocol import Grid, TextCard, TextConditioning

NAME = "simplear"
MAXIMAL_PROMPT_TOKENS = 512
"""The limit is ours, so that the cache has a size."""

PIXELS_PER_TOKEN = 16
OFFICIAL_SIDES = (1024, 768, 512, 256)
"""Of images in pixels, the default first: `--image-size`."""

_GUIDANCE_SCALE = 6.0
_WINDOW = 16
"""A quarter of a row of the largest image; none is published for SimpleAR."""
_LICENCE = "image tokenizer under the NVIDIA Open Model License"


def model_of(files: Files) -> OpenedModel:
    """Raises `checkpoint` where the model knows too few positions, or the image tokenizer is another one."""
    config, tokenizer, code_ids = files.config, files.tokenizer, files.code_ids
    grids = _grids(files.size)
    slots = max(grid_slots(grid, "none") for grid in grids)
    check_positions(files.config_path, config, MAXIMAL_PROMPT_TOKENS + slots)
    with without_weights():
        transformer = TokenTransformer(
            replace(config.decoder, has_qkv_bias=True), config.vocab_size, config.rope_theta, code_ids
        )
    if files.image_tokenizer is not None:
        _check_pixels(files.image_tokenizer)

    def branch_ids(text: TextConditioning, grid: Grid) -> list[list[int]]:
        negative = NEGATIVE_PROMPT if text.negative_prompt is None else text.negative_prompt
        return [tokenizer.conditional(text.prompt), tokenizer.unconditional(negative)]

    return OpenedModel(
        family=NAME,
        name=files.name,
        grids=grids,
        row_end="none",
        code_count=len(code_ids),
        remarks=() if files.image_tokenizer is None else (_LICENCE,),
        conditioning=TextCard(negative_prompt=NEGATIVE_PROMPT, max_prompt_tokens=MAXIMAL_PROMPT_TOKENS),
        defaults=sampling_defaults(len(code_ids), grids, guidance_scale=_GUIDANCE_SCALE, window=_WINDOW),
        prompt_slots=MAXIMAL_PROMPT_TOKENS,
        prompts=TokenPrompts(
            branch_ids, MAXIMAL_PROMPT_TOKENS, tokenizer.padding, transformer.embed_text, tokenizer.find_lost
        ),
        transformer=Stored(transformer, files.checkpoint, KEYS, adapt_tokens(code_ids, config.vocab_size)),
        image_tokenizer=None if files.image_tokenizer is None else files.image_tokenizer.stored_decoder(),
    )


def _grids(size: tuple[int, int] | None) -> tuple[Grid, ...]:
    """The official ones; another square that the user names at opening stands alone."""
    sides = [side // PIXELS_PER_TOKEN for side in OFFICIAL_SIDES]
    official = tuple(pixel_grid(side, side, PIXELS_PER_TOKEN) for side in sides)
    if size is None or any((grid.width, grid.height) == size for grid in official):
        return official
    width, height = size
    if width != height or width % PIXELS_PER_TOKEN or not PIXELS_PER_TOKEN <= width <= OFFICIAL_SIDES[0]:
        raise WorkerError(
            "checkpoint",
            f"{width} x {height} pixels is a size of no SimpleAR. Expected a square in steps of {PIXELS_PER_TOKEN} "
            f"pixels, at most {OFFICIAL_SIDES[0]}; the published models were trained for that.",
        )
    side = width // PIXELS_PER_TOKEN
    return (pixel_grid(side, side, PIXELS_PER_TOKEN),)


def _check_pixels(tokenizer: CosmosTokenizer) -> None:
    if tokenizer.config.pixels_per_token != PIXELS_PER_TOKEN:
        pixels = tokenizer.config.pixels_per_token
        raise WorkerError(
            "checkpoint",
            f"The image tokenizer {tokenizer.checkpoint.path} makes {pixels} x {pixels} pixels of a token; expected "
            f"{PIXELS_PER_TOKEN} x {PIXELS_PER_TOKEN}, as in {REPOSITORY}. Use that.",
        )
