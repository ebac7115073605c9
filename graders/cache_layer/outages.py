"""Redis gone, Postgres gone, and what comes back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Request, Way, expect, rows_of, shortened

from .gauge import MARGIN_S, calm_until
from .races import HELD_WITHIN_S, about_products, commits
from .stock import Product

if TYPE_CHECKING:
    from .bench import Bench

ANSWER_WITHIN_S = 2.0
BACK_WITHIN_S = 5.0
POSTGRES_BACK_WITHIN_S = 20.0
# What a process needs to notice a signal.
TAKEN_IN_S = 0.2
READING = "When Redis fails"


def works_without_redis(
    bench: Bench, outage: Callable[[], AbstractContextManager[None]], process: str, other: str
) -> None:
    """Reads, writes, deletions and lists at `process`, seen at `other` too, all from Postgres, in time."""
    kept, replaced, gone, made = bench.product(), bench.product(), bench.product(), bench.new_product()
    for product in (kept, replaced, gone):
        bench.warm(product, [process])
    new = replaced.renamed("written without Redis")

    with outage():
        wanted: dict[int, Product | None] = {kept.id: kept, new.id: new, made.id: made, gone.id: None}
        read, replacement, creation, deletion, health = _in_time(
            bench,
            bench.request("GET", kept.id, process),
            bench.request("PUT", new.id, process, new.body),
            bench.request("PUT", made.id, process, made.body),
            bench.request("DELETE", gone.id, process),
            Request(process, "/healthz"),
        )
        bench.shows(read, kept, reading=READING, hint=_HINT)
        for answer, status in ((replacement, 200), (creation, 201), (deletion, 204), (health, 200)):
            bench.has_status(answer, status, reading=READING, hint=_HINT)
        places = [(name, id) for name in dict.fromkeys((process, other)) for id in wanted]
        gets = [bench.request("GET", id, name) for name, id in places]
        *shown, listed = _in_time(bench, *gets, bench.list_request(wanted, process))
        for (_, id), answer in zip(places, shown, strict=True):
            bench.shows(answer, wanted[id], reading=READING, hint=_HINT)
        bench.lists(listed, [kept, new, made], reading=READING)


_HINT = "a cache that cannot be reached is a reason to be slower, not to refuse"


def _in_time(bench: Bench, *requests: Request) -> list[Exchange]:
    """All at once, since each may take 2 s."""
    waiting, process = [bench.begin(request) for request in requests], requests[0].process
    surely_late_s = ANSWER_WITHIN_S + MARGIN_S
    calm = calm_until(bench, process, lambda: all(each.done() for each in waiting), within=surely_late_s)
    answers = [bench.came(each.result()) for each in waiting]
    for answer in answers:
        expect(
            answer.took_s,
            at_most=ANSWER_WITHIN_S,
            unit=f"s for the answer to {answer.request.method} {answer.request.path}"
            " while Redis cannot be asked",
            hints=[(bool, "time-outs and retries add up: one deadline for all that one request asks")],
            evidence=rows_of(answers, mark=answer),
            reading=READING,
            sure=answer.surely_took_s > ANSWER_WITHIN_S
            or (calm and answer.request.process == process and answer.took_s > surely_late_s),
        )
    return answers


@contextmanager
def cut_off_from_redis(bench: Bench, process: str) -> Iterator[None]:
    """One replica's way to Redis is refused; the others' are not."""
    link = bench.arena.link(process, "redis")
    link.refuse()
    bench.arena.tell(process, "cut off from Redis")
    try:
        yield
    finally:
        link.open()
        bench.arena.tell(process, "reaches Redis again")


def expect_hits_again(
    bench: Bench,
    product: Product,
    processes: Iterable[str],
    *,
    reading: str,
    hint: str,
    within: float = BACK_WITHIN_S,
) -> None:
    """Each replica answers a repeated GET from the cache within so many seconds, and rightly so.

    A replica that has lost Redis uses it again within 5 s: then no slow machine is an excuse.
    """
    for process in processes:
        asked: list[Exchange] = []
        while not asked or not is_hit(asked[-1]):
            if asked and _waited(bench, asked) > within:
                raise CheckFailed(
                    expected=f"X-Cache: hit for a repeated GET within {within:g} s",
                    observed=f"no hit in {len(asked)} GETs",
                    hint=hint,
                    evidence=[*shortened(rows_of(asked)), *bench.output(process)],
                    reading=reading,
                    sure=within >= BACK_WITHIN_S and not any(exchange.starved for exchange in asked),
                )
            bench.arena.sleep(min(0.05 * len(asked), 0.25))
            asked.append(bench.get(product.id, process))
            bench.shows(asked[-1], product, reading=reading)


def _waited(bench: Bench, asked: list[Exchange]) -> float:
    """Seconds from the first exchange to the last, less those that the machine was late."""
    begin, end = asked[0].sent, asked[-1].sent
    return end - begin - bench.arena.late_between(begin, end)


def is_hit(exchange: Exchange) -> bool:
    return exchange.headers.get("x-cache", "").strip().lower() == "hit"


def expect_answers_again(bench: Bench, product: Product, process: str) -> None:
    """With Postgres back the product is there; until then only 503, never "no such product".

    The contract gives no time, so a pool may take its own in coming back.
    """
    begin = bench.arena.clock()
    while (answer := bench.get(product.id, process)).status != 200:
        late = answer.sent - begin - bench.arena.late_between(begin, answer.sent) > POSTGRES_BACK_WITHIN_S
        bench.has_status(
            answer,
            *((200,) if late else (200, 503)),
            reading="When Postgres fails",
            hint="what was learnt while Postgres was away is not worth remembering",
        )
        bench.arena.sleep(0.05)
    bench.shows(answer, product, reading="When Postgres fails")


def agrees_with_the_table(bench: Bench, ids: Iterable[int], *, reading: str, hint: str) -> None:
    """Every replica shows what the table holds."""
    for id in ids:
        row = bench.stock.row(id)
        for process in bench.replicas:
            bench.shows(bench.get(id, process), row, reading=reading, hint=hint)


def terminate_during(bench: Bench, *requests: Request) -> tuple[list[Exchange], int | None]:
    """SIGTERM while requests to one process wait for Postgres; (their answers, the exit code)."""
    process, most = requests[0].process, len(requests)
    bench.get(bench.product().id, process)
    with bench.arena.link(process, "postgres").trap(about_products, way=Way.BACK, most=most) as trap:

        def go_on() -> None:
            bench.arena.sleep(TAKEN_IN_S)
            held.append(bench.arena.clock())
            trap.release()

        waiting = list(map(bench.begin, requests))
        bench.arena.wait_for(lambda: trap.count >= most, within=HELD_WITHIN_S)
        held = [bench.arena.clock()]
        code = bench.arena.terminate(process, then=go_on)
    answers = [bench.arena.less_hold(each.result(), held[0], held[-1]) for each in waiting]
    return list(map(bench.came, answers)), code


def cut_off_while_loading(bench: Bench, requests: Sequence[Request]) -> list[Exchange]:
    """Requests of one replica at once, whose load is cut off before it comes to Postgres; their answers."""
    process = requests[0].process
    with bench.arena.link(process, "postgres").trap(about_products, way=Way.THERE) as trap:
        waiting = [bench.begin(request) for request in requests]
        bench.arena.wait_for(trap.caught.is_set, within=HELD_WITHIN_S)
        bench.arena.sleep(TAKEN_IN_S)
        trap.cut()
        bench.arena.tell(process, "cut off from Postgres while it loads")
    return [bench.came(each.result()) for each in waiting]


def leave_unknown(bench: Bench, product: Product, process: str, *, way: Way, kill: bool) -> Exchange:
    """A PUT whose replica is killed or cut off at its COMMIT, before it knows what has become of it."""
    with bench.arena.link(process, "postgres").trap(commits, way=way) as trap:
        waiting = bench.begin(bench.request("PUT", product.id, process, product.body))
        bench.arena.wait_for(trap.caught.is_set, waiting.done, within=HELD_WITHIN_S)
        if trap.caught.is_set() and kill:
            bench.arena.kill(process)
        trap.cut()
        bench.arena.tell(process, f"cut off from Postgres at its COMMIT: {way.value}")
    return bench.seen(waiting.result())
