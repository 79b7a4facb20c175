"""A second LlamaGen for the tests: float64, one query after the other, sharing no code with the worker.

Written from the description in the official repository (`autoregressive/models/gpt.py`), not from the worker's modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PlainConfig:
    dim: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 4
    codes: int = 48
    classes: int = 7
    rows: int = 4
    columns: int = 4


def seeded_state(config: PlainConfig, seed: int) -> dict[str, Tensor]:
    """Weights by a recipe that the fixtures rely on: standard normal numbers in the order of the sorted names.

    Matrices are divided by the square root of their columns, the head's then multiplied by 2; embeddings stay as they
    are; norms are 1 plus a tenth.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in sorted(parameter_shapes(config).items()):
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            state[name] = 1 + noise / 10
        elif "embedding" in name:
            state[name] = noise
        else:
            state[name] = noise / math.sqrt(shape[1]) * (2 if name == "output.weight" else 1)
    return state


def parameter_shapes(config: PlainConfig) -> dict[str, tuple[int, ...]]:
    width = math.ceil(int(2 * 4 * config.dim / 3) / 256) * 256
    projected = config.dim + 2 * config.kv_heads * (config.dim // config.heads)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_embedding.embedding_table.weight": (config.classes + 1, config.dim),
        "tok_embeddings.weight": (config.codes, config.dim),
        "norm.weight": (config.dim,),
        "output.weight": (config.codes, config.dim),
    }
    for layer in range(config.layers):
        shapes |= {
            f"layers.{layer}.attention.wqkv.weight": (projected, config.dim),
            f"layers.{layer}.attention.wo.weight": (config.dim, config.dim),
            f"layers.{layer}.feed_forward.w1.weight": (width, config.dim),
            f"layers.{layer}.feed_forward.w2.weight": (config.dim, width),
            f"layers.{layer}.feed_forward.w3.weight": (width, config.dim),
            f"layers.{layer}.attention_norm.weight": (config.dim,),
            f"layers.{layer}.ffn_norm.weight": (config.dim,),
        }
    return shapes


class PlainSequence:
    """One branch of one image. Remembers the last K and V of each slot, in dictionaries."""

    def __init__(self, config: PlainConfig, state: Mapping[str, Tensor], class_index: int) -> None:
        self.config = config
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.class_index = class_index
        self.keys: dict[tuple[int, int], Tensor] = {}
        self.values: dict[tuple[int, int], Tensor] = {}
        self.weights: dict[tuple[int, int], Tensor] = {}
        """By (layer, slot): [slots seen, heads], what the last query at the slot paid to each."""

    def feed(self, queries: Sequence[tuple[int, int]], visible: Iterable[int]) -> list[Tensor]:
        """queries: (token, slot); visible: slots that may be seen, at or below a query's own -> logits [codes] each."""
        config, state, seen = self.config, self.state, set(visible)
        hidden = [self._embed(token, slot) for token, slot in queries]
        head_dim, group = config.dim // config.heads, config.heads // config.kv_heads
        for layer in range(config.layers):
            prefix = f"layers.{layer}."
            projections = []
            for (_, slot), vector in zip(queries, hidden, strict=True):
                normed = normalise(vector, state[prefix + "attention_norm.weight"])
                projected = (state[prefix + "attention.wqkv.weight"] @ normed).view(-1, head_dim)
                query, key, value = projected.split([config.heads, config.kv_heads, config.kv_heads])
                self.keys[layer, slot], self.values[layer, slot] = self._turn(key, slot), value
                projections.append(self._turn(query, slot))
            for index, (_, slot) in enumerate(queries):
                slots = sorted(other for other in seen if other <= slot)
                keys, values = (
                    torch.stack([memory[layer, other] for other in slots]).repeat_interleave(group, dim=1)
                    for memory in (self.keys, self.values)
                )
                weights = (torch.einsum("shd,hd->sh", keys, projections[index]) / math.sqrt(head_dim)).softmax(0)
                self.weights[layer, slot] = weights
                attended = torch.einsum("sh,shd->hd", weights, values).flatten()
                hidden[index] = hidden[index] + state[prefix + "attention.wo.weight"] @ attended
                normed = normalise(hidden[index], state[prefix + "ffn_norm.weight"])
                gate = state[prefix + "feed_forward.w1.weight"] @ normed
                gated = gate / (1 + (-gate).exp()) * (state[prefix + "feed_forward.w3.weight"] @ normed)
                hidden[index] = hidden[index] + state[prefix + "feed_forward.w2.weight"] @ gated
        return [state["output.weight"] @ normalise(vector, state["norm.weight"]) for vector in hidden]

    def _embed(self, token: int, slot: int) -> Tensor:
        if slot == 0:
            return self.state["cls_embedding.embedding_table.weight"][self.class_index]
        return self.state["tok_embeddings.weight"][token]

    def _turn(self, heads: Tensor, slot: int) -> Tensor:
        """Rotary embedding over (row, column); nothing of the condition's queries and keys is left."""
        if slot == 0:
            return torch.zeros_like(heads)
        place = divmod(slot - 1, self.config.columns)
        half = heads.shape[1] // 2
        turned = heads.clone()
        for axis, coordinate in enumerate(place):
            pairs = torch.arange(half // 2, dtype=torch.float64)
            angles = coordinate / 10000 ** (2 * pairs / half)
            even = heads[:, axis * half : (axis + 1) * half : 2]
            odd = heads[:, axis * half + 1 : (axis + 1) * half : 2]
            turned[:, axis * half : (axis + 1) * half : 2] = even * angles.cos() - odd * angles.sin()
            turned[:, axis * half + 1 : (axis + 1) * half : 2] = odd * angles.cos() + even * angles.sin()
        return turned


def normalise(vector: Tensor, weight: Tensor) -> Tensor:
    return vector / (vector.square().mean() + 1e-5).sqrt() * weight


def causal_logits(
    config: PlainConfig, state: Mapping[str, Tensor], class_index: int, tokens: Sequence[int]
) -> list[Tensor]:
    """Logits after the condition and after each token, everything computed anew: no cache survives between calls."""
    queries = [(0, 0), *((token, slot) for slot, token in enumerate(tokens, start=1))]
    return PlainSequence(config, state, class_index).feed(queries, range(len(queries)))


def greedy_tokens(
    config: PlainConfig, state: Mapping[str, Tensor], class_index: int, guidance_scale: float | None
) -> list[int]:
    """Next-token order. None: no guidance, the conditional branch alone."""
    tokens: list[int] = []
    for _ in range(config.rows * config.columns):
        logits = causal_logits(config, state, class_index, tokens)[-1]
        if guidance_scale is not None:
            unconditional = causal_logits(config, state, config.classes, tokens)[-1]
            logits = unconditional + guidance_scale * (logits - unconditional)
        tokens.append(int(logits.argmax()))
    return tokens
