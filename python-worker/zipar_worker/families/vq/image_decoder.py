"""What the decoder of every image tokenizer offers."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class ImageDecoder(nn.Module):
    """From codes to pixels."""

    pixels_per_token: int
    """Side of the square of pixels that one token stands for."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """codes: int64 [B, rows, columns] -> [B, 3, height, width], about -1 to 1"""
