"""How many workers there shall be: pure decisions over the images that an engine has in work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """How the number of workers follows the images."""

    least: int
    most: int
    images_per_worker: int = 8
    up_seconds: float = 10.0
    """How long more workers must be needed before there are more."""
    down_seconds: float = 300.0
    """How long fewer must do before there are fewer: a worker that is wanted again has to load its model again."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """Other numbers than the one that is were needed, all of them on the same side."""

    since: float
    nearest: int
    """The one that asks for the smallest change."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many workers there shall be, and what speaks against it."""

    count: int
    pressure: Pressure | None = None


def plan_scale(scale: Scale, image_count: int | None, now: float, rule: Rule) -> Scale:
    """What a reading changes.

    image_count: images that are decoded or wait; None where the engine did not tell, which is no reason to change
    anything. now: seconds of a monotonic clock.
    """
    if image_count is None:
        return Scale(scale.count)
    needed = needed_workers(image_count, rule)
    if needed == scale.count:
        return Scale(scale.count)
    is_more = needed > scale.count
    pressure = scale.pressure
    if pressure is None or (pressure.nearest > scale.count) != is_more:
        pressure = Pressure(now, needed)
    nearest = min(pressure.nearest, needed) if is_more else max(pressure.nearest, needed)
    if now - pressure.since >= (rule.up_seconds if is_more else rule.down_seconds):
        return Scale(nearest)
    return Scale(scale.count, Pressure(pressure.since, nearest))


def needed_workers(image_count: int, rule: Rule) -> int:
    whole = -(-image_count // rule.images_per_worker)
    return max(rule.least, min(rule.most, whole))
