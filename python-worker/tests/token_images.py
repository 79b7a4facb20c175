"""Greedy images by the executor, and by whole passes of another model for families whose rows end in a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from executor_driver import DRAW, NONE, Driver, Feed, runs_of
from torch import Tensor

from zipar_testing.gpu_check.wavefront import planned_steps
from zipar_worker.wire.protocol import EncodePrompt, TextConditioning

Query = tuple[int, int, bool]
"""Token on the wire, slot counted from the first image token, and whether a cell is drawn from it."""

MaskedLogits = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Ids [1, N], positions [1, N] and an additive mask [1, 1, N, N] -> logits [N, vocabulary]"""


def encode_request(
    rows: int, columns: int, prompt: str, negative: str | None = None, cache_rows: tuple[int, ...] = (0, 1)
) -> EncodePrompt:
    return EncodePrompt(
        epoch=0,
        request=0,
        frames=(),
        sequence=1,
        cache_rows=cache_rows,
        rows=rows,
        columns=columns,
        conditioning=TextConditioning(prompt=prompt, negative_prompt=negative),
    )


def generate_raster(driver: Driver, request: EncodePrompt, guidance_scale: float) -> list[int]:
    """Codes in next-token order, of a family whose rows end in no token."""
    length = driver.executor.encode_prompt(request).prompt_length
    queries = [(0, slot, NONE) for slot in range(length - 1)] + [(0, length - 1, DRAW)]
    codes: list[int] = []
    for end in range(length, length + request.rows * request.columns):
        codes.append(driver.forward(Feed(1, queries, [(0, end)], [0.5], guidance_scale)).drawn_tokens[0])
        queries = [(codes[-1], end, DRAW)]
    driver.executor.release([1])
    return codes


def generate(driver: Driver, request: EncodePrompt, guidance_scale: float) -> list[list[int]]:
    """Codes by rows, in next-token order."""
    length = driver.executor.encode_prompt(request).prompt_length
    rows, columns, row_end = request.rows, request.columns, driver.loaded.card.code_count

    def draw(queries: list[tuple[int, int, int]]) -> int:
        end = queries[-1][1] + 1
        feed = Feed(1, queries, [(0, end)], [0.5], guidance_scale=guidance_scale)
        return int(driver.forward(feed).drawn_tokens[0])

    prompt_queries = [(0, slot, NONE) for slot in range(length - 1)]
    codes = [[draw([*prompt_queries, (0, length - 1, DRAW)])]]
    for row in range(rows):
        first = length + row * (columns + 1)
        for column in range(columns - 1):
            codes[row].append(draw([(codes[row][column], first + column, DRAW)]))
        if row < rows - 1:
            last = first + columns - 1
            codes.append([draw([(codes[row][-1], last, NONE), (row_end, last + 1, DRAW)])])
    driver.executor.release([1])
    return codes


def generate_by_window(driver: Driver, request: EncodePrompt, window: int, guidance_scale: float) -> list[list[int]]:
    length = driver.executor.encode_prompt(request).prompt_length
    written = set(range(length))

    def draw(queries: list[Query]) -> list[int]:
        wire = [(token, length + slot, DRAW if wanted else NONE) for token, slot, wanted in queries]
        wire = wire or [(0, slot, DRAW if slot == length - 1 else NONE) for slot in range(length)]
        written.update(slot for _, slot, _ in wire)
        uniforms = [0.5] * sum(want == DRAW for _, _, want in wire)
        feed = Feed(1, wire, runs_of(written), uniforms, guidance_scale=guidance_scale)
        tokens: list[int] = driver.forward(feed).drawn_tokens.tolist()
        return tokens

    codes = _by_window(draw, request.rows, request.columns, window, driver.loaded.card.code_count)
    driver.executor.release([1])
    return codes


def masked_by_window(
    logits_of: MaskedLogits,
    prompts: Sequence[Sequence[int]],
    ids: Sequence[int],
    rows: int,
    columns: int,
    window: int,
    guidance_scale: float,
) -> list[list[int]]:
    """The same by passes without a cache. prompts: of both branches; ids: of the codes, then of the row end."""
    history: list[tuple[int, int, int]] = []

    def pass_over_all(prompt: Sequence[int]) -> Tensor:
        """What was ever fed, in that order; each sees what was written by its time, in lower slots or its own."""
        tokens = [*prompt, *(ids[token] for token, _, _ in history)]
        slots = torch.tensor([*range(len(prompt)), *(len(prompt) + slot for _, slot, _ in history)])
        steps = torch.tensor([*[0] * len(prompt), *(step for _, _, step in history)])
        visible = (slots[None] <= slots[:, None]) & (steps[None] <= steps[:, None])
        mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
        return logits_of(torch.tensor([tokens]), slots[None], mask[None, None])[:, ids[0] : ids[-2] + 1]

    def draw(queries: list[Query]) -> list[int]:
        step = history[-1][2] + 1 if history else 1
        history.extend((token, slot, step) for token, slot, _ in queries)
        conditional, unconditional = (pass_over_all(prompt)[-len(queries) if queries else -1 :] for prompt in prompts)
        drawn = (unconditional + guidance_scale * (conditional - unconditional)).argmax(dim=-1).tolist()
        return [
            code for code, wanted in zip(drawn, [wanted for _, _, wanted in queries] or [True], strict=True) if wanted
        ]

    return _by_window(draw, rows, columns, window, len(ids) - 1)


def _by_window(
    draw: Callable[[list[Query]], list[int]], rows: int, columns: int, window: int, row_end: int
) -> list[list[int]]:
    """Codes by rows. draw: the codes that follow the wanted queries of a step; no queries: those of the prompt."""
    codes: dict[tuple[int, int], int] = {}
    fed: list[tuple[int, int]] = []
    for cells in planned_steps(rows, columns, window):
        queries = [
            *((codes[cell], cell[0] * (columns + 1) + cell[1], cell[1] < columns - 1) for cell in fed),
            *((row_end, row * (columns + 1) - 1, True) for row, column in cells if column == 0 and row > 0),
        ]
        codes |= dict(zip(cells, draw(sorted(queries, key=lambda query: query[1])), strict=True))
        fed = cells
    return [[codes[row, column] for column in range(columns)] for row in range(rows)]
