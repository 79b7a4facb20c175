"""What the host learns of a forward: chosen on the device, packed into one tensor, read back in one copy."""

from __future__ import annotations

from array import array

import torch
from torch import Tensor

from zipar_worker.errors import WorkerError
from zipar_worker.execute.contract import ForwardResult
from zipar_worker.execute.sampling import draw, filtered_weights, guide, normalised
from zipar_worker.execute.step_layout import Step


def choose(step: Step, logits: Tensor) -> Tensor:
    """Guides, filters and draws. logits: float32 [L, V], of the step's `logit_rows` -> float32, for `read_back`.

    First the bits of float64 values: W flags that say whether the logits are finite, D tokens, D probabilities; then
    the float32 probabilities of the distributions, [N, V].
    """
    conditional, unconditional = logits[: len(step.unconditional)], logits.index_select(0, step.unconditional)
    guided = guide(conditional, unconditional, step.guidance_scales.float())
    weights = filtered_weights(guided, step.filters)
    tokens, probabilities = draw(weights.index_select(0, step.draws), step.uniforms)
    finite = guided.isfinite().all(dim=-1)
    head = torch.cat((finite.double(), tokens.double(), probabilities)).view(torch.float32)
    distributions = normalised(weights.index_select(0, step.distributions))
    return torch.cat((head, distributions.flatten()))


def read_back(step: Step, outcome: Tensor) -> ForwardResult:
    """The one copy to the host. Raises `checkpoint` where the model gave no numbers."""
    host = outcome.cpu()
    wanted_count, draw_count, distribution_count = len(step.unconditional), len(step.draws), len(step.distributions)
    head_size = 2 * (wanted_count + 2 * draw_count)
    head = host[:head_size].view(torch.float64).tolist()
    if not all(head[:wanted_count]):
        raise WorkerError(
            "checkpoint",
            "The model gave logits that are not finite numbers. Its weights are damaged, or they overflow in float16: "
            "use bfloat16 or float32.",
        )
    tokens = array("i", [int(token) for token in head[wanted_count : wanted_count + draw_count]])
    probabilities = array("f", head[wanted_count + draw_count :])
    lengths, distribution_tokens, distribution_probabilities = array("i"), array("i"), array("f")
    if distribution_count:
        for distribution in host[head_size:].view(distribution_count, -1):
            kept = distribution.nonzero()[:, 0]
            lengths.append(len(kept))
            distribution_tokens.extend(kept.tolist())
            distribution_probabilities.extend(distribution[kept].tolist())
    return ForwardResult(
        drawn_tokens=memoryview(tokens),
        drawn_probabilities=memoryview(probabilities),
        distribution_lengths=memoryview(lengths),
        distribution_tokens=memoryview(distribution_tokens),
        distribution_probabilities=memoryview(distribution_probabilities),
    )
