"""Stage freshness: what was written shows everywhere, at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import Exchange, check, expect, rows_of, shortened

from .stock import REFUSED_AT_COMMIT
from .values import load

if TYPE_CHECKING:
    from .bench import Bench

WRITES = "put-creates-then-replaces"
HITS = "a-repeated-get-is-a-hit"

WRITERS = 8
MOMENTS = 8
# A right service may make the second writer wait for the first: all the while, then.
HELD_S = 0.5


@check(points=2, kills=["keeps-a-copy-in-the-process", "keeps-a-copy-for-a-moment"], arena="long", needs=HITS)
def test_a_write_shows_on_every_replica(bench: Bench) -> None:
    """A GET sent after the answer to a PUT shows that PUT, at every replica, however warm their caches."""
    product = bench.product()
    bench.warm(product)
    for writer in bench.replicas:
        product = product.renamed(f"written at {writer}")
        written = bench.put(product, writer)

        bench.shown_everywhere(
            product,
            product.id,
            since=written,
            reading="Freshness",
            hint="a copy that nobody tells of the write is shown as if it were the row",
        )
    for number in range(MOMENTS):
        reader, writer = bench.replicas[number % 2], bench.replicas[1 - number % 2]
        for _ in range(2):  # some keep copies of hits only
            bench.get(product.id, reader)
        product = product.renamed(f"written a moment after it was read, {number}")
        written = bench.put(product, writer)
        hint = "a copy kept for a moment is too old from the moment on at which a write was acknowledged"
        bench.shows(bench.get(product.id, reader), product, since=written, reading="Freshness", hint=hint)


@check(points=2, kills=["delete-keeps-the-entry"], arena="long", needs=HITS)
def test_a_delete_shows_on_every_replica(bench: Bench) -> None:
    """A GET sent after the answer to a DELETE gets 404 at every replica."""
    product = bench.product()
    bench.warm(product)
    deleted = bench.delete(product.id, "web-2")

    bench.shown_everywhere(None, product.id, since=deleted, reading="Freshness")


@check(points=2, kills=["creation-keeps-the-absence"], arena="long", needs=HITS)
def test_a_creation_ends_an_absence(bench: Bench) -> None:
    """An id that was asked for in vain shows at every replica as soon as its PUT is answered."""
    product = bench.new_product()
    for process in bench.replicas:
        bench.refused(bench.get(product.id, process), 404, reading="Products")
    created = bench.put(product, "web-2")

    hint = "a remembered absence is an entry like any other"
    bench.shown_everywhere(product, product.id, since=created, reading="Freshness", hint=hint)


@check(points=2, kills=["caches-list-answers", "keeps-lists-for-a-moment"], arena="long", needs=HITS)
def test_lists_show_every_write(bench: Bench) -> None:
    """A list sent after a PUT or DELETE of one of its products shows it, at every replica."""
    kept, replaced, gone = (bench.product() for _ in range(3))
    made = bench.new_product()
    ids = [kept.id, replaced.id, gone.id, made.id]
    for process in bench.replicas:
        bench.ask(bench.list_request(ids, process))
        bench.ask(bench.list_request(ids, process))
    bench.put(new := replaced.renamed("replaced"), "web-1")
    bench.put(made, "web-2")
    bench.delete(gone.id, "web-2")

    for process in bench.replicas:
        answer = bench.ask(bench.list_request(ids, process))
        bench.lists(answer, [kept, new, made], reading="Lists")
    for number in range(MOMENTS):
        reader, writer = bench.replicas[number % 2], bench.replicas[1 - number % 2]
        bench.ask(bench.list_request([kept.id, new.id], reader))
        bench.put(new := new.renamed(f"replaced a moment after it was listed, {number}"), writer)
        answer = bench.ask(bench.list_request([kept.id, new.id], reader))
        bench.lists(answer, [kept, new], reading="Lists")


@check(points=2, kills=["reads-version-then-writes"], arena="long", needs=WRITES, alone=True)
def test_writes_at_once_get_a_version_each(bench: Bench) -> None:
    """PUTs of one product at the same time get versions one higher each, and the last one stays."""
    product = bench.product()
    slow, quick = (
        bench.request("PUT", product.id, process, product.renamed(f"written at {process}").body)
        for process in bench.replicas
    )
    with bench.while_reading(slow) as held:  # what it reads of the row, if it reads before it writes
        others = bench.patiently([quick], within=HELD_S)
    _expect_versions_each(bench, [held.answer, *others()], first=product.version + 1)

    for first, product in ((2, bench.product()), (1, bench.new_product())):
        wanted = [replace(product, name=f"at once {number}") for number in range(WRITERS)]
        requests = [
            bench.request("PUT", each.id, bench.replicas[number % len(bench.replicas)], each.body)
            for number, each in enumerate(wanted)
        ]
        answers = [bench.came(answer) for answer in bench.arena.burst(requests)]

        _expect_versions_each(bench, answers, first=first)
        last = max(answers, key=lambda answer: load(answer.body)["version"])
        bench.shown_everywhere(load(last.body), product.id, since=last, reading="Freshness")


@check(points=2, kills=["caches-before-commit", "a-lock-outlives-its-writer"], arena="long", needs=WRITES)
def test_a_failed_write_leaves_nothing(bench: Bench) -> None:
    """A PUT that Postgres refuses at COMMIT is answered with an error, and never seen."""
    warm, cold, absent = bench.product(), bench.product(), bench.new_product()
    bench.warm(warm)
    for product, there in ((warm, True), (cold, True), (absent, False)):
        refused = bench.ask(
            bench.request("PUT", product.id, "web-1", product.body | {"name": REFUSED_AT_COMMIT})
        )

        bench.refused(
            refused,
            *range(400, 600),
            reading="Failed writes",
            hint="Postgres has refused this write, when it was to be committed",
        )
        hint = "what was put into the cache before COMMIT has never happened"
        shown = product if there else None
        bench.shown_everywhere(shown, product.id, since=refused, reading="Failed writes", hint=hint)
        bench.put_in_time(product.renamed("written after a refusal") if there else product, "web-2")


def _expect_versions_each(bench: Bench, answers: list[Exchange], *, first: int) -> None:
    """Each write has a version of its own, from `first` on."""
    for answer in answers:
        bench.has_status(answer, 200, 201, reading="Products", hint="they only came at the same time")
    versions = Counter((load(answer.body) or {}).get("version") for answer in answers)
    expect(
        sorted(map(str, versions.elements()), key=lambda text: (len(text), text)),
        equals=[str(version) for version in range(first, first + len(answers))],
        unit=f"as the versions of {len(answers)} PUTs at once",
        hints=[(lambda got: len(set(got)) < len(got), "two writers built on the same version")],
        evidence=shortened(rows_of(answers)),
        reading="Products",
    )
