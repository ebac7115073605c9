"""Stage outage: Redis emptied, slow, paused or gone; replicas killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import check, expect, rows_of

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

LIMITS = "a-client-far-over-its-limit-is-rejected"

ANSWER_WITHIN_S = 1.0
BACK_WITHIN_S = 5.0


@check(points=2, kills=["runs-scripts-by-hash-only"], arena="lifecycle", needs=LIMITS)
def test_flushed_scripts_are_no_error(bench: Bench) -> None:
    """After SCRIPT FLUSH requests are decided as before, without a 5xx."""
    bench.spend(bench.fresh_client(), 2, processes=bench.replicas)
    with bench.redis as redis:
        redis.script_flush()
        bench.arena.tell("redis", "SCRIPT FLUSH")
    asked = 2 * bench.limit

    bench.exactly_the_limit(
        lambda client: bench.spend(client, asked, processes=bench.replicas),
        unit=f"of {asked} requests admitted after SCRIPT FLUSH",
        hints={asked: "all of them: is NOSCRIPT taken for an outage?"},
        reading="When Redis fails",
    )


@check(points=2, kills=["remembers-rejections-itself"], arena="lifecycle", needs=LIMITS)
def test_flushed_keys_start_afresh(bench: Bench) -> None:
    """After all keys are flushed every client has its whole budget again, without a 5xx."""

    hints: dict[int, str] = {}

    def spend_after_flush(client: str) -> Spent:
        if bench.spend(client, bench.limit + 2, processes=bench.replicas).admitted:
            hints[0] = "the budget lives in Redis: what is not there any more does not count"
        with bench.redis as redis:
            redis.flushdb()  # not FLUSHALL: the rest of an external Redis is somebody else's
            bench.arena.tell("redis", "FLUSHDB")
        return bench.spend(client, 2 * bench.limit, processes=bench.replicas)

    bench.exactly_the_limit(
        spend_after_flush,
        unit=f"of {2 * bench.limit} requests admitted after all keys were flushed",
        hints=hints,
        reading="When Redis fails",
    )


@check(points=2, kills=["loads-its-function-once"], arena="lifecycle", needs=LIMITS)
def test_an_empty_restart_of_redis_starts_afresh(bench: Bench) -> None:
    """Redis restarted without its data: within 5 s limits hold again, afresh, and nothing breaks."""
    client = bench.fresh_client()
    bench.spend(client, bench.limit + 1)
    bench.arena.faults("redis").restart(empty=True)

    bench.expect_limits_return(within=BACK_WITHIN_S)
    again = bench.decided(bench.arena.send(bench.request(client)))
    expect(
        again.status,
        equals=200,
        unit="for a client that was over budget before Redis lost its data",
        evidence=rows_of([again], mark=again),
        reading="When Redis fails",
    )


@check(points=2, kills=["takes-slow-for-down"], arena="outage", needs=LIMITS)
def test_a_slow_redis_only_slows(bench: Bench) -> None:
    """With Redis slower by 100 ms a fresh client still gets exactly L."""
    asked = 2 * bench.limit
    hint = "is slow taken for down? time-outs have to leave room for two slow round trips"
    with bench.arena.faults("redis").slow(0.1):
        bench.exactly_the_limit(
            lambda client: bench.burst(client, asked),
            unit=f"of {asked} requests admitted while Redis answers 100 ms later",
            hints=dict.fromkeys(range(bench.limit + 1, asked + 1), hint),
            reading="When Redis fails",
        )


@check(
    points=3,
    kills=[
        "redis-error-is-a-500",
        "health-asks-redis",
        "passes-though-closed",
        "retries-through-the-outage",
        "counts-by-itself-in-an-outage",
    ],
    arena="outage",
    needs=LIMITS,
)
def test_redis_down_follows_the_declared_policy(bench: Bench) -> None:
    """While Redis is down every answer follows the declared policy within 1 s, and /healthz stays 200."""
    faults = bench.arena.faults("redis")

    bench.follows_policy(faults.stopped, within=ANSWER_WITHIN_S, crowd=bench.limit + 2)


@check(points=3, kills=["waits-for-redis-for-ever", "rests-for-a-minute"], arena="outage", needs=LIMITS)
def test_redis_paused_follows_the_declared_policy(bench: Bench) -> None:
    """While Redis accepts and never answers, the policy holds within 1 s; limits are back 5 s after it."""
    faults = bench.arena.faults("redis")

    bench.follows_policy(faults.paused, within=ANSWER_WITHIN_S)
    bench.expect_limits_return(within=BACK_WITHIN_S)


@check(points=2, kills=["gives-up-on-redis"], arena="outage", needs=LIMITS)
def test_limits_return_after_an_outage(bench: Bench) -> None:
    """Within 5 s after Redis is back limits are enforced again, without a restart of the service."""
    bench.spend(bench.fresh_client(), bench.limit + 1)
    with bench.arena.faults("redis").stopped():
        for _ in range(5):
            bench.ask(bench.request(bench.fresh_client()))

    bench.expect_limits_return(within=BACK_WITHIN_S)


@check(points=2, kills=["expiry-in-a-second-step"], arena="crash", needs=LIMITS)
def test_a_killed_replica_shuts_nobody_out(bench: Bench) -> None:
    """A replica killed between two steps of a decision leaves no client shut out for more than 2W."""
    clients = []
    for flights in (1, 2):
        client = bench.kill_after_flights("web-1", flights)
        bench.arena.heal()
        if client is not None:
            bench.burst(client, 2 * bench.limit, processes=["web-2"])
            clients.append(client)
    bench.arena.sleep(2 * bench.window + 0.05)

    immortal = [key for key, ttl_ms in bench.times_to_live().items() if ttl_ms == -1]
    expect(
        immortal,
        equals=[],
        unit="as the keys without a time to live after a replica was killed",
        hints=[(bool, "what a replica does in two steps, a kill can leave half done")],
        evidence=bench.keys_in_redis,
        reading="When Redis fails",
    )
    for client in clients:
        answer = bench.decided(bench.arena.send(bench.request(client, process="web-2")))
        expect(
            answer.status,
            equals=200,
            unit="2W after the replica that decided about this client was killed",
            hints={429: "what a replica does in two steps, a kill can leave half done"},
            evidence=[*bench.keys_in_redis(), *rows_of([answer], mark=answer)],
            reading="When Redis fails",
        )
