"""Meta's layout of Chameleon: `consolidated.pth` and the two files that shape it.

Facts: `chameleon/inference/loader.py` and `transformer.py` of GAIR-NLP/anole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from zipar_worker.checkpoints.key_map import KeyMap, Rules
from zipar_worker.checkpoints.small_files import Count, convert_fields, read_json, unusable
from zipar_worker.checkpoints.weights import Checkpoint
from zipar_worker.errors import WorkerError
from zipar_worker.families.llama_config import LlamaConfig, Positive, read_llama_config

META_WEIGHTS_NAME = "consolidated.pth"
META_CONFIG_NAME = "params.json"
META_SHARDING_NAME = "consolidate_params.json"
META_LANDMARKS = ("tok_embeddings.weight",)

_MAXIMAL_POSITIONS = 4096
"""`max_seq_len` of the official `Options`; no file says it."""

_RULES: Rules = (
    (r"^embedding\.", "tok_embeddings."),
    (r"^head\.", "output."),
    (r"^decoder\.", ""),
    (r"\.self_attn\.o_proj\.", ".attention.wo."),
    (r"\.self_attn\.qk_norm\.", (".attention.q_normalization.", ".attention.k_normalization.")),
    (r"\.mlp\.down_proj\.", ".feed_forward.w2."),
    (r"\.input_layernorm\.", ".attention_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
)
_APART: Rules = (
    (r"\.self_attn\.qkv_proj\.", (".attention.wq.", ".attention.wk.", ".attention.wv.")),
    (r"\.mlp\.gate_up_proj\.", (".feed_forward.w1.", ".feed_forward.w3.")),
)
_FUSED: Rules = (
    (r"\.self_attn\.qkv_proj\.", ".attention.wqkv."),
    (r"\.mlp\.gate_up_proj\.", ".feed_forward.w13."),
)


class MetaConfig(Struct, frozen=True, kw_only=True):
    """`ModelArgs` of the official code."""

    model_parallel_size: Count = 1
    dim: Count = 512
    n_layers: Count = 8
    n_heads: Count = 8
    n_kv_heads: Count | None = None
    vocab_size: Count
    ffn_dim_multiplier: Positive | None = None
    multiple_of: Annotated[int, Meta(ge=1, le=2**16)] = 256
    norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0
    qk_normalization: bool = False
    swin_norm: bool = False


def read_meta_config(directory: Path) -> tuple[LlamaConfig, MetaConfig]:
    """Raises `checkpoint`."""
    path = directory / META_CONFIG_NAME
    params = read_json(path)
    model = params.get("model", {})
    if not isinstance(model, dict):
        raise unusable(path, "expected an object under 'model'")
    sharding = directory / META_SHARDING_NAME
    merged: dict[str, Any] = {**params, **model, **(read_json(sharding) if sharding.is_file() else {})}
    known = {name: merged[name] for name in MetaConfig.__struct_fields__ if name in merged}
    config = convert_fields(path, known, MetaConfig)
    if config.model_parallel_size > 1:
        raise WorkerError(
            "checkpoint",
            f"{sharding if sharding.is_file() else path} says that the model is split into "
            f"{config.model_parallel_size} parts (model_parallel_size); expected one {META_WEIGHTS_NAME}. Anole was "
            f"published at 7B alone; join the parts of a larger one.",
        )
    width = int(int(2 * 4 * config.dim / 3) * (config.ffn_dim_multiplier or 1))
    fields = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": -(-width // config.multiple_of) * config.multiple_of,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "max_position_embeddings": _MAXIMAL_POSITIONS,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
    }
    return read_llama_config(path, fields, LlamaConfig()), config


def meta_keys(checkpoint: Checkpoint) -> KeyMap:
    """Projections that read one input are one tensor or several: the official code takes both."""
    is_fused = any(".attention.wqkv." in key for key in checkpoint.tensors)
    return KeyMap((*(_FUSED if is_fused else _APART), *_RULES))
