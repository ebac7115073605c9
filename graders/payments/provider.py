"""The payment provider, played by the grader: it does what its script says, and its ledger is the judge."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from labkit import Call, Gate, Loop, Reply


@dataclass(frozen=True)
class Charge:
    """Money taken. Everything but `id` and `at` is as the service said it."""

    id: str
    at: float
    process: str
    key: str | None
    source: object
    amount_cents: object
    currency: object


@dataclass(frozen=True)
class Refunded:
    """Money given back for a charge."""

    id: str
    at: float
    process: str
    key: str | None
    charge: Charge
    amount_cents: object


@dataclass(frozen=True)
class Turn:
    """What happens to one call; all that is left out does not happen.

    seen    waits before the work is done
    lost    ends the connection, and does nothing
    fails   answers 503, and does nothing
    done    waits after the work, before the answer
    late_s  seconds from the work to the answer
    cuts    ends the connection instead of answering
    """

    seen: Gate | None = None
    lost: bool = False
    fails: bool = False
    done: Gate | None = None
    late_s: float = 0.0
    cuts: bool = False


AT_ONCE = Turn()
FAILS = Turn(fails=True)
CUTS = Turn(cuts=True)
# What a service says of a failure of the provider that it cannot resolve by itself.
FOR_NOW = (502, 503, 504)


@dataclass
class Asked:
    """One call and what came of it; `answer` is None while it is open and where it was cut."""

    at: float
    process: str
    path: str
    key: str | None
    source: object
    body: Any
    answer: Reply | None = None
    said: str = "open"


@dataclass
class Script:
    """What the provider does to the calls about one source: a turn each, then `finally_` for the rest."""

    turns: deque[Turn] = field(default_factory=deque)
    finally_: Turn = AT_ONCE

    def next(self) -> Turn:
        return self.turns.popleft() if self.turns else self.finally_


class Provider:
    """The outside party behind PSP_URL. Scripts are by the source of a charge, its refunds' apart.

    A call with a key that is known gets the first answer, whatever it asks for, and does nothing more.
    """

    def __init__(self, loop: Loop, clock: Callable[[], float]) -> None:
        self.charges: list[Charge] = []
        self.refunds: list[Refunded] = []
        self.calls: list[Asked] = []
        self._loop = loop
        self._clock = clock
        self._charging: dict[object, Script] = defaultdict(Script)
        self._refunding: dict[object, Script] = defaultdict(Script)
        self._declined: set[object] = set()
        self._answers: dict[tuple[str, str], Reply] = {}

    # What checks call, from their threads.

    def gate(self) -> Gate:
        return Gate(self._loop)

    def script(self, source: str, *turns: Turn, then: Turn = AT_ONCE) -> None:
        """What happens to the next calls that charge this source, and to all after them."""
        self._loop.call(self._charging.__setitem__, source, Script(deque(turns), then))

    def script_refunds(self, source: str, *turns: Turn, then: Turn = AT_ONCE) -> None:
        """The same for refunds of what was charged to this source."""
        self._loop.call(self._refunding.__setitem__, source, Script(deque(turns), then))

    def decline(self, source: str) -> None:
        """Whoever asks for this source's money is declined, until `approve`."""
        self._loop.call(self._declined.add, source)

    def approve(self, source: str) -> None:
        self._loop.call(self._declined.discard, source)

    def charged(self, source: str) -> list[Charge]:
        """What was taken from this source."""
        return [charge for charge in list(self.charges) if charge.source == source]

    def refunded(self, source: str) -> list[Refunded]:
        """What was given back to this source."""
        return [refund for refund in list(self.refunds) if refund.charge.source == source]

    def calls_about(self, source: str) -> list[Asked]:
        return [call for call in list(self.calls) if call.source == source]

    # What the service calls.

    async def answer(self, call: Call) -> Reply | None:
        """Answer a call by its script; see Outsider."""
        body = _json(call.body)
        charging = call.path == "/charges"
        if call.method != "POST" or call.path not in ("/charges", "/refunds"):
            return _reply(404, {"error": "POST /charges and POST /refunds are all there is"})
        charge = None if charging else self._charge_of(body.get("charge_id"))
        source = _hashable(body.get("source")) if charging else charge and charge.source
        asked = Asked(call.at, call.process, call.path, call.headers.get("idempotency-key"), source, body)
        self.calls.append(asked)
        turn = (self._charging if charging else self._refunding)[source].next()
        asked.answer = await self._by_turn(turn, asked, charge)
        return asked.answer

    async def _by_turn(self, turn: Turn, asked: Asked, charge: Charge | None) -> Reply | None:
        if turn.seen is not None:
            asked.said = "seen, not done"
            await turn.seen.passed()
        if turn.lost:
            asked.said = "cut, nothing done"
            return None
        if turn.fails:
            asked.said = "503, nothing done"
            return _reply(503, {"error": "try again later"})
        reply = self._first_answer(asked, charge)
        asked.said = f"{reply.status}, not answered"
        if turn.done is not None:
            await turn.done.passed()
        if turn.late_s:
            await asyncio.sleep(turn.late_s)
        asked.said = f"{reply.status}, then cut" if turn.cuts else str(reply.status)
        return None if turn.cuts else reply

    def _first_answer(self, asked: Asked, charge: Charge | None) -> Reply:
        """Do the work, unless it has been done under this key."""
        known = (asked.path, asked.key or "")
        if asked.key and known in self._answers:
            return self._answers[known]
        reply = self._charge(asked) if asked.path == "/charges" else self._refund(asked, charge)
        if asked.key:
            self._answers[known] = reply
        return reply

    def _charge(self, asked: Asked) -> Reply:
        body = asked.body
        if not _positive(body.get("amount_cents")) or not isinstance(body.get("source"), str):
            return _reply(400, {"error": "amount_cents, currency, source and reference are needed"})
        if asked.source in self._declined:
            return _reply(402, {"status": "declined"})
        charge = Charge(
            id=f"ch_{len(self.charges) + 1:06}",
            at=self._clock(),
            process=asked.process,
            key=asked.key,
            source=asked.source,
            amount_cents=body["amount_cents"],
            currency=body.get("currency"),
        )
        self.charges.append(charge)
        return _reply(201, {"id": charge.id, "status": "succeeded"})

    def _refund(self, asked: Asked, charge: Charge | None) -> Reply:
        """As asked: that it is not more than the charge is for the service to see to."""
        amount = asked.body.get("amount_cents")
        if charge is None or not _positive(amount):
            return _reply(400, {"error": "charge_id of a charge and amount_cents are needed"})
        id = f"re_{len(self.refunds) + 1:06}"
        self.refunds.append(Refunded(id, self._clock(), asked.process, asked.key, charge, amount))
        return _reply(201, {"id": id})

    def _charge_of(self, id: object) -> Charge | None:
        return next((charge for charge in self.charges if charge.id == id), None)


def _reply(status: int, body: dict[str, object]) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _positive(amount: object) -> bool:
    return isinstance(amount, int) and not isinstance(amount, bool) and amount > 0


def _hashable(value: object) -> object:
    return value if isinstance(value, str) else json.dumps(value)


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
