"""What a forward takes with our decoder, and with transformers' Llama over our attention.

python -m zipar_testing.bench_decoder --layers 12 --dim 768 --threads 1

Both have random weights of one size and read the same K/V. They take turns, so that whatever else the machine does
falls on both; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig, LlamaModel

from zipar_worker.execute.attention import StepAttention
from zipar_worker.execute.kv_cache import KvCache
from zipar_worker.execute.linear import pack_linears_
from zipar_worker.families.decoder import Decoder, DecoderConfig, Rotary

_NAME = "zipar_bench"


def main() -> None:
    parser = argparse.ArgumentParser(prog="zipar_testing.bench_decoder", description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rows", type=int, default=2, help="of the batch: two branches of one image")
    parser.add_argument("--queries", type=int, default=5, help="per row")
    parser.add_argument("--slots", type=int, default=256, help="that a query sees")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    with torch.inference_mode():
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    config = DecoderConfig(
        dim=options.dim,
        layer_count=options.layers,
        head_count=options.dim // 64,
        kv_head_count=options.dim // 64,
        head_dim=64,
        feed_forward_width=8 * options.dim // 3,
        norm_epsilon=1e-6,
    )
    attention, positions = _step(config, options)
    hidden = torch.randn(options.rows, options.queries, options.dim)
    theirs, plain, packed = _theirs(config), _ours(config), _ours(config)
    pack_linears_(packed)
    rotary = Rotary(config.head_dim, 10000.0)
    runs: dict[str, Callable[[], object]] = {
        "transformers": lambda: _run_theirs(theirs, hidden, positions, attention),
        "ours": lambda: plain(hidden, rotary(positions, hidden.dtype), attention),
        "ours, packed": lambda: packed(hidden, rotary(positions, hidden.dtype), attention),
    }
    for run in runs.values():
        run()
    times = [{name: _milliseconds(run) for name, run in runs.items()} for _ in range(options.pairs)]
    for name in runs:
        ratio = median(pair[name] / pair["transformers"] for pair in times)
        print(f"{name:14} {median(pair[name] for pair in times):8.1f} ms a forward, {ratio:.3f} of transformers'")


def _step(config: DecoderConfig, options: argparse.Namespace) -> tuple[StepAttention, Tensor]:
    """The last queries of every row, which see all slots."""
    cache = KvCache(config.kv_shape, options.rows, options.slots, torch.float32, torch.device("cpu"))
    for tensor in (*cache.keys, *cache.values):
        tensor.normal_()
    slots = torch.arange(options.slots - options.queries, options.slots).expand(options.rows, -1)
    mask = torch.arange(options.slots) <= slots[:, None, :, None]
    rows = tuple(range(options.rows))
    step = cache.open_step_(rows, torch.tensor(rows), slots, torch.zeros_like(slots), options.slots)
    return StepAttention(step, mask, config.head_count), slots


def _ours(config: DecoderConfig) -> Decoder:
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        parameter.normal_(std=config.dim**-0.5)
    return decoder


def _theirs(config: DecoderConfig) -> nn.Module:
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, lambda *args, **kwargs: None)
    theirs = LlamaConfig(
        vocab_size=8,
        hidden_size=config.dim,
        intermediate_size=config.feed_forward_width,
        num_hidden_layers=config.layer_count,
        num_attention_heads=config.head_count,
    )
    theirs._attn_implementation = _NAME
    model: nn.Module = LlamaModel(theirs)
    return model


def _run_theirs(model: nn.Module, hidden: Tensor, positions: Tensor, attention: StepAttention) -> object:
    # Four dimensions are passed on as they are; without a mask the library would build one.
    mask = torch.empty(1, 1, 1, 1, dtype=torch.bool)
    return model(
        inputs_embeds=hidden, position_ids=positions, attention_mask=mask, use_cache=False, zipar_attention=attention
    )


def _attend(
    module: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, _mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The library's attention function: [B, heads, Q, D] in, [B, Q, heads, D] out."""
    attention: StepAttention = kwargs["zipar_attention"]
    layer = cast(int, module.layer_idx)
    return attention(layer, queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)), None


def _milliseconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return 1000 * (perf_counter() - start)


if __name__ == "__main__":
    main()
