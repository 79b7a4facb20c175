"""How far what a device gave lies from what the CPU gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zipar_testing.executor_requests import forward_request
from zipar_testing.gpu_check.random_models import Served
from zipar_testing.gpu_check.recording import Recording, dense_feed, dense_probabilities, hold, release
from zipar_worker.wire.protocol import TypeName

FLOAT32_TOLERANCE = 1e-3
"""Of each probability in float32, where the order of a sum's terms changes about 1e-6 of a logit."""

HALF_TOLERANCES: Mapping[TypeName, tuple[float, float]] = {"bfloat16": (0.06, 0.4), "float16": (0.01, 0.1)}
"""Of the total variation distance to the distributions of float32, in the mean and at most."""


@dataclass(slots=True)
class Deviation:
    """draws: compared, and how many of them were others. largest: of probabilities, or of distances; mean: of them."""

    draw_count: int = 0
    other_draws: int = 0
    other_kept: int = 0
    """Distributions that kept other tokens."""
    values: list[float] = field(default_factory=list)

    @property
    def largest(self) -> float:
        return max(self.values, default=0.0)

    @property
    def mean(self) -> float:
        return sum(self.values) / max(1, len(self.values))


def repeat_exactly(served: Served, recording: Recording) -> Deviation:
    """In float32: the same feeds, whose draws and kept tokens must be the same."""
    deviation = Deviation()
    hold(served, recording.parts)
    for forward in recording.forwards:
        result = served.executor.forward(forward_request(served.executor, forward.feeds))
        expected = forward.result
        pairs = list(zip(result.drawn_tokens, expected.drawn_tokens, strict=True))
        deviation.draw_count += len(pairs)
        deviation.other_draws += sum(given != wanted for given, wanted in pairs)
        codes = served.card.code_count
        ours, theirs = dense_probabilities(result, codes), dense_probabilities(expected, codes)
        deviation.other_kept += int(((ours > 0) != (theirs > 0)).any(dim=-1).sum())
        drawn = zip(result.drawn_probabilities, expected.drawn_probabilities, strict=True)
        deviation.values += [abs(given - wanted) for given, wanted in drawn]
        deviation.values += (ours - theirs).abs().amax(dim=-1).tolist()
    release(served, recording.parts)
    return deviation


def repeat_nearly(served: Served, recording: Recording) -> Deviation:
    """In 16 bits: total variation distances of the unfiltered distributions, for the same tokens fed."""
    deviation = Deviation()
    hold(served, recording.parts)
    for forward in recording.forwards:
        feeds = [dense_feed(feed) for feed in forward.feeds]
        result = served.executor.forward(forward_request(served.executor, feeds))
        ours = dense_probabilities(result, served.card.code_count)
        deviation.values += ((ours - forward.dense).abs().sum(dim=-1) / 2).tolist()
    release(served, recording.parts)
    return deviation
