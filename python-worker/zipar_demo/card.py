"""The card of the demo checkpoint: what it was made from, how, and how good it is."""

from __future__ import annotations

import json
from pathlib import Path

from zipar_demo import classifier, token_set, train_tokenizer, train_transformer
from zipar_demo.encoder import Tokenizer
from zipar_demo.evaluate import Evaluation
from zipar_demo.run_state import training_seconds
from zipar_demo.scenes import CLASS_NAMES, SIZE
from zipar_demo.transformer import Transformer


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
    tokenizer, transformer = Tokenizer(vq), Transformer(config)
    tokenizer_end = _last_entry(work / train_tokenizer.LOG_NAME)
    transformer_end = _last_entry(work / train_transformer.LOG_NAME)
    classifier_end = _last_entry(work / classifier.LOG_NAME)
    rows = [
        (
            f"tokenizer `vq.safetensors`: {vq.codebook_size} codes, {vq.pixels_per_token} x {vq.pixels_per_token} "
            f"pixels each, {vq.channels} channels x {vq.channel_multipliers}",
            tokenizer,
            tokenizer_end,
            f"pixels {tokenizer_end['pixels']:.4f} (absolute + squared, pixels in -1..1)",
            work / train_tokenizer.LOG_NAME,
        ),
        (
            f"transformer `model.safetensors`: {config.layers} layers, dim {config.dim}, {config.heads} heads, "
            f"{config.rows} x {config.columns} tokens",
            transformer,
            transformer_end,
            f"{transformer_end['loss']:.3f} nats per token, held out {transformer_end['held_out']:.3f}",
            work / train_transformer.LOG_NAME,
        ),
        (
            "classifier `classifier.safetensors`: judges samples, not needed to generate",
            classifier.Classifier(),
            classifier_end,
            f"{classifier_end['loss']:.4f} nats",
            work / classifier.LOG_NAME,
        ),
    ]
    lines = [
        f"| {name} | {sum(weight.numel() for weight in model.parameters()):,} | {end['step']:.0f} | {loss} "
        f"| {training_seconds(log) / 60:.0f} |"
        for name, model, end, loss, log in rows
    ]
    table = "\n".join(
        ["| network | parameters | steps | last loss | minutes |", "| --- | --- | --- | --- | --- |", *lines]
    )
    return f"""## Networks

{table}

Trained on a machine with 2 CPU cores that also did other work, in bfloat16 with float32 weights; stored in float16.
Tokenizer: AdamW, first without quantisation, then on crops, at last on whole pictures. Transformer: Muon for the
matrices of the layers, AdamW for the rest, {train_transformer.BATCH} pictures a step,
{train_transformer.CLASS_DROPOUT:.0%} of them without their class, which guidance needs; stored is the moving average
of the weights."""


def _quality(evaluation: Evaluation) -> str:
    settings = evaluation.settings
    names = list(evaluation.accuracies)
    lines = [f"| {name} | {evaluation.accuracies[name]:.0%} |" for name in names]
    table = "\n".join(["| class | recognised |", "| --- | --- |", *lines, f"| mean | {evaluation.mean_accuracy:.1%} |"])
    return f"""## Quality

Share of next-token samples that the classifier names as what was asked for: {evaluation.samples_per_class} per class,
guidance scale {settings.guidance_scale:g}, temperature {settings.temperature:g}, top-k {settings.top_k or "off"},
seed {evaluation.seed}. Of drawn pictures it names {evaluation.drawn:.1%} correctly.

{table}"""


def _rebuild(work: Path) -> str:
    logs = {
        "tokenizer": train_tokenizer.LOG_NAME,
        "transformer": train_transformer.LOG_NAME,
        "classifier": classifier.LOG_NAME,
    }
    steps = " ".join(f"--{name}-steps {_last_entry(work / log)['step']:.0f}" for name, log in logs.items())
    return f"""## Rebuild

In `python-worker`, with the packages of its `test` extra:

    python -m zipar_demo build --out ../checkpoints/demo --work DIRECTORY --seed 7 \\
      {steps}

It shows its progress and goes on where it was stopped. The same seed gives the same pictures in the same order; the
weights still differ in their last digits from machine to machine."""


def _last_entry(log: Path) -> dict[str, float]:
    entry: dict[str, float] = json.loads(log.read_text().splitlines()[-1])
    return entry
