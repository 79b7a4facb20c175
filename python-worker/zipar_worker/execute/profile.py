"""Where attention goes in a token grid: weights of any family, reduced at once to sums by row and column offset.

A query is named by the cell that it predicts: the slot before that cell's. Offsets are from the predicted cell, so the
token before it is 0 rows up and 1 column to the left, and the row above, from the cell's own column on, is what a
window of ZipAR lets it see. The query that predicts the first cell sees no image and is left out.

The families give weights in blocks of queries; nothing here keeps more than one: the weights of one head over a grid of
90 x 90 tokens would take 260 MB, and a model has hundreds of heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from zipar_worker.execute.ranks import Ranks
from zipar_worker.wire.arrays import Array, view_as

BLOCK_WEIGHTS = 1 << 24
"""Attention weights in memory at a time: 64 MiB in float32."""


@dataclass(frozen=True, slots=True)
class SlotGrid:
    """Where the cells of a grid lie in a sequence; a row-end slot may follow each row."""

    rows: int
    columns: int
    prompt_length: int
    has_row_ends: bool = False

    @property
    def stride(self) -> int:
        return self.columns + int(self.has_row_ends)

    @property
    def slot_count(self) -> int:
        return self.prompt_length + self.rows * self.stride


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """weights: float32 [heads, Q, T], of queries at slots `first_slot .. first_slot + Q - 1` on all T slots.

    Each query's weights sum to 1; those on slots that it does not see are 0.
    """

    layer: int
    first_slot: int
    weights: Tensor


class AttentionProfile:
    """Sums of attention weights of one image, in float64. Takes every block of every layer once."""

    def __init__(self, grid: SlotGrid, layer_count: int, head_count: int, device: torch.device) -> None:
        self._grid = grid
        rows, columns = grid.rows, grid.columns

        def zeros(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.float64, device=device)

        self._mass = zeros(layer_count, head_count, rows * (2 * columns - 1))
        self._other = zeros(layer_count, head_count)
        self._row_start = zeros(rows - 1, layer_count, head_count, columns)
        self._row_start_total = zeros(rows - 1, layer_count, head_count)
        cells = torch.arange(rows * columns, device=device)
        self._cell_rows, self._cell_columns = cells // columns, cells % columns
        self._cell_slots = grid.prompt_length + self._cell_rows * grid.stride + self._cell_columns

    def add_(self, block: AttentionBlock) -> None:
        """Adds the queries of a block; those that predict no cell, or the first one, count for nothing."""
        end = block.first_slot + block.weights.shape[1]
        predicted_slots = self._cell_slots[1:]
        cells = 1 + ((predicted_slots > block.first_slot) & (predicted_slots <= end)).nonzero()[:, 0]
        for cell in cells.tolist():
            self._add_query_(block, cell)

    def _add_query_(self, block: AttentionBlock, cell: int) -> None:
        columns = self._grid.columns
        row, column = divmod(cell, columns)
        slot = self._grid.prompt_length + row * self._grid.stride + column - 1
        weights = block.weights[:, slot - block.first_slot].double()  # [heads, T]
        # Cells in raster order before the predicted one: no other is seen.
        on_cells = weights.index_select(1, self._cell_slots[:cell])
        rows_up = row - self._cell_rows[:cell]
        columns_right = self._cell_columns[:cell] - column
        offsets = rows_up * (2 * columns - 1) + columns_right + columns - 1
        self._mass[block.layer].index_add_(1, offsets, on_cells)
        total = on_cells.sum(1)
        self._other[block.layer] += weights.sum(1) - total
        if column == 0:
            self._row_start[row - 1, block.layer] = on_cells[:, -columns:]
            self._row_start_total[row - 1, block.layer] = total

    def join_heads_(self, ranks: Ranks) -> None:
        """Each rank of a split model has added what its own heads attend to: from now on each has that of all."""

        def join(sums: Tensor, heads_dim: int) -> Tensor:
            return ranks.join(sums.movedim(heads_dim, -1)).movedim(-1, heads_dim)

        self._mass, self._other = join(self._mass, 1), join(self._other, 1)
        self._row_start, self._row_start_total = join(self._row_start, 2), join(self._row_start_total, 2)

    def arrays(self) -> tuple[Array, ...]:
        """What `profile-done` carries; `mass` and `otherMass` are means over the queries."""
        rows, columns = self._grid.rows, self._grid.columns
        query_count = max(1, rows * columns - 1)
        layers, heads = self._other.shape
        mass = (self._mass / query_count).view(layers, heads, rows, 2 * columns - 1)
        return (
            _float32_array("mass", mass),
            _float32_array("otherMass", self._other / query_count),
            _float32_array("rowStartMass", self._row_start),
            _float32_array("rowStartTotal", self._row_start_total),
        )


def attend_in_blocks(
    layer: int, queries: Tensor, keys: Tensor, values: Tensor, first_visible: int
) -> Iterator[tuple[AttentionBlock, Tensor]]:
    """Causal attention of one layer with its weights. queries: [T, heads, D]; keys, values: [T, kv heads, D].

    Yields blocks with what their queries get: [Q, heads, D] in the type of `values`. Scores and weights are float32,
    scaled by 1 / sqrt(D). Slots below `first_visible` are padding, seen by themselves alone.
    """
    slot_count, head_count, head_dim = queries.shape
    group_size = head_count // keys.shape[1]
    all_keys = keys.float().repeat_interleave(group_size, dim=1).permute(1, 2, 0)  # [heads, D, T]
    all_values = values.float().repeat_interleave(group_size, dim=1).transpose(0, 1)  # [heads, T, D]
    slots = torch.arange(slot_count, device=queries.device)
    block_size = max(1, BLOCK_WEIGHTS // (head_count * slot_count))
    for first in range(0, slot_count, block_size):
        own = slots[first : first + block_size, None]
        visible = ((slots >= first_visible) & (slots <= own)) | (slots == own)
        scores = queries[first : first + block_size].float().transpose(0, 1) @ all_keys / sqrt(head_dim)
        weights = scores.masked_fill_(~visible, float("-inf")).softmax(dim=-1)
        yield AttentionBlock(layer, first, weights), (weights @ all_values).transpose(0, 1).to(values.dtype)


def _float32_array(name: str, tensor: Tensor) -> Array:
    data = bytearray(4 * tensor.numel())
    if data:
        torch.frombuffer(data, dtype=torch.float32).copy_(tensor.flatten())
    return Array(name, "float32", tuple(tensor.shape), view_as(data, "float32"))
