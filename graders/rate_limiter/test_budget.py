"""Stage budget: how much a client gets, and when it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import check, expect, rows_of
from labkit.history import (
    over_admission,
    refill_excess,
    refill_shortfall,
    unexplained_rejection,
    unjustified_rejection,
)

from .starving import starvation

if TYPE_CHECKING:
    from .bench import Bench

LIMITS = "a-client-far-over-its-limit-is-rejected"

# Sent after the time that Retry-After named; a limiter may keep time in whole milliseconds.
COURTESY_S = 0.02


@check(
    points=3,
    kills=["admits-one-more", "admits-one-less", "counts-every-request-twice"],
    arena="steady",
    needs=LIMITS,
)
def test_a_fresh_client_gets_exactly_its_limit(bench: Bench) -> None:
    """A fresh client that asks one by one gets exactly L requests through, then 429."""
    asked = 2 * bench.limit + 1

    bench.exactly_the_limit(
        lambda client: bench.spend(client, asked),
        unit=f"of {asked} requests admitted, one by one",
        hints={
            bench.limit - 1: "one too few: is the request itself counted before it is compared?",
            bench.limit + 1: "one too many: compare with >= where you compare with >",
            bench.limit // 2: "half: is every request counted twice?",
            asked: "nothing is limited yet",
        },
        reading="The laws",
    )


@check(points=3, kills=["limit-of-one-admits-nobody"], arena="small", needs=LIMITS)
def test_a_limit_of_one_admits_one(bench: Bench) -> None:
    """With RATE_LIMIT=1 a fresh client gets exactly one request through."""
    bench.exactly_the_limit(
        lambda client: bench.spend(client, 4),
        unit="of 4 requests admitted, one by one",
        hints={0: "does a rounding or a reserve eat the only one?"},
        reading="The laws",
    )


@check(
    points=3,
    kills=["one-budget-for-all", "budget-by-the-first-characters-of-the-key", "keys-are-made-tidy"],
    arena="steady",
    needs=LIMITS,
)
def test_one_client_never_touches_another(bench: Bench) -> None:
    """One client's traffic never changes another's budget, however alike their keys are."""
    client = bench.fresh_client()
    bench.burst(client, 3 * bench.limit)
    neighbours = [client + "0", client[:-1], client + ":1", client[:6], client + "*"]
    neighbours += [client.replace("-", other) for other in ("_", ":", "%2D")]

    for neighbour in neighbours:
        spent = bench.spend(neighbour, 1, exact=True)
        expect(
            spent.exchanges[0].headers.get("x-ratelimit-remaining"),
            equals=str(bench.limit - 1),
            unit=f"as X-RateLimit-Remaining of {neighbour!r}, fresh, while {client!r} is over budget",
            hints=[
                (
                    lambda left: int(left) < bench.limit - 1,
                    "two clients share a budget: is it kept under the whole key, and the key alone?",
                )
            ],
            evidence=rows_of(spent.exchanges, mark=spent.exchanges[0]),
            reading="Identity",
        )


@check(
    points=3,
    kills=["retry-after-is-always-one", "retry-after-is-rounded-to-the-nearest"],
    arena="trickle",
    needs=LIMITS,
)
def test_retry_after_tells_the_truth(bench: Bench) -> None:
    """A client that waits as long as Retry-After says, and sends nothing else, is admitted."""
    client = bench.fresh_client()
    spent = bench.burst(client, 3 * bench.limit)
    if not spent.rejected:
        raise bench.nothing_rejected(spent)
    refused = spent.rejected[-1]
    wait = bench.retry_after(refused)
    bench.arena.sleep_until(refused.received + wait + COURTESY_S)
    again = bench.decided(bench.arena.send(bench.request(client)))

    expect(
        again.status,
        equals=200,
        unit=f"for a request {wait} s after a 429 with Retry-After: {wait}",
        hints={429: "it is the time until a request would be admitted, rounded up"},
        evidence=rows_of([refused, again], mark=again),
        reading="Retry-After",
    )


@check(
    points=4,
    kills=["window-in-seconds", "refills-at-half-speed", "refills-in-whole-seconds", "saves-up-while-idle"],
    arena="brisk",
    needs=LIMITS,
)
def test_silence_brings_the_budget_back(bench: Bench) -> None:
    """2W of silence bring back the whole budget and no more; W/2 brings back half of a token bucket."""
    facts: dict[str, Any] = {"limit": bench.limit, "window": bench.window, "algorithm": bench.algorithm}
    silences = [2.05 * bench.window]  # proven to be over 2W, whatever clocks and ticks make of it
    if bench.algorithm == "token-bucket":
        # twice, at two phases of any clock: a refill in jumps shows in one of them
        silences = [bench.window / 2, bench.window / 2, *silences]

    for silence in silences:
        client = bench.fresh_client()
        spent = bench.burst(client, 2 * bench.limit)
        bench.arena.sleep(silence)
        later = bench.burst(client, 2 * bench.limit)

        bench.holds(
            refill_shortfall(spent.decisions, later.decisions, **facts),
            hint="too little came back: is W in milliseconds, and the rate L per W?"
            if spent.admitted
            else None,
            reading="The laws",
        )
        bench.holds(
            refill_excess(spent.decisions, later.decisions, **facts),
            hint="too much came back: an empty bucket fills evenly, L per W",
            reading="The laws",
            sure=True,
        )
        bench.holds(
            over_admission((spent + later).decisions, **facts),
            hint="a client that was away has L again, not what it left unused as well",
            reading="The laws",
            sure=True,
        )


@check(
    points=4,
    kills=["rejected-requests-are-counted", "window-less-a-margin", "a-refusal-restarts-the-refill"],
    arena="brisk",
    needs=LIMITS,
)
def test_a_rejected_request_consumes_nothing(bench: Bench) -> None:
    """Rejected requests consume nothing: a client at five times its rate gets about L per window, no more."""
    spent = bench.pace(
        bench.fresh_client(),
        round(3.5 * 5 * bench.limit),
        every=bench.window / (5 * bench.limit),
        processes=bench.replicas,
    )

    bench.holds(
        unjustified_rejection(spent.decisions, limit=bench.limit, window=bench.window),
        hint="do rejected requests count against the client, or prolong its window?"
        if spent.admitted
        else None,
        reading="The laws",
    )
    bench.holds(
        starvation(spent.decisions, limit=bench.limit, window=bench.window),
        hint="does a rejection set back what has flowed in since, or the clock that it flows in by?"
        if spent.admitted
        else None,
        reading="The laws",
    )
    bench.holds(
        over_admission(spent.decisions, limit=bench.limit, window=bench.window, algorithm=bench.algorithm),
        hint="is the window shorter than W, or the rate higher than L per W?",
        reading="The laws",
        sure=True,
    )


@check(points=3, kills=["every-request-prolongs-the-window"], arena="brisk", needs=LIMITS)
def test_an_even_pace_is_never_rejected(bench: Bench) -> None:
    """Evenly spaced traffic at 0.8 L/W is never rejected."""
    pace = 0.8 * bench.limit / bench.window
    spent = bench.pace(
        bench.fresh_client(), round(3 * bench.window * pace), every=1 / pace, processes=bench.replicas
    )

    bench.holds(
        unexplained_rejection(spent.decisions, limit=bench.limit, window=bench.window),
        hint="does every request prolong the window, so that it never ends under steady traffic?"
        if spent.admitted
        else None,
        reading="The laws",
    )


@check(points=4, kills=["forgets-the-window-before"], arena="brisk", needs=LIMITS)
def test_no_double_burst_where_windows_meet(bench: Bench) -> None:
    """However a client times its bursts, no stretch of time admits more than the declared algorithm may."""
    for spent in bench.bursts_around_a_turn():
        bench.holds(
            over_admission(
                spent.decisions, limit=bench.limit, window=bench.window, algorithm=bench.algorithm
            ),
            hint=None
            if bench.algorithm == "fixed-window"
            else "a full burst before and after a turn of the window: that is a fixed window",
            reading="The laws",
            sure=True,
        )
