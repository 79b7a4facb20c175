"""The Frechet distance between sets of pictures, as two Gaussians in a feature space.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017,
section 2, with the features of our own classifier in place of Inception's. It is a squared length in that space.
N pictures, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """mean: float64 [F]; covariance: float64 [F, F], unbiased."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The positive semi-definite square root of the covariance: float64 [F, F]."""
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * eigenvalues.clamp(min=0).sqrt()) @ vectors.T
        return root


def fit_gaussian(features: Tensor) -> Gaussian:
    """features: [N, F], N at least 2."""
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 pictures, received {len(features)}")
    wide = features.double()
    return Gaussian(wide.mean(dim=0), wide.T.cov())


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`.

    S1 S2 is similar to the positive semi-definite `S1^(1/2) S2 S1^(1/2)`, whose eigenvalues are real.
    """
    eigenvalues = torch.linalg.eigvalsh(first.root @ second.covariance @ first.root)
    cross = eigenvalues.clamp(min=0).sqrt().sum()
    traces = first.covariance.trace() + second.covariance.trace()
    return float((first.mean - second.mean).square().sum() + traces - 2 * cross)
