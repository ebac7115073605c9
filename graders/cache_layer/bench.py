"""The verbs of the cache layer's checks."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from labkit import (
    Arena,
    CheckFailed,
    EvidenceRow,
    Exchange,
    Request,
    Setup,
    answered,
    expect,
    is_problem,
    rows_of,
    shortened,
)

from . import costs, entries, gauge, outages, races, scenario
from .stock import Product, Stock, stocked
from .values import load, product_differences

TOO_BUSY = "the machine was too busy: the service may have given up waiting for Redis or Postgres"
# By then the answers that were on their way beside the one in question have come as well.
DOUBT_AFTER_S = 0.3
PRODUCTS = "/products"
# Characters of a long description.
LONG = 400


def _setup(*, ttl: int, negative_ttl: int, replicas: int, **more: Any) -> Setup:
    settings = {"CACHE_TTL_SECONDS": str(ttl), "CACHE_NEGATIVE_TTL_SECONDS": str(negative_ttl)}
    return Setup(replicas={"web": replicas}, settings=settings, prepare=stocked, **more)


ARENAS = {
    # lives so long that nothing expires while a check runs; absences' above the 10 s of guards
    "long": _setup(ttl=60, negative_ttl=20, replicas=2, width=3),
    "short": _setup(ttl=2, negative_ttl=1, replicas=1),
    "counted": _setup(ttl=60, negative_ttl=20, replicas=2, exclusive=True, breaks=["postgres"]),
    "races": _setup(ttl=60, negative_ttl=20, replicas=2, exclusive=True),
    "outage": _setup(ttl=1, negative_ttl=1, replicas=2, exclusive=True, breaks=["redis"]),
    "away": _setup(ttl=1, negative_ttl=1, replicas=1, exclusive=True, breaks=["postgres"]),
    "crash": _setup(ttl=1, negative_ttl=1, replicas=3, exclusive=True),
}


class Bench:
    """One check's view of an arena: products that nobody else uses, reads and writes of them."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self.arena = arena
        self.ttl = int(arena.setup.settings["CACHE_TTL_SECONDS"])
        self.negative_ttl = int(arena.setup.settings["CACHE_NEGATIVE_TTL_SECONDS"])
        self.replicas = arena.setup.processes
        self.stock: Stock = arena.prepared
        self.chance = chance
        self._seen: list[Exchange] = []

    # Verbs that have files of their own.
    is_problem = staticmethod(is_problem)
    redis = property(entries.redis_of)
    times_to_live = entries.times_to_live
    entry_rows = entries.entry_rows
    spoil_entries = entries.spoil_entries
    replace_entries = entries.replace_entries
    cost_of = costs.cost_of
    statements_between = costs.statements_between
    loads_of_all = costs.loads_of_all
    at_best = costs.at_best
    while_reading = races.while_reading
    while_committing = races.while_committing
    while_committed = races.while_committed
    while_at_redis = races.while_at_redis
    patiently = races.patiently
    one_by_one = races.one_by_one
    put_in_time = gauge.put_in_time
    works_without_redis = outages.works_without_redis
    cut_off_from_redis = outages.cut_off_from_redis
    expect_hits_again = outages.expect_hits_again
    expect_answers_again = outages.expect_answers_again
    agrees_with_the_table = outages.agrees_with_the_table
    terminate_during = outages.terminate_during
    leave_unknown = outages.leave_unknown
    cut_off_while_loading = outages.cut_off_while_loading
    random_history = scenario.random_history
    expect_lawful = scenario.expect_lawful
    expect_enough_judged = scenario.expect_enough_judged

    def product(self) -> Product:
        """A product in the table that nobody has asked for or written yet."""
        return self.stock.take()

    def long_product(self) -> Product:
        """A product that nobody has asked for yet, with some hundred characters that no packing shortens."""
        long = "".join(self.chance.choices(string.ascii_letters + string.digits, k=LONG))
        product = replace(self.product(), description=long)
        self.stock.change(product)
        return product

    def absent_id(self) -> int:
        """An id that is not in the table and that nobody has asked for yet."""
        return self.chance.randrange(10**9, 10**15)

    def new_product(self, name: str = "made by a PUT") -> Product:
        """A product that is not in the table yet."""
        return Product(self.absent_id(), name, None, 5, {"made": True})

    def request(self, method: str, id: object, process: str, body: object = None) -> Request:
        """A request for one product; `body` as JSON, or as it is if it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        return Request(process, f"{PRODUCTS}/{id}", method, headers, data)

    def list_request(self, ids: Iterable[object] | str, process: str) -> Request:
        asked = ids if isinstance(ids, str) else ",".join(map(str, ids))
        return Request(process, f"{PRODUCTS}?ids={asked}")

    def ask(self, request: Request) -> Exchange:
        """One request that has to be answered, with whatever status."""
        return self.came(self.arena.send(request))

    def begin(self, request: Request) -> Future[Exchange]:
        return self.arena.begin(request)

    def seen(self, exchange: Exchange) -> Exchange:
        """Remember an exchange, answered or not, for the story that a failure tells."""
        self._seen.append(exchange)
        return exchange

    def came(self, exchange: Exchange) -> Exchange:
        """An exchange that has to be an answer."""
        return answered([self.seen(exchange)])[0]

    def get(self, id: object, process: str = "web-1") -> Exchange:
        return self.ask(self.request("GET", id, process))

    def put(self, product: Product, process: str = "web-1") -> Exchange:
        """A PUT that has to be carried out: it creates version 1 and replaces others."""
        answer = self.ask(self.request("PUT", product.id, process, product.body))
        self.has_status(answer, 201 if product.version == 1 else 200, reading="Products")
        return answer

    def delete(self, id: int, process: str = "web-1") -> Exchange:
        answer = self.ask(self.request("DELETE", id, process))
        self.has_status(answer, 204, reading="Products")
        return answer

    def warm(self, product: Product, processes: Iterable[str] | None = None) -> None:
        """Ask every replica for a product until it is cached, as far as the service caches it."""
        for process in processes or self.replicas:
            self.shows(self.get(product.id, process), product, reading="Products")
        self.arena.wait_for(lambda: outages.is_hit(self.get(product.id, self.replicas[0])), within=0.5)

    def has_status(self, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
        """The answer has one of these statuses."""
        expect(
            exchange.status or exchange.failure,
            one_of=wanted,
            unit=f"as the status of {exchange.request.method} {exchange.request.path}",
            hints=[(lambda _: hint is not None, hint or "")],
            evidence=lambda: self.story(exchange, exchange),
            reading=reading,
            # No slowness makes a bad request a good one, nor lets anybody know what could not be asked.
            sure=(400 in wanted and exchange.status in range(200, 300))
            or (503 in wanted and exchange.status in (200, 404)),
        )

    def refused(self, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
        """The answer is an error with one of these statuses, told as a problem."""
        self.has_status(exchange, *wanted, reading=reading, hint=hint)
        is_problem(exchange)

    def shows(
        self,
        exchange: Exchange,
        product: Product | Mapping[str, Any] | None,
        *,
        reading: str,
        hint: str | None = None,
        since: Exchange | None = None,
        sure: bool = False,
    ) -> None:
        """The answer is this product, or 404 for None; `since` is the write that made it so."""
        wanted = load(json.dumps(product.json)) if isinstance(product, Product) else product
        right = exchange.status in ((404,) if wanted is None else (200, 201))
        body = load(exchange.body)
        wrong = product_differences(wanted, body) if right and wanted is not None else []
        if right and not wrong:
            return
        what = f"{exchange.request.method} {exchange.request.path} at {exchange.request.process}"
        said = "; ".join(wrong[:3]) or str(exchange.status or exchange.failure)
        wanted_version = wanted and wanted["version"]
        expected = "404" if wanted is None else f"200 with version {wanted_version}, {wanted['name']!r}"
        raise CheckFailed(
            expected=f"{expected} for {what}",
            observed=said,
            hint=hint,
            evidence=self.story(since or exchange, exchange),
            reading=reading,
            # Another version may be a question of time; other values under the same one are not.
            sure=sure
            or (bool(wrong) and isinstance(body, dict) and body.get("version", ...) in (wanted_version, ...)),
        )

    def table_holds(self, product: Product, *, since: Exchange) -> None:
        """The row in the table is this product."""
        row = self.stock.row(product.id)
        wrong = product_differences(load(json.dumps(product.json)), row)
        expect(
            "; ".join(wrong) or "the product",
            equals="the product",
            unit="in the table after the answer",
            hints=[(lambda _: row is None, "the answer came before the row was there")],
            evidence=lambda: self.story(since, since),
            reading="Products",
        )

    def lists(self, exchange: Exchange, products: Sequence[Product], *, reading: str) -> None:
        """The answer lists these products in this order."""
        self.has_status(exchange, 200, reading=reading)
        body = load(exchange.body)
        items = body.get("items") if isinstance(body, dict) else None
        items = items if isinstance(items, list) else []
        expect(
            [item.get("id") if isinstance(item, dict) else None for item in items],
            equals=[product.id for product in products],
            unit="as the ids of the items, in this order",
            evidence=lambda: self.story(exchange, exchange),
            reading=reading,
        )
        for item, product in zip(items, products, strict=True):
            wrong = product_differences(load(json.dumps(product.json)), item)
            expect(
                "; ".join(wrong) or "the product",
                equals="the product",
                unit=f"as the item {product.id} of a list",
                evidence=lambda: self.story(exchange, exchange),
                reading=reading,
            )

    def shown_everywhere(
        self,
        product: Product | Mapping[str, Any] | None,
        id: int,
        *,
        since: Exchange,
        reading: str,
        hint: str | None = None,
    ) -> None:
        """Every replica shows it now, and again a moment later: a fill may come after its answer."""
        for pause in (0.0, 0.1):
            self.arena.sleep(pause)
            for process in self.replicas:
                answer = self.get(id, process)
                self.shows(answer, product, reading=reading, hint=hint, since=since)

    def story(self, first: Exchange, marked: Exchange) -> list[EvidenceRow]:
        """What this check asked, what the services were asked and what the grader did, up to `marked`."""
        begin = min(first.sent, marked.sent) - 0.05
        seen = [exchange for exchange in self._seen if begin <= exchange.sent <= marked.sent]
        if marked not in seen:
            seen.append(marked)
        rows = rows_of(seen, mark=marked) + self.arena.timeline(begin, marked.received)
        rows += self.statements_between(begin, marked.received)
        rows = shortened(sorted(rows, key=lambda row: row.at or 0.0))
        return [*rows, *self.output(marked.request.process)] if (marked.status or 500) >= 500 else rows

    def output(self, process: str, most: int = 6) -> list[EvidenceRow]:
        """The last lines of a process."""
        lines = self.arena.processes[process].tail(most)
        return [EvidenceRow(at=None, who=f"{process} output", what=line) for line in lines]

    def doubt(self) -> str | None:
        """Why the machine may be at fault for this check's failure, or None.

        A service gives up waiting for Redis or Postgres after some time, and may then do without
        for as long as the contract lets it.
        """
        self.arena.sleep(DOUBT_AFTER_S)
        return TOO_BUSY if any(map(self.arena.starved_lately, self._seen)) else None
