"""Makes the demo checkpoint, in one go or step by step.

    python -m zipar_demo build --out ../checkpoints/demo --work RUN

Every step keeps its state in the work folder and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from zipar_demo.classifier import held_out_accuracy, train_classifier
from zipar_demo.evaluate import draw_samples, evaluate
from zipar_demo.export import export_checkpoint
from zipar_demo.pixels import save_sheet
from zipar_demo.sample import SamplingSettings
from zipar_demo.scenes import CLASS_NAMES, draw_batch
from zipar_demo.slices import THREADS
from zipar_demo.token_set import make_token_set
from zipar_demo.train_decoder import train_decoder
from zipar_demo.train_tokenizer import train_tokenizer
from zipar_demo.train_transformer import SHARDS, train_transformer

SHEET_ROWS = 4


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(THREADS)
    options.work.mkdir(parents=True, exist_ok=True)
    commands = {
        "tokenizer": _tokenizer,
        "decoder": _decoder,
        "transformer": _transformer,
        "classifier": _classifier,
        "evaluate": _evaluate,
        "export": _export,
    }
    chosen = list(commands) if options.command == "build" else [options.command]
    for name in chosen:
        ({"draw": _draw, "sample": _sample} | commands)[name](options)


def _draw(options: argparse.Namespace) -> None:
    pictures, _ = draw_batch(options.seed, SHEET_ROWS * len(CLASS_NAMES))
    save_sheet(options.work / "drawn.png", pictures, len(CLASS_NAMES))


def _tokenizer(options: argparse.Namespace) -> None:
    train_tokenizer(options.work, options.tokenizer_steps, options.seed)


def _decoder(options: argparse.Namespace) -> None:
    train_decoder(options.work, options.decoder_steps, options.seed)


def _transformer(options: argparse.Namespace) -> None:
    train_transformer(options.work, make_token_set(options.work, SHARDS), options.transformer_steps, options.seed)


def _classifier(options: argparse.Namespace) -> None:
    model = train_classifier(options.work, options.classifier_steps, options.seed)
    print(f"recognises {held_out_accuracy(model):.1%} of the drawn pictures held out")


def _sample(options: argparse.Namespace) -> None:
    draw_samples(options.work, options.work / "sheet.png", _settings(options), SHEET_ROWS, options.seed)


def _evaluate(options: argparse.Namespace) -> None:
    evaluation = evaluate(options.work, _settings(options), options.samples, options.seed)
    for name, share in evaluation.accuracies.items():
        print(f"{name:12} {share:.0%}")
    print(f"{'mean':12} {evaluation.mean_accuracy:.1%}")


def _export(options: argparse.Namespace) -> None:
    export_checkpoint(options.work, options.out)


def _settings(options: argparse.Namespace) -> SamplingSettings:
    return SamplingSettings(options.guidance_scale, options.temperature, options.top_k)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zipar_demo", description="Makes the demo checkpoint.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in _HELP.items():
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--work", type=Path, required=True, help="folder of the runs")
        command.add_argument("--seed", type=int, default=7)
        if name in ("build", "export"):
            command.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
        for stage, steps in (("tokenizer", 1500), ("decoder", 300), ("transformer", 2050), ("classifier", 300)):
            if name in ("build", stage):
                command.add_argument(f"--{stage}-steps", type=int, default=steps)
        if name in ("build", "sample", "evaluate"):
            defaults = SamplingSettings()
            command.add_argument("--guidance-scale", type=float, default=defaults.guidance_scale)
            command.add_argument("--temperature", type=float, default=defaults.temperature)
            command.add_argument("--top-k", type=int, default=defaults.top_k)
        if name in ("build", "evaluate"):
            command.add_argument("--samples", type=int, default=20, help="per class")
    return parser


_HELP = {
    "build": "all steps from nothing to the checkpoint",
    "draw": "draw a sheet of training pictures",
    "tokenizer": "train the image tokenizer",
    "decoder": "go on with the tokenizer's decoder alone, the tokens being fixed",
    "transformer": "tokenize pictures and train the transformer",
    "classifier": "train the classifier that judges samples",
    "sample": "generate a sheet of pictures",
    "evaluate": "have generated pictures named by the classifier",
    "export": "write the checkpoint",
}

if __name__ == "__main__":
    main()
