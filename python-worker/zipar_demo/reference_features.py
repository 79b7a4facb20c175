"""Writes `reference-features.safetensors` of a checkpoint folder: drawn pictures in the classifier's feature space.

python -m zipar_demo.reference_features --checkpoint DIRECTORY --work TRAINING_RUN
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from zipar_demo.encoder import Tokenizer
from zipar_demo.pixels import to_pictures, to_pixels
from zipar_demo.scenes import CLASS_NAMES, draw_batch
from zipar_demo.train_decoder import load_finished_tokenizer
from zipar_worker.judge.classifier import Classifier, load_classifier, picture_features
from zipar_worker.judge.frechet import fit_gaussian
from zipar_worker.judge.reference_features import REFERENCE_NAME, ReferenceFeatures, save_reference

PER_CLASS: Final = 100
"""Drawn pictures of each class behind mean and covariance."""
HELD_OUT_PER_CLASS: Final = 32
FIRST_SEED: Final = 4_000_000 - 4_000_000 % len(CLASS_NAMES)
"""Above the seeds of all training pictures, and where a round of the classes begins."""
_BATCH: Final = 16


def write_reference_features(checkpoint: Path, tokenizer: Tokenizer) -> None:
    """The folder has its classifier already. Draws some thousand pictures: a minute or two."""
    classifier = load_classifier(checkpoint / "classifier.safetensors")
    reference_count = PER_CLASS * len(CLASS_NAMES)
    gaussian = fit_gaussian(_drawn_features(classifier, FIRST_SEED, reference_count))
    pictures, classes = draw_batch(FIRST_SEED + reference_count, HELD_OUT_PER_CLASS * len(CLASS_NAMES))
    held_out = torch.from_numpy(pictures)
    reference = ReferenceFeatures(
        gaussian=gaussian,
        drawn=picture_features(classifier, held_out),
        reconstructed=picture_features(classifier, reconstruct(tokenizer, held_out)),
        labels=torch.from_numpy(classes),
    )
    save_reference(reference, checkpoint / REFERENCE_NAME)


@torch.inference_mode()
def reconstruct(tokenizer: Tokenizer, pictures: Tensor) -> Tensor:
    """Through tokens and back. pictures: uint8 [N, H, W, 3] -> the same shape."""
    batches = (to_pixels(pictures[first : first + _BATCH]) for first in range(0, len(pictures), _BATCH))
    return torch.cat([to_pictures(tokenizer.decode(tokenizer.tokenize(batch))) for batch in batches])


def _drawn_features(classifier: Classifier, first_seed: int, count: int) -> Tensor:
    """Features of freshly drawn pictures, never all of them in memory: float32 [count, F]."""
    firsts = range(first_seed, first_seed + count, _BATCH)
    batches = (draw_batch(first, min(_BATCH, first_seed + count - first))[0] for first in firsts)
    return torch.cat([picture_features(classifier, torch.from_numpy(pictures)) for pictures in batches])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="zipar_demo.reference_features", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder with classifier.safetensors")
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run: its tokenizer is used")
    options = parser.parse_args(arguments)
    write_reference_features(options.checkpoint, load_finished_tokenizer(options.work))


if __name__ == "__main__":
    main()
