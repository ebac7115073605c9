"""Each mistake is proven by the law that names it, and by a witness that proves it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from labkit.history import (
    Decision,
    Outcome,
    Violation,
    burst_excess,
    burst_shortfall,
    over_admission,
    refill_excess,
    refill_shortfall,
    repeated_excess,
    unexplained_rejection,
    unjustified_rejection,
)
from tests.history.limiters import (
    FirstHitWindow,
    FixedWindow,
    Limiter,
    PerReplica,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from tests.history.recording import Network, Recorder
from tests.history.worlds import generator

LIMIT, WINDOW = 10, 2.0
QUICK = Network(before=0.001, after=0.002)
Law = Callable[[Sequence[Decision]], Violation | None]


def record(limiter: Limiter, moments: Sequence[float], client: str = "c") -> list[Decision]:
    return Recorder(limiter, generator(1), network=QUICK).record(moments, client)


def admitted(at: float) -> Decision:
    return Decision(at, at + 0.001, Outcome.ADMITTED)


def burst(at: float, count: int = 3 * LIMIT, spacing: float = 0.001) -> list[float]:
    return [at + index * spacing for index in range(count)]


def stream(at: float, load: float, windows: float) -> list[float]:
    """Evenly spaced requests of `load` times L/W for so many windows."""
    return [at + index * WINDOW / LIMIT / load for index in range(round(windows * LIMIT * load))]


def proven(law: Law, history: Sequence[Decision]) -> Violation:
    """The violation, once its witness is seen to lie in the history and to prove it alone."""
    violation = law(history)

    assert violation is not None
    assert violation.contradiction in violation.witness
    assert set(violation.witness) <= set(history)
    again = law(violation.witness)
    assert again is not None
    assert again.witness == violation.witness
    return violation


def needs_all(law: Law, witness: Sequence[Decision]) -> bool:
    """Whether no decision can be left out of the proof."""
    return all(law([each for each in witness if each is not left_out]) is None for left_out in witness)


@pytest.mark.parametrize("algorithm", ["fixed-window", "sliding-log", "sliding-counter", "token-bucket"])
@pytest.mark.parametrize(
    "build",
    [
        lambda: FixedWindow(3 * LIMIT, WINDOW),
        lambda: SlidingLog(3 * LIMIT, WINDOW),
        lambda: PerReplica([SlidingLog(LIMIT, WINDOW) for _ in range(3)]),
    ],
    ids=["window of three times the limit", "log of three times the limit", "three replicas"],
)
def test_three_times_the_limit(build: Callable[[], Limiter], algorithm: str) -> None:
    history = record(build(), burst(10.1, count=5 * LIMIT))

    def law(decisions: Sequence[Decision]) -> Violation | None:
        return over_admission(decisions, limit=LIMIT, window=WINDOW, algorithm=algorithm)

    violation = proven(law, history)
    assert needs_all(law, violation.witness)
    most = {"fixed-window": 20, "sliding-log": 10, "sliding-counter": 11, "token-bucket": 11}[algorithm]
    assert len(violation.witness) == most + 1
    assert violation.contradiction == max(violation.witness, key=lambda each: each.received)
    assert violation.expected.startswith(f"at most {most} admitted within")
    assert violation.observed.startswith(f"{most + 1} admitted within")


@pytest.mark.parametrize("algorithm", ["sliding-log", "sliding-counter", "token-bucket"])
def test_double_burst_at_a_turn(algorithm: str) -> None:
    """A fixed window that is declared as something smoother shows at its turn, and only as that."""
    history = record(FixedWindow(LIMIT, WINDOW), [*burst(11.95, 20), *burst(12.05, 20)])

    proven(lambda each: over_admission(each, limit=LIMIT, window=WINDOW, algorithm=algorithm), history)
    assert over_admission(history, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_the_shortest_of_several_proofs_is_shown() -> None:
    """A slow excess of many requests is passed over for a burst of few, and no more of that than proves."""
    slow = [admitted(20 + index * 0.15) for index in range(200)]
    fast = [admitted(10 + index * 0.001) for index in range(14)]

    violation = over_admission([*fast, *slow], limit=LIMIT, window=WINDOW, algorithm="token-bucket")
    assert over_admission(slow, limit=LIMIT, window=WINDOW, algorithm="token-bucket") is not None
    assert violation is not None
    assert set(violation.witness) < set(fast)
    assert len(violation.witness) == 12


def test_window_forgotten_early() -> None:
    """A log that forgets after half a window admits twice the limit in the whole one."""
    history = record(SlidingLog(LIMIT, WINDOW / 2), stream(10, load=5, windows=3))

    violation = proven(
        lambda each: over_admission(each, limit=LIMIT, window=WINDOW, algorithm="sliding-log"), history
    )
    assert len(violation.witness) == LIMIT + 1


def grouped(histories: Sequence[Sequence[Decision]], witness: Sequence[Decision]) -> list[list[Decision]]:
    return [[each for each in history if each in witness] for history in histories]


@pytest.mark.parametrize(
    ("limiter", "algorithm"),
    [
        (FixedWindow(LIMIT + 1, WINDOW), "fixed-window"),
        (FirstHitWindow(LIMIT + 1, WINDOW), "fixed-window"),
        (SlidingCounter(LIMIT + 1, WINDOW), "sliding-counter"),
    ],
)
def test_one_too_many_of_several_clients(limiter: Limiter, algorithm: str) -> None:
    """A window's turn may explain one such burst, or two by chance, but not five in a row."""
    histories = [record(limiter, burst(10.1 + 0.05 * each, 15), client=f"c{each}") for each in range(6)]

    def law(bursts: Sequence[Sequence[Decision]]) -> Violation | None:
        return burst_excess(bursts, limit=LIMIT, window=WINDOW, algorithm=algorithm)

    assert law(histories[:1]) is None
    violation = law(histories)
    assert violation is not None
    assert law(grouped(histories, violation.witness)) is not None
    assert len(violation.witness) == 4 * (LIMIT + 1)
    assert "and again 11 within" in violation.observed


@pytest.mark.parametrize(
    ("limiter", "algorithm"),
    [
        (SlidingLog(LIMIT + 1, WINDOW), "sliding-log"),
        (TokenBucket(LIMIT + 1, WINDOW), "token-bucket"),
    ],
)
def test_one_too_many_of_one_client(limiter: Limiter, algorithm: str) -> None:
    """A log and a bucket have no window that could turn: one burst is enough."""
    history = record(limiter, burst(10.1))

    def law(decisions: Sequence[Decision]) -> Violation | None:
        return burst_excess([decisions], limit=LIMIT, window=WINDOW, algorithm=algorithm)

    violation = proven(law, history)
    assert len(violation.witness) == LIMIT + 1
    assert needs_all(law, violation.witness)


@pytest.mark.parametrize("algorithm", ["fixed-window", "sliding-counter"])
def test_one_too_many_again_after_silence(algorithm: str) -> None:
    """Two bursts of one client, 2.5 W apart, leave chance no part."""
    limiters = {
        "fixed-window": FixedWindow(LIMIT + 1, WINDOW),
        "sliding-counter": SlidingCounter(LIMIT + 1, WINDOW),
    }
    histories = [record(limiters[algorithm], burst(at)) for at in (10.1, 15.1)]

    def law(bursts: Sequence[Sequence[Decision]]) -> Violation | None:
        return repeated_excess(bursts, limit=LIMIT, window=WINDOW, algorithm=algorithm)

    violation = law(histories)
    assert violation is not None
    assert len(violation.witness) == 2 * (LIMIT + 1)
    assert law(grouped(histories, violation.witness)) is not None
    assert law(histories[:1]) is None


def test_excess_a_whole_window_apart_is_no_proof() -> None:
    """Windows that turn once within each burst explain excess in both."""
    histories = [record(FixedWindow(LIMIT, WINDOW), burst(at, 40)) for at in (11.985, 17.985)]

    assert all(sum(each.outcome is Outcome.ADMITTED for each in history) > LIMIT for history in histories)
    assert repeated_excess(histories, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_one_too_few() -> None:
    history = record(TokenBucket(LIMIT - 1, WINDOW), burst(10.1))

    violation = proven(lambda each: burst_shortfall(each, limit=LIMIT), history)
    assert len(violation.witness) == LIMIT
    assert violation.expected == "at least 10 of 30 requests admitted"
    assert violation.observed == "9 of 30 requests admitted"


@pytest.mark.parametrize(
    "limiter",
    [
        SlidingLog(LIMIT, WINDOW, logs_rejected=True),
        FirstHitWindow(LIMIT, WINDOW, elastic=True),
        FirstHitWindow(LIMIT, 1e9),
    ],
    ids=["counts rejected requests", "every hit renews the window", "never resets"],
)
def test_shut_out_under_overload(limiter: Limiter) -> None:
    history = record(limiter, stream(10, load=5, windows=4))

    violation = proven(lambda each: unjustified_rejection(each, limit=LIMIT, window=WINDOW), history)
    assert len(violation.witness) <= LIMIT
    assert violation.contradiction is not None
    assert violation.contradiction.outcome is Outcome.REJECTED
    proven(lambda each: unexplained_rejection(each, limit=LIMIT, window=WINDOW), history)


def test_well_behaved_client_rejected() -> None:
    """A log that never forgets in time rejects even traffic of 0.8 L/W; only the stronger law can tell."""
    history = record(SlidingLog(LIMIT, 1.5 * WINDOW), stream(10, load=0.8, windows=5))

    assert unjustified_rejection(history, limit=LIMIT, window=WINDOW) is None
    violation = proven(lambda each: unexplained_rejection(each, limit=LIMIT, window=WINDOW), history)
    assert violation.observed == "rejected, after at most 7 admitted within 2 s and 10 within 4 s"


@pytest.mark.parametrize("silence", [0.5, 2.1])
def test_slow_refill(silence: float) -> None:
    limiter = TokenBucket(LIMIT, WINDOW, refill=0.3)
    spend, later = record(limiter, burst(10)), record(limiter, burst(10 + silence * WINDOW + 0.05))

    violation = refill_shortfall(spend, later, limit=LIMIT, window=WINDOW, algorithm="token-bucket")
    assert violation is not None
    last, *rest = violation.witness
    assert last in spend
    again = refill_shortfall([last], rest, limit=LIMIT, window=WINDOW, algorithm="token-bucket")
    assert again is not None
    assert again.witness == violation.witness


def test_fast_refill() -> None:
    limiter = TokenBucket(LIMIT, WINDOW, refill=2)
    spend, later = record(limiter, burst(10)), record(limiter, burst(10 + WINDOW / 2))

    violation = refill_excess(spend, later, limit=LIMIT, window=WINDOW, algorithm="token-bucket")
    assert violation is not None
    anchor, *rest = violation.witness
    assert anchor.outcome is Outcome.REJECTED
    again = refill_excess([anchor], rest, limit=LIMIT, window=WINDOW, algorithm="token-bucket")
    assert again is not None
    assert again.witness == violation.witness


def test_never_resets_after_silence() -> None:
    limiter = FirstHitWindow(LIMIT, 1e9)
    spend, later = record(limiter, burst(10)), record(limiter, burst(10 + 2.1 * WINDOW))

    violation = refill_shortfall(spend, later, limit=LIMIT, window=WINDOW, algorithm="fixed-window")
    assert violation is not None
    assert violation.observed == "0 of 30 requests admitted"
