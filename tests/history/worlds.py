"""Hypothesis strategies for a right limiter, its clock, the network, and traffic that tries its edges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.history.recording import RIGHT, Clock, Kind, Network, Recorder

THOROUGH = bool(os.environ.get("LABKIT_THOROUGH"))


def examples(quick: int, thorough: int) -> settings:
    """Few and the same ones each time by default; with LABKIT_THOROUGH set, many and fresh ones."""
    return settings(
        max_examples=thorough if THOROUGH else quick,
        derandomize=not THOROUGH,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def generator(seed: int) -> Random:
    """Chance that can be repeated."""
    return Random(seed)  # noqa: S311 - nothing here is secret


ALL = tuple(RIGHT.values())
LIMITS = (1, 2, 3, 5, 10, 17)


@dataclass
class World:
    """A limiter of a kind, in action."""

    kind: Kind
    limit: int
    window: float
    recorder: Recorder
    start: float

    @property
    def algorithm(self) -> str:
        return self.kind.algorithm


EDGES = [0.0, 1e-6, 0.001, 0.006, -0.001, -0.006]
"""Seconds by which to miss an edge: within rounding, beyond it, on both sides."""


@st.composite
def worlds(draw: st.DrawFn, *, kinds: Sequence[Kind] = ALL, limits: Sequence[int] = LIMITS) -> World:
    kind = draw(st.sampled_from(kinds))
    limit = draw(st.sampled_from(limits))
    window = draw(st.sampled_from([0.5, 1.0, 1.7, 2.0, 60.0]))
    phase = draw(st.floats(0, 1)) * window
    rng = generator(draw(st.integers(0, 2**32)))
    clock = Clock(
        offset=draw(st.sampled_from([0.0, 1.7e9, -window / 2])),
        slew=draw(st.sampled_from([0.0, 0.0005, -0.0005])),
        tick=draw(st.sampled_from([0.0, 0.001])),
    )
    width = st.sampled_from([0.0, 0.0, 0.001, 0.03, 0.3 * window, 2 * window])
    network = Network(
        before=draw(width),
        after=draw(width),
        lost=draw(st.sampled_from([0.0, 0.0, 0.2])),
        stale=draw(width) if kind.stale else 0.0,
    )
    recorder = Recorder(kind.build(limit, window, phase), rng, clock, network)
    # just around a turn of the windows, or anywhere
    turn = (phase - clock.offset) / (1 + clock.slew) % window
    start = turn + draw(st.sampled_from(EDGES)) if draw(st.booleans()) else draw(st.floats(0, 1)) * window
    return World(kind, limit, window, recorder, start + 10 * window)


@st.composite
def bursts(draw: st.DrawFn, world: World, start: float) -> list[float]:
    """Moments of decision: up to 3 L + 2 requests, one by one or all at once, from `start` on."""
    count = draw(st.integers(1, 3 * world.limit + 2))
    spacing = draw(st.sampled_from([0.0, 1e-5, 0.001, 0.1 * world.window / world.limit]))
    return [start + index * spacing for index in range(count)]


@st.composite
def traffic(draw: st.DrawFn, world: World) -> list[float]:
    """Moments of decision: bursts, even streams and silences, some ending just around an edge."""
    moments: list[float] = []
    at = world.start
    for _ in range(draw(st.integers(1, 5))):
        load = draw(st.sampled_from([0.8, 1.0, 1.1, 3.0, 10.0, 1000.0]))
        count = draw(st.integers(1, 2 * world.limit + 3))
        spacing = world.window / world.limit / load
        moments += [at + index * spacing for index in range(count)]
        pause = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 1.5, 2.0, 2.5])) * world.window
        at = max(moments[-1], moments[-1] + pause + draw(st.sampled_from(EDGES)))
    return moments
