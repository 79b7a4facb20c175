"""The reference ZipAR for LlamaGen: the folder `LlamaGen-ZipAR` of a checkout."""

from __future__ import annotations

import argparse
from importlib import import_module

from zipar_testing.against.checkout import import_from_checkout_
from zipar_testing.against.llamagen import greedy, load_transformer
from zipar_testing.against.loop import Loop


def load(options: argparse.Namespace) -> Loop:
    import_from_checkout_(options, "https://github.com/ThisisBillhe/ZipAR", "LlamaGen-ZipAR")
    model = load_transformer(options.model)
    model.zipar_window_size = options.window
    zipar = import_module("autoregressive.models.generate_zipar").generate

    def generate(prompt: str) -> list[int]:
        codes = greedy(zipar, model, prompt, options.guidance)
        model.reset_zipar()  # as its script does after each image
        return codes

    return Loop(model, generate)
