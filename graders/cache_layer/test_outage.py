"""Stage outage: Redis or Postgres gone, emptied or spoilt; writes of unknown outcome."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit import Exchange, Request, Way, check, expect

if TYPE_CHECKING:
    from .bench import Bench
    from .stock import Product

SERVED = "a-product-is-served-as-stored"
HITS = "a-repeated-get-is-a-hit"

READING = "When Redis fails"
MISS_WITHIN_S = 3.0
# A wait that doubles from 50 ms, or from 200, is just over then, and the next is longer than 5 s.
LONG_OUTAGE_S, ASKED_EVERY_S = 7.0, 0.05
SILENT_S = 3.5
CROWD = 6

# What other programs, and other versions of this one, leave behind. Nothing of it can be any service's own
# way to write down a product or an absence; b"" cuts the entry short, None puts a list in its place.
RUBBISH = (
    b"\xff\xfe\x00 no entry of yours \x80",
    b"",
    b"neither JSON nor anything else",
    b'{"of": "another program"}',
    b'{"id": ID, "title": "of an older version"}',
    b'["of", "another", "program"]',
    b'"of another program"',
    None,
)


@check(
    points=3,
    kills=["redis-error-is-a-500", "retries-through-the-outage"],
    arena="outage",
    needs=HITS,
)
def test_redis_down_is_served_from_postgres(bench: Bench) -> None:
    """With Redis down GET, PUT and DELETE keep working from Postgres, each within 2 s."""
    bench.works_without_redis(bench.arena.faults("redis").stopped, "web-1", "web-2")


@check(points=2, kills=["waits-for-redis-for-ever", "rests-for-a-minute"], arena="outage", needs=HITS)
def test_redis_paused_is_served_from_postgres(bench: Bench) -> None:
    """With a Redis that accepts and never answers, all goes on within 2 s, and 5 s later caching does."""
    bench.works_without_redis(bench.arena.faults("redis").paused, "web-1", "web-2")
    hint = "how long does the service do without Redis after a silence?"
    bench.expect_hits_again(bench.product(), bench.replicas, reading=READING, hint=hint)


@check(points=2, kills=["gives-up-on-redis"], arena="outage", needs=HITS)
def test_caching_returns_after_an_outage(bench: Bench) -> None:
    """Within 5 s after Redis is back GETs hit again; what was written meanwhile is hidden for at most T."""
    product, other = bench.product(), bench.product()
    bench.warm(product)
    new = product.renamed("written during the outage")
    with bench.arena.faults("redis").stopped():
        written = bench.put(new, "web-1")
        for process in bench.replicas:
            bench.get(other.id, process)
    back = bench.arena.clock()

    bench.expect_hits_again(
        other,
        bench.replicas,
        reading="When Redis fails",
        hint="does the service connect to Redis again by itself?",
    )
    bench.arena.sleep_until(back + bench.ttl + 1)
    bench.shown_everywhere(new, new.id, since=written, reading="When Redis fails")


@check(points=1, kills=["backs-off-for-longer-and-longer"], arena="away", needs=HITS)
def test_caching_returns_after_a_long_outage(bench: Bench) -> None:
    """Also after some seconds without Redis, with requests all the while, caching is back within 5 s."""
    product = bench.product()
    over = bench.arena.clock() + LONG_OUTAGE_S
    with bench.cut_off_from_redis("web-1"):
        while bench.arena.clock() < over:
            bench.shows(bench.get(product.id), product, reading=READING)
            bench.arena.sleep(ASKED_EVERY_S)
    hint = "it tries again more and more seldom: the longest of these waits is what users wait for"
    bench.expect_hits_again(product, ["web-1"], reading=READING, hint=hint)


@check(points=1, kills=["takes-silence-for-an-absence"], arena="away", needs=SERVED)
def test_a_silent_postgres_is_no_absence(bench: Bench) -> None:
    """While Postgres is silent a product is not said to be missing, nor remembered as that afterwards."""
    product = bench.product()
    with bench.arena.faults("postgres").paused():
        waiting = bench.begin(bench.request("GET", product.id, "web-1"))
        bench.arena.wait_for(waiting.done, within=SILENT_S)
        bench.arena.tell("grader", "no longer waits for the answer")
    answer = bench.seen(waiting.result())
    if answer.status is not None:
        hint = "no answer of Postgres is another thing than the answer that there is none"
        bench.has_status(answer, 200, *range(500, 600), reading="When Postgres fails", hint=hint)
    bench.expect_answers_again(product, "web-1")


@check(
    points=2,
    kills=[
        "postgres-error-is-a-500",
        "health-asks-postgres",
        "lists-leave-out-what-fails",
        "writes-to-the-cache-first",
        "shows-an-old-copy-without-postgres",
    ],
    arena="counted",
    needs=HITS,
)
def test_postgres_down_leaves_the_hits(bench: Bench) -> None:
    """With Postgres down hits still answer 200, misses 503 within 3 s, and /healthz stays 200."""
    cached, cold = bench.product(), bench.product()
    replaced = bench.product()
    bench.warm(replaced)
    replaced = replaced.renamed("written before Postgres went down")
    bench.put(replaced, "web-2")
    with bench.redis as redis:
        redis.flushdb()
    bench.expect_hits_again(cached, bench.replicas, reading="Caching", hint="nothing is cached")
    with bench.arena.faults("postgres").stopped():
        for process in bench.replicas:
            hit = bench.get(cached.id, process)
            bench.shows(hit, cached, reading="When Postgres fails", hint="a hit needs no Postgres")
            misses = [bench.begin(bench.request("GET", cold.id, process)) for _ in range(CROWD)]
            for miss in [bench.came(each.result()) for each in misses]:
                bench.refused(
                    miss, 503, reading="When Postgres fails", hint="say that it is for a while only"
                )
                expect(
                    miss.took_s,
                    at_most=MISS_WITHIN_S,
                    unit="s for the answer to a miss while Postgres is down",
                    evidence=partial(bench.story, miss, miss),
                    reading="When Postgres fails",
                    sure=miss.surely_took_s > MISS_WITHIN_S,
                )
            listed = bench.ask(bench.list_request([cached.id, cold.id], process))
            bench.refused(
                listed,
                *range(500, 600),
                reading="When Postgres fails",
                hint="an id that nobody could be asked about is not unknown",
            )
            health = bench.ask(Request(process, "/healthz"))
            bench.has_status(health, 200, reading="When Postgres fails", hint="health is not Postgres'")
        _expect_nothing_written(bench, cached, "web-1")
        _expect_nothing_old(bench, replaced, "web-1")
    for process in bench.replicas:
        bench.expect_answers_again(cold, process)


def _expect_nothing_old(bench: Bench, replaced: Product, process: str) -> None:
    """What was replaced is not shown again because nothing newer can be read."""
    answer = bench.get(replaced.id, process)
    hint = "an old copy kept for bad days is older than a write that was acknowledged"
    bench.has_status(answer, 200, 503, reading="When Postgres fails")
    if answer.status == 200:
        bench.shows(answer, replaced, reading="When Postgres fails", hint=hint, sure=True)


def _expect_nothing_written(bench: Bench, cached: Product, process: str) -> None:
    """Without Postgres a PUT is an error, and never seen."""
    refused = bench.ask(bench.request("PUT", cached.id, process, cached.renamed("written nowhere").body))
    bench.refused(refused, *range(500, 600), reading="When Postgres fails", hint="where was it written?")
    for name in bench.replicas:
        answer = bench.get(cached.id, name)
        bench.has_status(answer, 200, 503, reading="When Postgres fails")
        if answer.status == 200:
            hint = "what was put into the cache was put nowhere else"
            bench.shows(answer, cached, since=refused, reading="Failed writes", hint=hint, sure=True)


@check(
    points=2,
    kills=["caches-the-error-as-an-absence", "who-joins-a-failed-load-gets-404"],
    arena="counted",
    needs=SERVED,
)
def test_errors_are_not_cached(bench: Bench) -> None:
    """What could not be read while Postgres was down is there as soon as Postgres is."""
    product = bench.product()
    with bench.arena.faults("postgres").stopped():
        for process in bench.replicas:
            bench.refused(
                bench.get(product.id, process),
                503,
                reading="When Postgres fails",
                hint="not to know is another thing than to know that there is none",
            )
    for process in bench.replicas:
        bench.expect_answers_again(product, process)

    product = bench.product()
    for answer in bench.cut_off_while_loading([bench.request("GET", product.id, "web-1")] * CROWD):
        hint = "who waits for another's load has to learn as well that it failed"
        bench.has_status(answer, 200, 503, reading="When Postgres fails", hint=hint)
    bench.expect_answers_again(product, "web-1")


@check(points=2, kills=["write-fails-with-redis"], arena="outage", needs=HITS)
def test_a_replica_cut_off_from_redis_goes_on(bench: Bench) -> None:
    """A replica that alone is cut off from Redis goes on; the others show its writes T later at most."""
    product = bench.product()
    bench.warm(product)
    new = product.renamed("written by a replica cut off from Redis")
    with bench.cut_off_from_redis("web-1"):
        written = bench.put(new, "web-1")
        bench.works_without_redis(lambda: bench.cut_off_from_redis("web-1"), "web-1", "web-1")
    bench.arena.sleep_until(written.received + bench.ttl + 1)
    bench.shown_everywhere(new, new.id, since=written, reading="When Redis fails")


@check(points=2, kills=["never-fills-again-after-a-flush"], arena="counted", needs=HITS)
def test_flushed_entries_come_back(bench: Bench) -> None:
    """After all keys are flushed every answer is right, and entries are filled again."""
    products = [bench.product() for _ in range(3)]
    for product in products:
        bench.warm(product)
    with bench.redis as redis:
        redis.flushdb()  # not FLUSHALL: the rest of an external Redis is somebody else's
        bench.arena.tell("redis", "FLUSHDB")

    for product in products:
        bench.expect_hits_again(
            product,
            bench.replicas,
            reading="When Redis fails",
            hint="what Redis has forgotten has to be made again, not only entries",
        )


@check(
    points=2,
    kills=["rubbish-is-a-500", "rubbish-stays", "any-json-is-an-entry", "another-type-is-an-outage"],
    arena="counted",
    needs=HITS,
)
def test_rubbish_in_the_cache_is_repaired(bench: Bench) -> None:
    """Entries overwritten with rubbish, or cut short, are neither shown nor an error, and are repaired."""
    for rubbish in RUBBISH:
        product = bench.long_product()
        bench.expect_hits_again(product, bench.replicas, reading="Caching", hint="nothing is cached")
        if rubbish is None:
            bench.replace_entries(product)
        else:
            bench.spoil_entries(rubbish.replace(b"ID", str(product.id).encode()))
        listed = bench.ask(bench.list_request([product.id], "web-2"))
        bench.lists(listed, [product], reading="When Redis fails")
        bench.expect_hits_again(
            product,
            bench.replicas,
            reading="When Redis fails",
            hint="what cannot be read is a miss: fill it anew",
        )


@check(
    points=2,
    kills=[
        "forgets-unknown-writes",
        "a-lock-outlives-its-writer",
        "writes-again-after-a-lost-commit",
        "takes-a-lost-commit-for-done",
    ],
    arena="crash",
    needs=HITS,
)
def test_a_write_of_unknown_outcome_settles(bench: Bench) -> None:
    """A writer killed or cut off at its COMMIT: T + 1 s later every replica agrees with the table."""
    left = bench.product()
    bench.leave_unknown(left.renamed("perhaps"), "web-3", way=Way.THERE, kill=False)
    bench.put_in_time(left.renamed("written right after one of unknown outcome"), "web-2")
    products = [bench.product() for _ in range(3)]
    for product in products:
        bench.warm(product)
    written = [product.renamed("perhaps") for product in products]
    answers = [
        bench.leave_unknown(written[0], "web-1", way=Way.BACK, kill=True),
        bench.leave_unknown(written[1], "web-2", way=Way.BACK, kill=False),
        bench.leave_unknown(written[2], "web-3", way=Way.THERE, kill=False),
    ]
    for product, answer in zip(written, answers, strict=True):
        _expect_one_write_at_most(bench, product, answer)
    bench.arena.heal()
    bench.arena.sleep(bench.ttl + 1)

    bench.agrees_with_the_table(
        [product.id for product in products],
        reading="When a replica fails",
        hint="an entry that outlives T hides a write that nobody announced",
    )
    for product in products:
        bench.put_in_time(product.renamed("written after one of unknown outcome"), "web-2")


def _expect_one_write_at_most(bench: Bench, written: Product, answer: Exchange) -> None:
    """One PUT makes one version; and what was acknowledged is in the table."""
    row = bench.stock.row(written.id)
    version = row and row["version"]
    least = written.version if answer.status in (200, 201) else written.version - 1
    expect(
        version,
        one_of=range(least, written.version + 1),
        unit=f"as the version in the table after one PUT of version {written.version},"
        f" cut off at its COMMIT and answered {answer.status or 'not at all'}",
        hints=[
            (lambda got: got > written.version, "the first try was carried out, and then it was tried again"),
            (lambda _: True, "whose COMMIT was not answered cannot know: that is a 5xx"),
        ],
        evidence=partial(bench.story, answer, answer),
        reading="When a replica fails",
        sure=True,
    )


@check(points=3, kills=["keeps-a-copy-in-the-process"], arena="crash", needs=HITS)
def test_a_history_of_reads_and_writes_holds(bench: Bench) -> None:
    """Reads and writes from all sides with random faults: no read is older than what was acknowledged."""
    scenario = bench.random_history(products=3)

    for history in scenario.histories:
        bench.expect_lawful(history, reading="Freshness")
    bench.expect_enough_judged(scenario)
    bench.arena.heal()
    bench.arena.sleep(bench.ttl + 1)
    bench.agrees_with_the_table(
        [history.product.id for history in scenario.histories],
        reading="Freshness",
        hint="writes have stopped, and what can expire has expired",
    )
