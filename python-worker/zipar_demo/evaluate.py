"""Lets the classifier name generated pictures: are they what was asked for?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
import torch

from zipar_demo.classifier import held_out_accuracy, load_trained_classifier, predict
from zipar_demo.pixels import save_sheet
from zipar_demo.run_state import Reporter, load_trained_
from zipar_demo.sample import SamplingSettings, decode_tokens, sample_tokens
from zipar_demo.scenes import CLASS_NAMES
from zipar_demo.train_decoder import load_finished_tokenizer
from zipar_demo.train_transformer import CONFIG, RUN_NAME
from zipar_demo.transformer import Transformer

RESULT_NAME: Final = "evaluation.json"
SHEET_NAME: Final = "samples.png"
_ROUND = 4
"""Samples per class that are generated as one batch."""


@dataclass(frozen=True)
class Evaluation:
    """accuracies: share of a class's samples that the classifier names so; drawn: the same over drawn pictures."""

    settings: SamplingSettings
    seed: int
    samples_per_class: int
    accuracies: dict[str, float]
    drawn: float

    @property
    def mean_accuracy(self) -> float:
        return sum(self.accuracies.values()) / len(self.accuracies)


def evaluate(work: Path, settings: SamplingSettings, samples_per_class: int, seed: int) -> Evaluation:
    """Generate pictures of every class, have them named, write the result and a sheet of the pictures into `work`."""
    model, tokenizer, classifier = load_transformer(work), load_finished_tokenizer(work), load_trained_classifier(work)
    classes = list(range(len(CLASS_NAMES)))
    random = torch.Generator().manual_seed(seed)
    reporter = Reporter("samples", samples_per_class, 0, work / "samples.jsonl")
    pictures = []
    for first in range(0, samples_per_class, _ROUND):
        round_size = min(_ROUND, samples_per_class - first)
        tokens = sample_tokens(model, classes * round_size, settings, random)
        pictures.append(decode_tokens(tokenizer, tokens, CONFIG.rows))
        reporter.report(first + round_size - 1)
    everything = torch.cat(pictures)
    found = predict(classifier, everything).view(samples_per_class, len(classes))
    shares = (found == torch.tensor(classes)).double().mean(dim=0)
    evaluation = Evaluation(
        settings,
        seed,
        samples_per_class,
        dict(zip(CLASS_NAMES, shares.tolist(), strict=True)),
        held_out_accuracy(classifier),
    )
    save_sheet(work / SHEET_NAME, everything.numpy(), columns=len(CLASS_NAMES))
    (work / RESULT_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(asdict(evaluation)), indent=2))
    return evaluation


def read_evaluation(work: Path) -> Evaluation:
    path = work / RESULT_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; run `evaluate` first")
    return msgspec.json.decode(path.read_bytes(), type=Evaluation)


def draw_samples(work: Path, out: Path, settings: SamplingSettings, per_class: int, seed: int) -> None:
    """Write a sheet with one column of generated pictures per class."""
    classes = [index for _ in range(per_class) for index in range(len(CLASS_NAMES))]
    tokens = sample_tokens(load_transformer(work), classes, settings, torch.Generator().manual_seed(seed))
    save_sheet(out, decode_tokens(load_finished_tokenizer(work), tokens, CONFIG.rows).numpy(), columns=len(CLASS_NAMES))


def load_transformer(work: Path) -> Transformer:
    """The moving average of the weights that were trained in `work`, for use."""
    model = Transformer(CONFIG)
    load_trained_(work / RUN_NAME, "average", model)
    return model
