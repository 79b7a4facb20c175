"""ZipAR decoding of a LlamaGen checkpoint, written from the specification alone, as plainly as possible.

It shares no code with the worker or the scheduler: float64, and for every slot the keys and values
as they were when the slot was last written. Prints the greedy tokens as JSON:

    python brute_force.py DIRECTORY --class-index 3 --guidance 1 2

    {"1": {"raster": [[...]], "windows": {"1": {"forwards": 15, "tokens": [[...]]}, ...}}, ...}

`raster` comes from a loop over whole sequences, without any memory of keys and values.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

Cell = tuple[int, int]


class Model:
    """LlamaGen's transformer: RMSNorm, 2-D rotary embeddings, SwiGLU (models by Sun et al. 2024, arXiv 2406.06525)."""

    def __init__(self, directory: Path) -> None:
        sidecar = json.loads((directory / "zipar.json").read_text())
        config = sidecar["config"]
        self.rows: int = config["rows"]
        self.columns: int = config["columns"]
        self.class_count: int = config["classCount"]
        self.layer_count: int = config["layers"]
        self.head_count: int = config["heads"]
        self.kv_head_count: int = config.get("kvHeads") or self.head_count
        self.head_dim: int = config["dim"] // self.head_count
        self.weights = {name: tensor.double() for name, tensor in load_file(directory / sidecar["weights"]).items()}

    def class_embedding(self, index: int) -> Tensor:
        return self.weights["cls_embedding.embedding_table.weight"][index]

    def token_embedding(self, token: int) -> Tensor:
        return self.weights["tok_embeddings.weight"][token]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.weights[name]

    def project(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[name].T

    def heads(self, x: Tensor, layer: int, slots: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [N, heads, D], keys and values [N, kv heads, D] of hidden states [N, dim]."""
        normed = self.norm(x, f"layers.{layer}.attention_norm.weight")
        fused = self.project(normed, f"layers.{layer}.attention.wqkv.weight").view(len(slots), -1, self.head_dim)
        values = fused[:, self.head_count + self.kv_head_count :]
        turned = self.rotate(fused[:, : self.head_count + self.kv_head_count], slots)
        return turned[:, : self.head_count], turned[:, self.head_count :], values

    def rotate(self, heads: Tensor, slots: list[int]) -> Tensor:
        """Neighbouring numbers are pairs; the first half of the pairs turns with the row, the second with the column.
        The condition, slot 0, is multiplied with zero."""
        turned = torch.zeros_like(heads)
        pair_count = self.head_dim // 4
        for n, slot in enumerate(slots):
            if slot == 0:
                continue
            sides = divmod(slot - 1, self.columns)
            angles = torch.tensor(
                [side * 10000.0 ** (-pair / pair_count) for side in sides for pair in range(pair_count)],
                dtype=torch.float64,
            )
            a, b = heads[n, :, 0::2], heads[n, :, 1::2]
            turned[n, :, 0::2] = a * angles.cos() - b * angles.sin()
            turned[n, :, 1::2] = a * angles.sin() + b * angles.cos()
        return turned

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, sees: Tensor) -> Tensor:
        """What N queries take from K positions, all heads in a row: [N, dim]. `sees`: bool [N, K]."""
        group = self.head_count // self.kv_head_count
        taken = []
        for head in range(self.head_count):
            scores = queries[:, head] @ keys[:, head // group].T / math.sqrt(self.head_dim)
            taken.append(torch.softmax(scores.masked_fill(~sees, -math.inf), -1) @ values[:, head // group])
        return torch.cat(taken, -1)

    def finish_layer(self, x: Tensor, taken: Tensor, layer: int) -> Tensor:
        x = x + self.project(taken, f"layers.{layer}.attention.wo.weight")
        normed = self.norm(x, f"layers.{layer}.ffn_norm.weight")
        gate = self.project(normed, f"layers.{layer}.feed_forward.w1.weight")
        up = self.project(normed, f"layers.{layer}.feed_forward.w3.weight")
        return x + self.project(gate * torch.sigmoid(gate) * up, f"layers.{layer}.feed_forward.w2.weight")

    def logits(self, x: Tensor) -> Tensor:
        return self.project(self.norm(x, "norm.weight"), "output.weight")


class Memory:
    """Keys and values of one branch, per layer and slot, as they were when the slot was last written."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.written: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in range(model.layer_count)]

    def forward_(self, fed: dict[int, Tensor]) -> dict[int, Tensor]:
        """Feeds embeddings by slot, all at once; returns the logits by slot."""
        slots = list(fed)
        x = torch.stack(list(fed.values()))
        for layer, written in enumerate(self.written):
            queries, keys, values = self.model.heads(x, layer, slots)
            written.update({slot: (keys[n], values[n]) for n, slot in enumerate(slots)})
            sees = torch.tensor([[other <= slot for other in written] for slot in slots])
            every_key = torch.stack([key for key, _ in written.values()])
            every_value = torch.stack([value for _, value in written.values()])
            x = self.model.finish_layer(x, self.model.attend(queries, every_key, every_value, sees), layer)
        return dict(zip(slots, self.model.logits(x), strict=True))


def zipar(model: Model, class_index: int, guidance: float, window: int) -> tuple[list[list[int]], int]:
    """Greedy tokens and the number of forwards."""
    rows, columns = model.rows, model.columns
    branches = [(Memory(model), index) for index in conditions(model, class_index, guidance)]
    decoded: dict[Cell, int] = {}
    fed_for_good: set[Cell] = set()

    def feed_(tokens: dict[int, int | None]) -> dict[int, int]:
        """Feeds tokens by slot, None being the condition; returns what each slot predicts."""
        logits = []
        for memory, condition in branches:
            embeddings = {
                slot: model.class_embedding(condition) if token is None else model.token_embedding(token)
                for slot, token in tokens.items()
            }
            logits.append(memory.forward_(embeddings))
        return {slot: int(guided([branch[slot] for branch in logits], guidance).argmax()) for slot in tokens}

    decoded[0, 0] = feed_({0: None})[0]
    forwards = 1
    while len(decoded) < rows * columns:
        ready = list(decodable(decoded, rows, columns, window))
        tokens: dict[int, int | None] = {}
        for cell in decoded.keys() - fed_for_good:
            tokens[slot_of(cell, columns)] = decoded[cell]
            fed_for_good.add(cell)
        for row, column in ready:
            before = slot_of((row, column), columns) - 1
            if column == 0 and (row - 1, columns - 1) not in decoded:
                tokens[before] = stand_in(decoded, row)
        predicted = feed_(tokens)
        forwards += 1
        for cell in ready:
            decoded[cell] = predicted[slot_of(cell, columns) - 1]
    return as_rows(decoded, rows, columns), forwards


def decodable(decoded: dict[Cell, int], rows: int, columns: int, window: int) -> Iterator[Cell]:
    """Cells whose left neighbour is decoded, and `window` tokens of the row above from their own column on."""
    for row in range(rows):
        for column in range(columns):
            left = column == 0 or (row, column - 1) in decoded
            above = row == 0 or all((row - 1, k) in decoded for k in range(column, min(column + window, columns)))
            if (row, column) not in decoded and left and above:
                yield row, column


def stand_in(decoded: dict[Cell, int], row: int) -> int:
    """For the end of the row above, while that is not decoded: the newest token of the row above it, or of row 0."""
    source = max(0, row - 2)
    return decoded[source, max(column for other, column in decoded if other == source)]


def raster(model: Model, class_index: int, guidance: float) -> list[list[int]]:
    """Greedy next-token order; the whole sequence is computed anew for every token."""
    tokens: list[int] = []
    while len(tokens) < model.rows * model.columns:
        logits = []
        for condition in conditions(model, class_index, guidance):
            x = torch.stack([model.class_embedding(condition), *map(model.token_embedding, tokens)])
            slots = list(range(len(x)))
            sees = torch.ones(len(x), len(x), dtype=torch.bool).tril()
            for layer in range(model.layer_count):
                x = model.finish_layer(x, model.attend(*model.heads(x, layer, slots), sees), layer)
            logits.append(model.logits(x[-1]))
        tokens.append(int(guided(logits, guidance).argmax()))
    cells = [(row, column) for row in range(model.rows) for column in range(model.columns)]
    return as_rows(dict(zip(cells, tokens, strict=True)), model.rows, model.columns)


def conditions(model: Model, class_index: int, guidance: float) -> list[int]:
    """Class embeddings of the branches; without guidance the null class is not needed."""
    return [class_index] if guidance == 1 else [class_index, model.class_count]


def guided(logits: list[Tensor], guidance: float) -> Tensor:
    if len(logits) == 1:
        return logits[0]
    conditional, unconditional = logits
    return unconditional + guidance * (conditional - unconditional)


def slot_of(cell: Cell, columns: int) -> int:
    return 1 + cell[0] * columns + cell[1]


def as_rows(decoded: dict[Cell, int], rows: int, columns: int) -> list[list[int]]:
    return [[decoded[row, column] for column in range(columns)] for row in range(rows)]


def main(show: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--class-index", type=int, required=True)
    parser.add_argument("--guidance", type=float, nargs="+", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = Model(options.directory)
    results = {}
    for guidance in options.guidance:
        windows = {}
        for window in range(1, model.columns + 1):
            tokens, forwards = zipar(model, options.class_index, guidance, window)
            windows[window] = {"forwards": forwards, "tokens": tokens}
        results[f"{guidance:g}"] = {"raster": raster(model, options.class_index, guidance), "windows": windows}
    show(json.dumps(results))


if __name__ == "__main__":
    main()
