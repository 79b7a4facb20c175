"""The card of the demo checkpoint: what it was made from, how, and how good it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from torch import nn

from zipar_demo import classifier, token_set, train_decoder, train_tokenizer, train_transformer
from zipar_demo.encoder import Tokenizer
from zipar_demo.evaluate import Evaluation
from zipar_demo.run_state import training_seconds
from zipar_demo.scenes import CLASS_NAMES, SIZE
from zipar_demo.transformer import Transformer

LOGS: Final = {
    "tokenizer": train_tokenizer.LOG_NAME,
    "decoder": train_decoder.LOG_NAME,
    "transformer": train_transformer.LOG_NAME,
    "classifier": classifier.LOG_NAME,
}
NEWLINE: Final = "\n"
"""Python 3.11 allows no backslash within the braces of an f-string."""


def write_card(path: Path, work: Path, evaluation: Evaluation) -> None:
    """Write the card from the logs of the runs in `work`."""
    path.write_text("\n\n".join([_purpose(), _data(), _networks(work), _quality(evaluation), _rebuild(work)]) + "\n")


def _purpose() -> str:
    return f"""# Demo checkpoint

A class-conditional image generator in LlamaGen's architecture and key layout, small enough for any laptop, so that
zipar has something to show right after installing. It draws {SIZE} x {SIZE} pixel pictures of {len(CLASS_NAMES)} kinds:
{", ".join(CLASS_NAMES)}.

It was made from nothing but the code in `python-worker/zipar_demo`. Licence: MIT, like the rest of the repository.
It knows these pictures and nothing else: it is for trying the software out, not for measuring image quality."""


def _data() -> str:
    scenes = token_set.SHARD * train_transformer.SHARDS
    return f"""## Data

Every picture is drawn by code (`scenes`) from its class and a number, the classes taking turns.

| use | pictures | seeds |
| --- | --- | --- |
| tokenizer, classifier | {train_tokenizer.POOL} | from 0 |
| transformer | {scenes - train_transformer.HELD_OUT} | from {token_set.FIRST_SEED} |
| transformer, held out | {train_transformer.HELD_OUT} | the {train_transformer.HELD_OUT} after those |
| classifier, held out | {classifier.HELD_OUT_COUNT} | from {classifier.HELD_OUT_SEED} |"""


def _networks(work: Path) -> str:
    vq, config = train_tokenizer.CONFIG, train_transformer.CONFIG
    tokenizer = Tokenizer(vq)
    counts = {
        "tokenizer": tokenizer,
        "decoder": nn.ModuleList([tokenizer.decoder, tokenizer.post_quant_conv]),
        "transformer": Transformer(config),
        "classifier": classifier.make_classifier(),
    }
    lines = ["| network | parameters | steps | loss at the end | minutes |", "| --- | --- | --- | --- | --- |"]
    for name, model in counts.items():
        log = work / LOGS[name]
        last = _entries(log)[-1]
        count = sum(weight.numel() for weight in model.parameters())
        loss = f"{last['loss']:.3f}" + (f", held out {last['held_out']:.3f}" if "held_out" in last else "")
        lines.append(f"| {name} | {count:,} | {last['step']:.0f} | {loss} | {training_seconds(log) / 60:.0f} |")
    planned = list(dict.fromkeys(f"{entry['of']:,.0f}" for entry in _entries(work / LOGS["transformer"])))
    schedule = f"Its schedule was changed on the way: planned for {', then '.join(planned)} steps."
    return f"""## Networks

{NEWLINE.join(lines)}

Trained on a machine with 2 CPU cores that did other work besides, in bfloat16 with float32 weights; stored in float16.

- Tokenizer (`vq.safetensors`): {vq.codebook_size} codes, each for {vq.pixels_per_token} x {vq.pixels_per_token} pixels;
  {vq.channels} channels times {", ".join(map(str, vq.channel_multipliers))}. AdamW, first without quantisation, then on
  crops, then on whole pictures; at last the decoder alone. The loss is that of the pixels and edges.
- Transformer (`model.safetensors`): {config.layers} layers, dim {config.dim}, {config.heads} heads, {config.rows} x \
{config.columns} tokens. Muon for the matrices of the
  layers, AdamW for the rest, {train_transformer.BATCH} pictures a step, {train_transformer.CLASS_DROPOUT:.0%} of them \
without their class, which guidance needs. Stored is the
  moving average of the weights. The loss is in nats per token.
  {schedule if len(planned) > 1 else "Its schedule was kept."}
- Classifier (`classifier.safetensors`): judges samples; generating does not need it."""


def _quality(evaluation: Evaluation) -> str:
    settings = evaluation.settings
    names = list(evaluation.accuracies)
    lines = [f"| {name} | {evaluation.accuracies[name]:.0%} |" for name in names]
    table = "\n".join(["| class | recognised |", "| --- | --- |", *lines, f"| mean | {evaluation.mean_accuracy:.1%} |"])
    return f"""## Quality

Share of next-token samples that the classifier names as what was asked for: {evaluation.samples_per_class} per class,
guidance scale {settings.guidance_scale:g}, temperature {settings.temperature:g}, top-k \
{settings.top_k or "off"}, seed {evaluation.seed}. Of drawn pictures it names {evaluation.drawn:.1%} correctly.

{table}"""


def _rebuild(work: Path) -> str:
    steps = " ".join(f"--{name}-steps {_entries(work / log)[-1]['step']:.0f}" for name, log in LOGS.items())
    return f"""## Rebuild

In `python-worker`, with the packages of its `test` extra:

    python -m zipar_demo build --out ../checkpoints/demo --work DIRECTORY --seed 7 \\
      {steps}

It shows its progress and goes on where it was stopped. The same seed gives the same pictures in the same order; the
weights still differ in their last digits from machine to machine."""


def _entries(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()]
