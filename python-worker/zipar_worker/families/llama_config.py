"""The part of a `config.json` that shapes a Llama-like decoder, in the words of transformers, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from zipar_worker.checkpoints.key_map import KeyMap
from zipar_worker.checkpoints.small_files import Count, convert_fields, unusable
from zipar_worker.checkpoints.weights import Checkpoint, check_claims
from zipar_worker.errors import WorkerError
from zipar_worker.families.decoder import DecoderConfig

LLAMA_LANDMARKS = ("model.embed_tokens.weight",)
"""Of weights under transformers' names; see `Sought`."""

GATES: Mapping[str, Literal["silu", "gelu-tanh"]] = {"silu": "silu", "gelu_pytorch_tanh": "gelu-tanh"}
"""By `hidden_act`."""

Positive = Annotated[float, Meta(gt=0)]


class LlamaConfig(Struct, frozen=True, kw_only=True):
    """The defaults are those of transformers' Llama; a family whose files leave other values out gives its own."""

    vocab_size: Count = 32000
    hidden_size: Count = 4096
    intermediate_size: Count = 11008
    num_hidden_layers: Annotated[int, Meta(ge=1, le=1024)] = 32
    num_attention_heads: Count = 32
    num_key_value_heads: Count | None = None
    """None where every head has its own K and V."""
    head_dim: Count | None = None
    """None where the heads share the width."""
    max_position_embeddings: Count = 2048
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    """Where transformers 5 writes what stood in the two fields above."""
    tie_word_embeddings: bool = False
    """Whether the head is the embedding."""
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def decoder(self) -> DecoderConfig:
        return DecoderConfig(
            dim=self.hidden_size,
            layer_count=self.num_hidden_layers,
            head_count=self.num_attention_heads,
            kv_head_count=self.num_key_value_heads or self.num_attention_heads,
            head_dim=self.head_dim or self.hidden_size // self.num_attention_heads,
            feed_forward_width=self.intermediate_size,
            norm_epsilon=self.rms_norm_eps,
            gate=GATES[self.hidden_act],
        )


def read_llama_config(path: Path, fields: Mapping[str, Any], defaults: LlamaConfig) -> LlamaConfig:
    """fields: those of the file `path`, or of a part of it. Raises `checkpoint` for what no decoder of ours is."""
    known = {name: fields[name] for name in LlamaConfig.__struct_fields__ if name in fields}
    config = convert_fields(path, structs.asdict(defaults) | known, LlamaConfig)
    rope = config.rope_parameters or {}
    problem = _problem(config, rope)
    if problem is not None:
        raise unusable(path, problem)
    theta = rope.get("rope_theta", config.rope_theta)
    return convert_fields(path, structs.asdict(config) | {"rope_theta": theta}, LlamaConfig)


def check_llama_claims(path: Path, weights: Checkpoint, config: LlamaConfig) -> None:
    """path: the file of the configuration. Raises `checkpoint` where the weights are smaller than it says."""
    decoder = config.decoder
    check_claims(
        path,
        weights,
        parts=decoder.layer_count,
        widths=(decoder.dim, decoder.feed_forward_width, config.vocab_size, decoder.head_count * decoder.head_dim),
    )


def check_positions(path: Path, config: LlamaConfig, needed: int) -> None:
    """needed: tokens of the longest prompt and its image. Raises `checkpoint` where the model knows fewer positions."""
    if config.max_position_embeddings < needed:
        raise unusable(
            path, f"it gives the model {config.max_position_embeddings} positions; a prompt and its image take {needed}"
        )


def with_tied_head(path: Path, weights: Checkpoint, keys: KeyMap, is_tied: bool) -> Checkpoint:
    """Weights with an embedding and a head, tied as transformers (5.x) ties them. Raises `checkpoint`.

    Where the configuration says so and the file lacks one, the other stands for it; a file with both keeps both.
    """
    embedding, head = keys.key("embedding.weight"), keys.key("head.weight")
    present = [name for name in (embedding, head) if name in weights.tensors]
    if len(present) == 2 and is_tied:
        return replace(weights, remarks=(*weights.remarks, "its own head, although tie_word_embeddings is true"))
    if len(present) == 1 and is_tied:
        tensor = weights.tensors[present[0]]
        return replace(weights, tensors={**weights.tensors, embedding: tensor, head: tensor})
    if present == [embedding]:
        raise WorkerError(
            "checkpoint",
            f"{weights.path} lacks {head}, the output layer, and {path} does not say that it is the embedding "
            f"(tie_word_embeddings). Set that to true if the model was trained so; else the file is incomplete.",
        )
    return weights


def _problem(config: LlamaConfig, rope: Mapping[str, Any]) -> str | None:
    if config.hidden_act not in GATES:
        return f"its activation is {config.hidden_act!r}; expected {' or '.join(map(repr, GATES))}"
    decoder = config.decoder
    scalings = (config.rope_scaling, {"rope_type": "default", **rope})
    kinds = [scaling.get("rope_type", scaling.get("type")) for scaling in scalings if scaling is not None]
    scaled = next((kind for kind in kinds if kind != "default"), "default")
    has_whole_heads = config.head_dim is not None or decoder.dim % decoder.head_count == 0
    if not has_whole_heads or decoder.head_dim % 2 or decoder.head_count % decoder.kv_head_count:
        return (
            f"a width of {decoder.dim} cannot be shared by {decoder.head_count} heads of {decoder.head_dim}, "
            f"{decoder.kv_head_count} of them with own K and V"
        )
    if scaled != "default":
        return f"it scales its positions by {scaled!r}; expected none"
    if config.attention_bias or config.mlp_bias:
        return "its projections have biases (attention_bias, mlp_bias); expected none"
    return None
