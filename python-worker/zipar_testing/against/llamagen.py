"""Next-token order of the official LlamaGen: `autoregressive/models` of a checkout."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from zipar_testing.against.checkout import import_from_checkout_
from zipar_testing.against.loop import Loop
from zipar_worker.families.llamagen.sidecar import read_llamagen_sidecar


def load(options: argparse.Namespace) -> Loop:
    import_from_checkout_(options, "https://github.com/FoundationVision/LlamaGen")
    model = load_transformer(options.model)
    generate = import_module("autoregressive.models.generate").generate
    return Loop(model, lambda prompt: greedy(generate, model, prompt, options.guidance))


def load_transformer(directory: Path) -> Any:
    """The checkout's own transformer, filled from a directory of `zipar_testing.tiny llamagen`."""
    sidecar = read_llamagen_sidecar(directory)
    config = sidecar.config
    gpt = import_module("autoregressive.models.gpt")
    model = gpt.Transformer(
        gpt.ModelArgs(
            dim=config.dim,
            n_layer=config.layers,
            n_head=config.heads,
            vocab_size=config.vocab_size,
            block_size=config.rows * config.columns,
            num_classes=config.class_count,
        )
    )
    model.load_state_dict(load_file(directory / sidecar.weights))
    return model.eval()


def greedy(generate: Any, model: Any, prompt: str, guidance: float) -> list[int]:
    """generate: the checkout's, called as its own scripts do, but without a draw."""
    codes = generate(
        model,
        torch.tensor([int(prompt)]),
        model.block_size,
        cfg_scale=guidance,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        sample_logits=False,
    )
    return [int(code) for code in codes[0]]
