"""Retrying keys to their end: by then everything is a 201, a 402, or a refund that was too large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange

from .orders import Refund, Wish, is_replay, post

if TYPE_CHECKING:
    from .bench import Bench

# What the contract gives a key whose process has died, beyond the life of its lock.
CONVERGES_WITHIN_S = 10.0
PAUSE_S = 0.1
STARVED_TAKES = 2.5
IN_PROGRESS = "a key whose process has died may not stay in progress for ever: give its lock an end"
REFUSED = (
    "409 for ever and never as a replay: no lock may live so long, and a refusal is stored like a success"
)
STORED = "a 5xx is not stored: under the same key the work goes on"
GOES_ON = "the same key has to go on where it stopped, whatever was done by then"


def is_end(wish: Wish, exchange: Exchange) -> bool:
    """Whether this answer is the last word on its key.

    A 409 to a refund may say that it is in progress; repeated as a replay it is the refusal.
    """
    if exchange.status == 409:
        return isinstance(wish, Refund) and is_replay(exchange)
    return exchange.status == 201 or (exchange.status == 402 and not isinstance(wish, Refund))


def settle(
    bench: Bench,
    wishes: Iterable[Wish],
    *,
    reading: str,
    processes: Sequence[str] = (),
) -> None:
    """Ask again until each key has ended, for L + 10 s from now.

    Keys of which an end is known already are not asked again.
    """
    open_wishes = [wish for wish in wishes if not bench.has_ended(wish)]
    begin = bench.arena.clock()
    replicas = cycle(processes or bench.replicas)
    while open_wishes:
        asked = [(wish, bench.begin(post(wish, next(replicas)))) for wish in open_wishes]
        last = {wish: bench.heard(wish, waiting.result()) for wish, waiting in asked}
        for wish, exchange in last.items():
            _is_no_nonsense(bench, wish, exchange, reading=reading)
        open_wishes = [wish for wish in open_wishes if not bench.has_ended(wish)]
        if open_wishes:
            _is_in_time(bench, open_wishes[0], last[open_wishes[0]], begin=begin, reading=reading)
            bench.arena.sleep(PAUSE_S)


def _is_in_time(bench: Bench, wish: Wish, last: Exchange, *, begin: float, reading: str) -> None:
    within = bench.lock_s + CONVERGES_WITHIN_S
    waited = last.received - begin - bench.arena.late_between(begin, last.received)
    # A starved service is given more, since what it waits for is starved as well.
    if waited <= (STARVED_TAKES * within if bench.is_starved(last) else within):
        return
    raise CheckFailed(
        expected=f"a retry with the same key to end within {within:g} s: 201 or 402, or 409 for a refund",
        observed=f"{last.status or last.failure} after {waited:.1f} s",
        hint=(REFUSED if isinstance(wish, Refund) else IN_PROGRESS) if last.status == 409 else GOES_ON,
        evidence=bench.story(wish, last),
        reading=reading,
    )


def _is_no_nonsense(bench: Bench, wish: Wish, exchange: Exchange, *, reading: str) -> None:
    """A valid request ends 201, 402 or 409, is in progress (409), or fails for now (5xx, or no answer)."""
    status = exchange.status
    if status is None or status in (201, 409):
        return
    if status >= 500 and not is_replay(exchange):
        return
    if status == 402 and not isinstance(wish, Refund):
        return
    raise CheckFailed(
        expected="201, 402 or 409, or a 5xx for now, to a retry with the same key and body",
        observed=f"{status}, as a replay" if is_replay(exchange) else f"{status}",
        hint=STORED if status >= 500 else "a repeat of what was taken before is never a bad request",
        evidence=bench.story(wish, exchange),
        reading=reading,
        sure=True,
    )


def wait_until(bench: Bench, holds: Callable[[], bool], *, within: float) -> bool:
    """Wait for so long, and for as long as the machine was late meanwhile; whether it came to hold."""
    begin = bench.arena.clock()
    while not holds():
        now = bench.arena.clock()
        if now - begin - bench.arena.late_between(begin, now) > within:
            return False
        bench.arena.sleep(0.05)
    return True
