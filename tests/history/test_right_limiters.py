"""A right limiter is never accused, wherever in its intervals it decided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.history import (
    Algorithm,
    Outcome,
    burst_excess,
    burst_shortfall,
    over_admission,
    refill_excess,
    refill_shortfall,
    repeated_excess,
    unexplained_rejection,
    unjustified_rejection,
)
from tests.history.limiters import FixedWindow
from tests.history.recording import RIGHT, WHOLE_MILLISECONDS, Network, Recorder
from tests.history.worlds import THOROUGH, bursts, examples, generator, traffic, worlds


@examples(400, 40_000)
@given(st.data())
def test_any_traffic(data: st.DataObject) -> None:
    """No law that holds for all traffic accuses a right limiter."""
    world = data.draw(worlds())
    history = world.recorder.record(data.draw(traffic(world)))
    limit, window = world.limit, world.window

    assert over_admission(history, limit=limit, window=window, algorithm=world.algorithm) is None
    assert burst_shortfall(history, limit=limit) is None
    assert unjustified_rejection(history, limit=limit, window=window) is None
    assert unexplained_rejection(history, limit=limit, window=window) is None


@examples(300, 30_000)
@given(st.data())
def test_bursts_of_fresh_clients(data: st.DataObject) -> None:
    """Windows that turn for all clients at once, or begin with a client's first request, are not accused."""
    world = data.draw(worlds())
    at, histories = world.start, []
    for number in range(data.draw(st.integers(1, 6))):
        moments = data.draw(bursts(world, at))
        histories.append(world.recorder.record(moments, client=f"c{number}"))
        gap = data.draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.95, 1.0])) * world.window
        at = moments[-1] + max(0.0, gap + data.draw(st.sampled_from([0.0, -0.006, 0.006])))

    assert burst_excess(histories, limit=world.limit, window=world.window, algorithm=world.algorithm) is None


@examples(300, 30_000)
@given(st.data())
def test_bursts_of_one_client(data: st.DataObject) -> None:
    """Bursts of one client with silence between do not convict a right limiter."""
    world = data.draw(worlds())
    at, histories = world.start, []
    for _ in range(data.draw(st.integers(2, 4))):
        moments = data.draw(bursts(world, at))
        histories.append(world.recorder.record(moments))
        gap = data.draw(st.sampled_from([0.5, 1.0, 1.9, 2.0, 2.1, 2.5, 3.0])) * world.window
        at = moments[-1] + gap + data.draw(st.sampled_from([0.0, -0.006, 0.006]))

    assert (
        repeated_excess(histories, limit=world.limit, window=world.window, algorithm=world.algorithm) is None
    )


def test_refill_within_repeated_bursts() -> None:
    """A bucket that refills while a burst lasts is no window that is too wide."""
    recorder = Recorder(RIGHT["bucket"].build(3, 0.5, 0), generator(1))
    histories = [recorder.record([at + 0.017 * step for step in range(11)]) for at in (5.0, 6.3)]

    assert all(sum(each.outcome is Outcome.ADMITTED for each in history) > 3 for history in histories)
    assert repeated_excess(histories, limit=3, window=0.5, algorithm="token-bucket") is None


@examples(300, 30_000)
@given(st.data())
def test_silence(data: st.DataObject) -> None:
    """What comes back after a silence is neither too little nor too much."""
    world = data.draw(worlds())
    first = data.draw(bursts(world, world.start))
    gap = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 2.03, 3.0])) * world.window
    second = data.draw(bursts(world, first[-1] + gap + data.draw(st.sampled_from([0.0, 0.006]))))
    spend, later = world.recorder.record(first), world.recorder.record(second)
    asked = {"limit": world.limit, "window": world.window, "algorithm": world.algorithm}

    assert refill_shortfall(spend, later, **asked) is None
    assert refill_excess(spend, later, **asked) is None


@pytest.mark.parametrize("limit", [5, 8, 10, 25])
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_even_traffic_is_never_rejected(name: str, limit: int) -> None:
    """From a limit of 5 on, every right limiter admits all of an even stream of 0.8 L/W."""
    for phase in range(20):
        recorder = Recorder(RIGHT[name].build(limit, 2.0, phase / 10), generator(phase))
        history = recorder.record([100 + index * 2.0 / limit / 0.8 for index in range(10 * limit)])

        assert {each.outcome for each in history} == {Outcome.ADMITTED}


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_even_traffic_and_a_small_limit(limit: int) -> None:
    """Below a limit of 5 a right sliding counter may reject some of it, and is not accused."""
    rejected = False
    for phase in range(20):
        recorder = Recorder(RIGHT["counter"].build(limit, 2.0, phase / 10), generator(phase))
        history = recorder.record([100 + index * 2.0 / limit / 0.8 for index in range(10 * limit)])
        rejected |= any(each.outcome is Outcome.REJECTED for each in history)

        assert unexplained_rejection(history, limit=limit, window=2.0) is None
    assert rejected


def test_phases_of_their_own() -> None:
    """Clients whose windows turn each at a phase of their own do not convict a fixed window."""
    accused = 0
    for seed in range(20_000 if THOROUGH else 500):
        rng = generator(seed)
        clients = [f"c{number}" for number in range(6)]
        limiter = FixedWindow(2, 1.0, phases={client: rng.random() for client in clients})
        recorder = Recorder(limiter, rng, network=Network(before=0.002, after=0.002))
        histories = [
            recorder.record([5 + number * 0.1 + step * 0.01 for step in range(5)], client)
            for number, client in enumerate(clients)
        ]
        accused += burst_excess(histories, limit=2, window=1.0, algorithm="fixed-window") is not None
    assert accused == 0


@examples(100, 5_000)
@given(st.data())
def test_whole_millisecond_gcra(data: st.DataObject) -> None:
    """An emission interval in whole milliseconds is right where L divides W."""
    world = data.draw(worlds(kinds=[WHOLE_MILLISECONDS], limits=[1, 2, 5, 10]))
    history = world.recorder.record(data.draw(traffic(world)))

    asked = {"limit": world.limit, "window": world.window}
    assert over_admission(history, **asked, algorithm=Algorithm.TOKEN_BUCKET) is None
    assert unexplained_rejection(history, **asked) is None
