"""Janus-Pro by `generate` of transformers."""

from __future__ import annotations

import argparse

import torch
from transformers import JanusForConditionalGeneration

from zipar_testing.against.loop import Loop
from zipar_worker.families.janus.prompt import TOKENIZER_NAME, JanusTokenizer


def load(options: argparse.Namespace) -> Loop:
    model = JanusForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    tokenizer = JanusTokenizer(options.model / TOKENIZER_NAME)

    def generate(prompt: str) -> list[int]:
        ids = torch.tensor([tokenizer.encode(prompt)])
        codes = model.generate(
            inputs=ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=False,
            guidance_scale=options.guidance,
        )
        return [int(code) for code in codes[0]]

    return Loop(model.model.language_model, generate)
