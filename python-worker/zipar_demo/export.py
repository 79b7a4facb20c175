"""Writes the demo checkpoint: weights under LlamaGen's official keys, a sidecar, the classifier and a card."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors.torch import save
from torch import nn

from zipar_demo import train_tokenizer, train_transformer
from zipar_demo.card import write_card
from zipar_demo.classifier import load_trained_classifier
from zipar_demo.evaluate import load_transformer, read_evaluation
from zipar_demo.reference_features import write_reference_features
from zipar_demo.sample import SamplingSettings
from zipar_demo.scenes import CLASS_NAMES
from zipar_demo.train_decoder import load_finished_tokenizer
from zipar_worker.checkpoints.sidecar import SIDECAR_NAME
from zipar_worker.families.llamagen.sidecar import Sidecar, SidecarConfig, SidecarVq
from zipar_worker.wire.protocol import SamplingDefaults

MODEL_NAME: Final = "model.safetensors"
VQ_NAME: Final = "vq.safetensors"
CLASSIFIER_NAME: Final = "classifier.safetensors"
CARD_NAME: Final = "README.md"
WINDOW: Final = 16
"""The default window: next-token order. Narrower ones cost pictures, and lookahead makes this one fast."""


def export_checkpoint(work: Path, out: Path) -> None:
    """Write everything that the worker needs, from the runs and the evaluation in `work`."""
    out.mkdir(parents=True, exist_ok=True)
    evaluation, tokenizer = read_evaluation(work), load_finished_tokenizer(work)
    save_half(load_transformer(work), out / MODEL_NAME)
    save_half(tokenizer, out / VQ_NAME)
    save_half(load_trained_classifier(work), out / CLASSIFIER_NAME)
    (out / SIDECAR_NAME).write_bytes(
        msgspec.json.format(msgspec.json.encode(make_sidecar(evaluation.settings)), indent=2) + b"\n"
    )
    write_reference_features(out, tokenizer)
    write_card(out / CARD_NAME, work, evaluation)


def make_sidecar(settings: SamplingSettings) -> Sidecar:
    config, vq = train_transformer.CONFIG, train_tokenizer.CONFIG
    return Sidecar(
        family="llamagen",
        name="zipar demo",
        weights=MODEL_NAME,
        config=SidecarConfig(
            dim=config.dim,
            layers=config.layers,
            heads=config.heads,
            vocab_size=config.vocab_size,
            rows=config.rows,
            columns=config.columns,
            conditioning="class",
            class_count=config.class_count,
        ),
        class_names=CLASS_NAMES,
        defaults=SamplingDefaults(
            guidance_scale=settings.guidance_scale,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=1.0,
            window=WINDOW,
        ),
        vq=SidecarVq(
            weights=VQ_NAME,
            codebook_size=vq.codebook_size,
            embedding_dim=vq.embedding_dim,
            channels=vq.channels,
            channel_multipliers=vq.channel_multipliers,
            residual_blocks=vq.residual_blocks,
            latent_channels=vq.latent_channels,
        ),
    )


def save_half(model: nn.Module, path: Path) -> None:
    """Weights in float16: half the bytes, and no difference that an eye could see."""
    path.write_bytes(save({key: value.to(torch.float16).contiguous() for key, value in model.state_dict().items()}))
