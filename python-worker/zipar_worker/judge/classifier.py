"""The small judge that comes with a demo checkpoint (`classifier.safetensors`): names the class of a picture.

Its features are the space in which `zipar eval` compares sets of pictures. It was trained on drawn pictures only.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from zipar_worker.errors import WorkerError

GROUPS = 8
"""Of every normalisation."""


class Classifier(nn.Module):
    """Strided convolutions on the picture at half size, then the mean over positions.

    widths: channels of the picture (3) and after each convolution, the last of which are the features.
    """

    def __init__(self, widths: tuple[int, ...], class_count: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, b) for _, b in pairs)
        self.head = nn.Linear(widths[-1], class_count)

    def features(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, H, W] in [-1, 1] -> [B, widths[-1]]."""
        hidden = F.avg_pool2d(pixels, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = F.silu(norm(convolution(hidden)))
        return hidden.mean(dim=(2, 3))

    def logits(self, pixels: Tensor) -> Tensor:
        """pixels: [B, 3, H, W] in [-1, 1] -> [B, class_count]."""
        scores: Tensor = self.head(self.features(pixels))
        return scores

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits(pixels)


def load_classifier(path: Path) -> Classifier:
    """The classifier of a file, for use, in float32; the shapes of its tensors say how large it is.

    Raises `checkpoint` for a file that holds none.
    """
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        model = Classifier(_widths(state), len(state["head.bias"]))
        model.load_state_dict(state)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WorkerError(
            "checkpoint",
            f"{path} holds no classifier of pictures: {str(error).splitlines()[0]}. Get the checkpoint again.",
        ) from error
    model.eval().requires_grad_(False)
    return model


@torch.inference_mode()
def picture_features(model: Classifier, pictures: Tensor, batch: int = 32) -> Tensor:
    """pictures: uint8 [N, H, W, 3] -> features: float32 [N, F]."""
    firsts = range(0, len(pictures), batch)
    return torch.cat([model.features(to_pixels(pictures[first : first + batch])) for first in firsts])


def to_pixels(pictures: Tensor) -> Tensor:
    """pictures: uint8 [B, H, W, 3] -> [B, 3, H, W] in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def _widths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    widths = [int(state["convolutions.0.weight"].shape[1])]
    while (name := f"convolutions.{len(widths) - 1}.weight") in state:
        widths.append(int(state[name].shape[0]))
    return tuple(widths)
