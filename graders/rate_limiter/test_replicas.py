"""Stage replicas: one budget for all processes, on one clock, gone when it is no longer used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import check, expect
from labkit.history import burst_excess, over_admission

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

LIMITS = "a-client-far-over-its-limit-is-rejected"

ROUNDS = 4


@check(points=3, kills=["counts-in-process-memory"], arena="steady", needs=LIMITS)
def test_replicas_share_one_budget(bench: Bench) -> None:
    """A client's budget holds across replicas, however its requests are spread."""
    asked = 4 * bench.limit

    bench.exactly_the_limit(
        lambda client: bench.spend(client, asked, processes=bench.replicas),
        unit=f"of {asked} requests admitted by {len(bench.replicas)} replicas together, taking turns",
        hints={len(bench.replicas) * bench.limit: "each replica seems to keep a count of its own"},
        reading="Shared state",
    )


@check(points=4, kills=["pushes-its-counts-later"], arena="steady", needs=LIMITS)
def test_replicas_race_for_one_budget(bench: Bench) -> None:
    """Of many requests that reach several replicas at once, exactly L are admitted."""
    asked = 6 * bench.limit
    hint = "does a replica decide before it knows what the others have admitted?"
    too_many = dict.fromkeys(range(bench.limit + 1, asked + 1), hint)

    for _ in range(ROUNDS):
        bench.exactly_the_limit(
            lambda client: bench.burst(client, asked, processes=bench.replicas),
            unit=f"of {asked} requests to {len(bench.replicas)} replicas admitted, all at once",
            hints=too_many,
            reading="Races",
        )


@check(points=4, kills=["time-of-the-replica", "window-of-the-replica"], arena="clocks", needs=LIMITS)
def test_decisions_rest_on_one_clock(bench: Bench) -> None:
    """Replicas whose clocks differ by W/2 keep one budget, by one clock."""
    bench.skew_is_seen()

    histories, short_bursts, in_time = bench.bursts_on_skewed_clocks()

    facts: dict[str, Any] = {"limit": bench.limit, "window": bench.window, "algorithm": bench.algorithm}
    hint = "does the time of a decision come from the replica that makes it?"
    for spent in histories:
        bench.holds(over_admission(spent.decisions, **facts), hint=hint, reading="One clock", sure=True)
    bursts = [burst.decisions for burst in short_bursts]
    bench.holds(burst_excess(bursts, **facts), hint=hint, reading="One clock", sure=True)
    # Only windows of the replicas' own need the right moment.
    if bench.algorithm == "fixed-window" and not in_time:
        bench.excuse_lateness(histories[-1])


@check(points=3, kills=["keys-live-for-ever", "time-to-live-in-the-wrong-unit"], arena="small", needs=LIMITS)
def test_every_key_has_a_time_to_live(bench: Bench) -> None:
    """Every key that the limiter writes has a time to live, never more than 3W + 1 s."""
    longest_ms = round(3 * bench.window * 1000) + 1000

    for _ in range(4):
        bench.burst(bench.fresh_client(), 3)
        for key, ttl_ms in bench.times_to_live().items():
            expect(
                ttl_ms,
                one_of=range(longest_ms + 1),
                unit=f"ms of time to live (3W + 1 s = {longest_ms} ms) left of key {key!r}",
                hints=[
                    (
                        lambda left: left == -1,
                        "it has none: if nobody comes back, it stays in Redis for ever",
                    ),
                    (lambda left: left > longest_ms, "EXPIRE takes seconds, PEXPIRE milliseconds"),
                ],
                evidence=bench.keys_in_redis,
                reading="Shared state",
                sure=True,
            )
        bench.arena.sleep(bench.window / 2)


@check(
    points=2, kills=["each-request-adds-a-window", "keys-live-for-five-windows"], arena="steady", needs=LIMITS
)
def test_requests_do_not_add_to_a_keys_life(bench: Bench) -> None:
    """However often a client comes, admitted or not, no key has more than 3W + 1 s to live."""
    client = bench.fresh_client()
    longest_ms = round(3 * bench.window * 1000) + 1000

    bench.spend(client, bench.limit + 5, processes=bench.replicas)
    longest = max(bench.times_to_live().values(), default=0)
    expect(
        longest,
        at_most=longest_ms,
        unit=f"ms as the longest time to live of a key (3W + 1 s = {longest_ms} ms)",
        hints=[(bool, "is a time to live counted from now, and W once?")],
        evidence=bench.keys_in_redis,
        reading="Shared state",
        sure=True,
    )


@check(points=2, kills=["remembers-every-client"], arena="small", needs=LIMITS)
def test_silence_leaves_nothing_behind(bench: Bench) -> None:
    """After 3W + 2 s of silence nothing of a client is left in Redis."""
    before = bench.keys()
    for client in [bench.fresh_client() for _ in range(5)]:
        bench.spend(client, 2)
    bench.arena.sleep(3 * bench.window + 2)

    left = sorted(bench.keys() - before)
    expect(
        left,
        equals=[],
        unit="as the keys left of silent clients",
        hints=[(bool, "what is written for a client has to go with its window")],
        evidence=bench.keys_in_redis,
        reading="Shared state",
    )


@check(points=2, kills=["starts-with-a-clean-slate"], arena="lifecycle", needs=LIMITS)
def test_the_budget_survives_a_restart_of_all_replicas(bench: Bench) -> None:
    """A budget that is spent stays spent when all replicas are restarted."""

    def spend_over_a_restart(client: str) -> Spent:
        spent = bench.spend(client, bench.limit, processes=bench.replicas)
        for name in bench.replicas:
            bench.arena.kill(name)
        bench.arena.start_all(bench.replicas)
        return spent + bench.spend(client, bench.limit, processes=bench.replicas)

    bench.exactly_the_limit(
        spend_over_a_restart,
        unit=f"of {2 * bench.limit} requests admitted, half of them after all replicas were restarted",
        hints={2 * bench.limit: "the budget began anew: does a replica clear or hold it when it starts?"},
        reading="Shared state",
    )


@check(points=2, kills=["dies-at-sigterm", "ends-by-the-signal"], arena="lifecycle")
def test_sigterm_finishes_what_was_begun(bench: Bench) -> None:
    """On SIGTERM a replica answers the request it has begun, then exits with code 0 within 8 s."""
    answer, code = bench.terminate_during_a_request("web-2")

    hint = "the request had begun: on SIGTERM take no new ones, finish these, then exit"
    hints = dict.fromkeys((503, answer.failure), hint)
    bench.has_status(answer, 200, reading="Starting and stopping", hints=hints)
    expect(
        code,
        equals=0,
        unit="as the exit code after SIGTERM",
        hints={
            None: "still running after 8 s",
            -15: "the signal ended it: not handled, or raised again after the graceful stop",
        },
        evidence=lambda: bench.output("web-2"),
        reading="Starting and stopping",
    )
