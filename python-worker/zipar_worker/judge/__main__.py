"""Judges pictures that `zipar eval` generated: are they of their class, and how far are they from drawn ones?

    python -m zipar_worker.judge --checkpoint DIRECTORY SET.safetensors...

Each SET holds `pictures` uint8 [N, H, W, 3] and `labels` int32 [N]. The directory holds `classifier.safetensors` and
`reference-features.safetensors`. Prints one JSON object:

    {"sets": [VERDICT...], "drawn": VERDICT, "reconstructed": VERDICT}
    VERDICT = {"correct": [0 or 1, per picture], "frechet": number, "frechetResamples": [numbers]}

`drawn` and `reconstructed` judge as many held-out drawn pictures as the smallest set has of each class, and the same
after the image tokenizer: what a perfect model would get. A Frechet distance of few pictures is biased upwards, so only
sets of the same size can be compared. `frechetResamples` are bootstrap values, pictures drawn anew with replacement
within each class; resample k chooses the same places in all sets with the same labels, so that differences pair up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.judge.classifier import Classifier, load_classifier, picture_features
from zipar_worker.judge.frechet import Gaussian, fit_gaussian, frechet_distance
from zipar_worker.judge.reference_features import REFERENCE_NAME, load_reference

CLASSIFIER_NAME = "classifier.safetensors"
RESAMPLE_COUNT = 200
_SEED = 1


class Verdict(msgspec.Struct, frozen=True, rename="camel"):
    """On one set of pictures."""

    correct: list[int]
    frechet: float
    frechet_resamples: list[float]


class Judgement(msgspec.Struct, frozen=True, rename="camel"):
    sets: list[Verdict]
    drawn: Verdict
    reconstructed: Verdict


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="zipar_worker.judge", description="Judges generated pictures.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory with the classifier")
    parser.add_argument("sets", type=Path, nargs="+", help="safetensors files with pictures and labels")
    options = parser.parse_args(arguments)
    try:
        judgement = judge(options.checkpoint, options.sets)
    except WorkerError as error:
        print(error.message, file=sys.stderr)
        return 1
    sys.stdout.write(msgspec.json.encode(judgement).decode() + "\n")
    return 0


def judge(checkpoint: Path, paths: Sequence[Path]) -> Judgement:
    """Raises `checkpoint` for a directory without judge, `bad-request` for a file that is no set of pictures."""
    classifier = load_classifier(checkpoint / CLASSIFIER_NAME)
    reference = load_reference(checkpoint / REFERENCE_NAME, classifier.head.in_features)
    verdicts: list[Verdict] = []
    all_labels: list[Tensor] = []
    for path in paths:
        pictures, labels = load_pictures(path)
        verdicts.append(judge_features(classifier, picture_features(classifier, pictures), labels, reference.gaussian))
        all_labels.append(labels)
    smallest = min(int(labels.bincount()[labels].min()) for labels in all_labels)
    chosen = first_of_each(reference.labels, classes_of(torch.cat(all_labels)), smallest)
    labels = reference.labels[chosen]
    return Judgement(
        sets=verdicts,
        drawn=judge_features(classifier, reference.drawn[chosen], labels, reference.gaussian),
        reconstructed=judge_features(classifier, reference.reconstructed[chosen], labels, reference.gaussian),
    )


@torch.inference_mode()
def judge_features(classifier: Classifier, features: Tensor, labels: Tensor, reference: Gaussian) -> Verdict:
    """features: [N, F]; labels: int64 [N]."""
    correct = classifier.head(features).argmax(dim=1) == labels
    random = torch.Generator().manual_seed(_SEED)
    resamples = [
        frechet_distance(reference, fit_gaussian(features[resample_within(labels, random)]))
        for _ in range(RESAMPLE_COUNT)
    ]
    return Verdict(correct.int().tolist(), frechet_distance(reference, fit_gaussian(features)), resamples)


def resample_within(labels: Tensor, random: torch.Generator) -> Tensor:
    """labels: [N] -> as many indices, drawn with replacement from those with the same label: int64 [N]."""
    chosen = torch.empty_like(labels)
    for label in classes_of(labels):
        places = (labels == label).nonzero()[:, 0]
        chosen[places] = places[torch.randint(len(places), places.shape, generator=random)]
    return chosen


def classes_of(labels: Tensor) -> list[int]:
    """Those that occur, ascending."""
    return sorted(set(labels.tolist()))


def first_of_each(labels: Tensor, classes: Sequence[int], count: int) -> Tensor:
    """Indices of the first `count` pictures of each class, or of all where there are fewer: int64 [M]."""
    return torch.cat([(labels == label).nonzero()[:count, 0] for label in classes])


def load_pictures(path: Path) -> tuple[Tensor, Tensor]:
    """pictures: uint8 [N, H, W, 3]; labels: int64 [N]. Raises `bad-request`."""
    try:
        tensors = load_file(path)
        pictures, labels = tensors["pictures"], tensors["labels"].long()
    except (SafetensorError, OSError, KeyError) as error:
        raise WorkerError("bad-request", f"{path} cannot be read as a set of pictures: {error}.") from error
    if pictures.dim() != 4 or pictures.shape[-1] != 3 or pictures.dtype != torch.uint8 or len(labels) != len(pictures):
        raise WorkerError(
            "bad-request",
            f"{path}: expected pictures uint8 [N, H, W, 3] and as many labels, received {pictures.dtype} "
            f"{list(pictures.shape)} and {len(labels)} labels.",
        )
    if len(pictures) < 2:
        raise WorkerError("bad-request", f"{path} holds {len(pictures)} pictures; a distance needs at least 2.")
    return pictures, labels


if __name__ == "__main__":
    sys.exit(main())
