"""The verbs of the payments' checks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from labkit import (
    Arena,
    CheckFailed,
    EvidenceRow,
    Exchange,
    Gate,
    Request,
    Setup,
    answered,
    expect,
    is_problem,
)

from . import answers, conservation, crash, outages, races, scenario, settling
from .orders import GRACE_S, POST_WITHIN_S, Order, Refund, Wish, Wishes, is_replay, json_of, post, read
from .provider import AT_ONCE, Provider, Turn
from .settling import is_end
from .stock import Stock, stocked
from .story import row_of, story

TOO_BUSY = "the machine was too busy: the service may have given up waiting for somebody"
# By then the answers that were on their way beside the one in question have come as well.
DOUBT_AFTER_S = 0.3
# Longer together than anybody may hold on to what it has learnt of others while it was starved.
REPEATS, MOST_REPEATS, REPEATS_EVERY_S = 4, 10, 1.5
SLOWER_S = 0.1
AT_PROVIDER_WITHIN_S = 5.0
# What a service may say because it is starved. Any other answer has nothing to do with time.
BUSY = (408, 409, 429, 500, 502, 503, 504)
# Short, as whoever finishes what a dead process began may have to wait for it.
LOCK_S = "1"


def _setup(name: str, *, web: int, relay: int, **more: Any) -> Setup:
    topic = f"payments-{name}"
    return Setup(
        replicas={"web": web, "relay": relay},
        settings={"EVENTS_TOPIC": topic, "IDEMPOTENCY_LOCK_SECONDS": LOCK_S},
        prepare=stocked(topic),
        outsiders={"PSP_URL": Provider},
        **more,
    )


ARENAS = {
    # Nothing is broken here but the provider, by order: all checks at the same time, mostly waiting.
    "calm": _setup("calm", web=3, relay=2, width=6),
    # One process of each kind, so that it is this one that a payment's steps are to be found at.
    "statements": _setup("statements", web=1, relay=1, exclusive=True),
    "commits": _setup("commits", web=1, relay=1, exclusive=True),
    "outside": _setup("outside", web=1, relay=1, exclusive=True),
    "staged": _setup("staged", web=2, relay=1, exclusive=True),
    "events": _setup("events", web=2, relay=1, exclusive=True, breaks=["kafka"]),
    "outage": _setup("outage", web=3, relay=1, exclusive=True, breaks=["postgres"]),
}


class Bench:
    """One check's view of an arena: merchants, orders and keys that nobody else uses."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self.arena = arena
        self.chance = chance
        self.wishes = Wishes(chance)
        self.lock_s = int(arena.setup.settings["IDEMPOTENCY_LOCK_SECONDS"])
        self.stock: Stock = arena.prepared
        self.topic = self.stock.topic
        self.provider: Provider = arena.outsiders["PSP_URL"]  # type: ignore[assignment]
        self.processes = list(arena.processes)
        self.replicas = [name for name in self.processes if name.startswith("web-")]
        self._asked: dict[Wish, list[Exchange]] = {}
        self._seen: list[Exchange] = []
        self._blamed: tuple[str, Callable[[], Exchange]] | None = None
        self._lock = threading.Lock()

    # Verbs that have files of their own.
    tells = answers.tells
    shows_payment = answers.shows_payment
    is_located = answers.is_located
    names_payment = answers.names_payment
    expect_paid = answers.expect_paid
    replays = answers.replays
    nothing_charged = answers.nothing_charged
    settle = settling.settle
    expect_conserved = conservation.expect_conserved
    expect_announced = conservation.expect_announced
    expect_broker = conservation.expect_broker
    terminate_during_a_payment = outages.terminate_during_a_payment
    pays_everywhere = outages.pays_everywhere
    pays_without_kafka = outages.pays_without_kafka
    cut_at_each_commit = outages.cut_at_each_commit
    cut_at_all_commits = outages.cut_at_all_commits
    expect_booked = outages.expect_booked
    fails_for_now = outages.fails_for_now
    left_open = outages.left_open
    ends_what_was_left_open = outages.ends_what_was_left_open
    random_history = scenario.random_history
    meet_at_each_statement = races.meet_at_each_statement
    hold_each_commit = races.hold_each_commit
    commit_behind_the_relay = races.commit_behind_the_relay
    story = story

    # Making wishes.

    @property
    def order(self) -> Any:
        """order(**given): a new one; see Wishes."""
        return self.wishes.order

    def refund_of(self, order: Order, payment_id: str, amount_cents: int) -> Refund:
        return Refund(order, payment_id, self.wishes.key(), amount_cents)

    def rest_of(self, refund: Refund) -> Refund:
        """Of what such a refund leaves, all."""
        return self.refund_of(
            refund.order, refund.payment_id, refund.order.amount_cents - refund.amount_cents
        )

    def lone_order(self) -> Order:
        """Of a merchant of its own, so that nothing need wait for another's."""
        return self.wishes.order(merchant=self.wishes.merchant())

    def lone_refund(self) -> Refund:
        """Of half a payment that was taken undisturbed."""
        order = self.lone_order()
        return self.refund_of(order, self.pay(order), order.amount_cents // 2)

    def is_ours(self, source: object) -> bool:
        return self.wishes.is_ours(source)

    def sweep(self, make: Callable[[], Wish]) -> crash.Sweep:
        """Crash points for what `make` makes."""
        return crash.Sweep(self, make)

    # Asking. What is asked for a wish is remembered: it has to be true in the end.

    def ask(self, request: Request) -> Exchange:
        """One request that has to be answered, with whatever status; no wish of ours depends on it."""
        return self.answered(self.seen(self.arena.send(request)))

    def begin(self, request: Request) -> Future[Exchange]:
        return self.arena.begin(request)

    def post(self, wish: Wish, process: str = "web-1", **changed: Any) -> Exchange:
        """Ask for a wish, and be answered."""
        return self.answered(self.heard(wish, self.arena.send(post(wish, process, **changed))))

    def wish_for(self, wish: Wish, process: str, *, deadline_s: float = POST_WITHIN_S) -> Future[Exchange]:
        """Ask for a wish without waiting, and hang up after so many seconds; see `heard`."""
        with self._lock:
            self._asked.setdefault(wish, [])
        return self.begin(replace(post(wish, process), deadline_s=deadline_s))

    def script(self, wish: Wish, *turns: Turn, then: Turn = AT_ONCE) -> None:
        """What the provider does to the next calls about a wish, and to all after them."""
        if isinstance(wish, Refund):
            self.provider.script_refunds(wish.order.source, *turns, then=then)
        else:
            self.provider.script(wish.source, *turns, then=then)

    def held_at_provider(self, order: Order, process: str, *, charged: bool) -> tuple[Gate, Future[Exchange]]:
        """Pay an order; the provider keeps it, charged already or not yet, until the gate is opened."""
        gate = self.provider.gate()
        self.script(order, Turn(done=gate) if charged else Turn(seen=gate))
        waiting = self.wish_for(order, process)
        self.arena.wait_for(gate.reached.is_set, waiting.done, within=AT_PROVIDER_WITHIN_S)
        return gate, waiting

    def is_starved(self, exchange: Exchange) -> bool:
        """Whether its answer may be one that a starved process gives."""
        return self.arena.starved_lately(exchange)

    def came(self, wish: Wish, waiting: Future[Exchange]) -> Exchange:
        """Wait for what comes of a wish; it has to be an answer."""
        return self.answered(self.heard(wish, waiting.result()))

    def in_time(self, exchange: Exchange, *, hint: str, about: Wish) -> Exchange:
        """An exchange that has to be an answer GRACE_S before its own deadline."""
        within = exchange.request.deadline_s - GRACE_S
        if exchange.took_s > within:
            raise CheckFailed(
                expected=f"an answer within {within:g} s",
                observed=exchange.failure or f"{exchange.status} after {exchange.took_s:.1f} s",
                hint=hint,
                evidence=self.story(about, exchange),
                reading="The answers",
                sure=exchange.surely_took_s > within,
            )
        return self.answered(exchange)

    def heard(self, wish: Wish, exchange: Exchange) -> Exchange:
        """Remember what came of a wish, answered or not."""
        with self._lock:
            self._asked.setdefault(wish, []).append(exchange)
        return self.seen(exchange)

    def answered(self, exchange: Exchange) -> Exchange:
        """An exchange that has to be an answer; else its process tells why it is none."""
        try:
            return answered([exchange])[0]
        except CheckFailed as failure:
            raise CheckFailed(
                expected=failure.expected,
                observed=failure.observed,
                evidence=[*failure.evidence, *self.end_of_process(exchange.request.process)],
                reading=failure.reading,
            ) from None

    def end_of_process(self, process: str) -> list[EvidenceRow]:
        """Whether it has ended by itself, and its last lines."""
        running = self.arena.processes[process].running
        ended = [] if running else [EvidenceRow(at=None, who=process, what="has ended by itself")]
        return [*ended, *self.output(process)]

    def seen(self, exchange: Exchange) -> Exchange:
        self._seen.append(exchange)
        return exchange

    def pay(self, order: Order, process: str = "web-1") -> str:
        """A payment that has to succeed at once; its id."""
        answer = self.post(order, process)
        self.has_status(answer, 201, reading="The answers", about=order)
        return self.id_of(order, answer)

    def refund(self, refund: Refund, process: str = "web-1") -> Exchange:
        """A refund that has to succeed at once."""
        answer = self.post(refund, process)
        # A 409 may say that something else is in progress; stored, it is the refusal.
        refused = answer.status == 409 and is_replay(self.post(refund, process))
        self.has_status(answer, 201, reading="Refunds", about=refund, sure=refused)
        return answer

    def id_of(self, order: Order, answer: Exchange) -> str:
        """The id that an answer tells."""
        id = json_of(answer).get("id")
        expect(
            isinstance(id, str | int) and str(id) != "",
            equals=True,
            unit="that a payment has an id",
            evidence=lambda: self.story(order, answer),
            reading="The answers",
        )
        return str(id)

    def read(self, order: Order, payment_id: str, process: str = "web-1") -> Exchange:
        return self.ask(read(order.merchant, payment_id, process))

    # What was asked.

    def wishes_asked(self) -> list[Wish]:
        with self._lock:
            return list(self._asked)

    def answers_to(self, wish: Wish) -> list[Exchange]:
        with self._lock:
            return list(self._asked.get(wish, ()))

    def has_ended(self, wish: Wish) -> bool:
        return any(is_end(wish, answer) for answer in self.answers_to(wish))

    def end_of(self, wish: Wish) -> Exchange:
        """The answer that ended it, or else the last."""
        answers = self.answers_to(wish)
        return next((answer for answer in answers if is_end(wish, answer)), answers[-1])

    def kin_of(self, wish: Wish) -> list[Wish]:
        """The other wishes about the same payment."""
        order = wish.order if isinstance(wish, Refund) else wish
        kin = [other for other in self.wishes_asked() if (getattr(other, "order", other)) == order]
        return [other for other in kin if other != wish]

    # Judging.

    def has_status(
        self,
        exchange: Exchange,
        *wanted: int,
        reading: str,
        hint: str | None = None,
        about: Wish | None = None,
        again: Callable[[], Exchange] | None = None,
        sure: bool = False,
    ) -> None:
        """The answer has one of these statuses; `again` asks once more, where a repeat does not do."""
        if exchange.status is not None and exchange.status >= 500 and exchange.status not in wanted:
            self._blamed = exchange.request.process, again or (lambda: self.arena.send(exchange.request))
        expect(
            exchange.status or exchange.failure,
            one_of=wanted,
            unit=f"as the status of {exchange.request.method} {exchange.request.path}",
            hints=[(lambda _: hint is not None, hint or "")],
            evidence=lambda: self.evidence_of(exchange, about),
            reading=reading,
            sure=sure or (exchange.status is not None and exchange.status not in BUSY),
        )

    def refused(
        self,
        exchange: Exchange,
        *wanted: int,
        reading: str,
        hint: str | None = None,
        about: Wish | None = None,
        sure: bool = False,
    ) -> None:
        """The answer is an error with one of these statuses, told as a problem."""
        self.has_status(exchange, *wanted, reading=reading, hint=hint, about=about, sure=sure)
        is_problem(exchange)

    def output(self, process: str, most: int = 6) -> list[EvidenceRow]:
        """The last lines of a process."""
        lines = self.arena.processes[process].tail(most)
        return [EvidenceRow(at=None, who=f"{process} output", what=line) for line in lines]

    def evidence_of(self, exchange: Exchange, about: Wish | None) -> Sequence[EvidenceRow]:
        """What shows an answer: alone, or with all that happened to a wish."""
        if about is not None:
            return self.story(about, exchange)
        rows = [row_of(exchange, marked=True)]
        return [*rows, *self.output(exchange.request.process)] if (exchange.status or 500) >= 500 else rows

    def doubt(self) -> str | None:
        """Why the machine may be at fault for this check's failure, or None."""
        self.arena.sleep(DOUBT_AFTER_S)
        return TOO_BUSY if self.starved and not self._persists() else None

    @property
    def starved(self) -> bool:
        """Whether a process that answered this check was short of processors."""
        return any(map(self.arena.starved_lately, list(self._seen)))

    def _persists(self) -> bool:
        """Whether an error stays, however often it is asked for, while its process takes payments.

        Who has given somebody up gets over it, has nothing to take payments with meanwhile, and has waited
        longer than a payment takes.
        """
        if self._blamed is None:
            return False
        process, again = self._blamed
        shown = 0
        for _ in range(MOST_REPEATS):
            control = self.arena.send(post(self.wishes.order(), process))
            repeat = again()
            if (repeat.status or 0) < 500:
                return False
            is_slow = repeat.received - repeat.sent > control.received - control.sent + SLOWER_S
            shown += control.status == 201 and not is_slow
            if shown == REPEATS:
                return True
            self.arena.sleep(REPEATS_EVERY_S)
        return False
