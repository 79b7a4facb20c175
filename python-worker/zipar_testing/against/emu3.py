"""Emu3-Gen by `generate` of transformers, which takes a forward for each branch of guidance.

As its documentation shows it, but with zipar's prompts: those of the original code (docs/models/emu3.md).
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor
from transformers import Emu3ForConditionalGeneration

from zipar_testing.against.loop import Loop
from zipar_worker.families.emu3.vocabulary import END_ROW, NEGATIVE_PROMPT, POSITIVE_SUFFIX, read_tokenizer_json

PIXELS_PER_TOKEN = 8


def load(options: argparse.Namespace) -> Loop:
    model = Emu3ForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    vocabulary = read_tokenizer_json(options.model)
    area = json.loads((options.model / "config.json").read_text())["image_area"]
    side = round(area**0.5 / PIXELS_PER_TOKEN)
    first = vocabulary.first_code
    codes = torch.arange(first, first + vocabulary.code_count)
    end_row = torch.tensor([vocabulary.ids[END_ROW]])

    def generate(prompt: str) -> list[int]:
        texts = (prompt + POSITIVE_SUFFIX, NEGATIVE_PROMPT)
        ids, negative = (torch.tensor([vocabulary.encode_prompt(text, side, side)]) for text in texts)
        length = ids.shape[1]

        def allowed(_: int, sequence: Tensor) -> Tensor:
            return end_row if (len(sequence) - length) % (side + 1) == side else codes

        sequences = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            negative_prompt_ids=negative,
            negative_prompt_attention_mask=torch.ones_like(negative),
            guidance_scale=options.guidance,
            prefix_allowed_tokens_fn=allowed,
            do_sample=False,
            max_new_tokens=side * (side + 1) - 1,  # nothing needs the end of the last row
        )
        image = sequences[0, length:]
        return [int(token) - first for token in image if token != end_row]

    return Loop(model.model.text_model, generate)
