"""What the judge says of sets of pictures: are they of their class, and how far are they from drawn ones?

A Frechet distance of few pictures is biased upwards, so only sets of the same size can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from zipar_worker.judge.classifier import Classifier, load_classifier, picture_features
from zipar_worker.judge.frechet import Gaussian, fit_gaussian, frechet_distance
from zipar_worker.judge.picture_sets import load_pictures
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
