"""Stage contract: what the service answers to single requests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labkit import Request, check, expect, rows_of

from .outages import is_hit
from .stock import BEYOND_FLOATS, LARGEST_ID

if TYPE_CHECKING:
    from .bench import Bench
    from .stock import Product

SERVED = "a-product-is-served-as-stored"
WRITES = "put-creates-then-replaces"


@check(points=2, kills=["leaves-out-the-version"], arena="long", gate=True)
def test_a_product_is_served_as_stored(bench: Bench) -> None:
    """GET /products/{id} answers 200 with the row of the table, and X-Cache says hit or miss."""
    for process in bench.replicas:
        product = bench.product()
        health = bench.ask(Request(process, "/healthz"))
        answer = bench.get(product.id, process)

        bench.has_status(health, 200, reading="Starting and stopping")
        bench.shows(answer, product, reading="Products")
        expect(
            answer.headers.get("x-cache", "").strip().lower() or "nothing",
            one_of=("hit", "miss"),
            unit="as X-Cache of a product's answer",
            evidence=rows_of([answer], mark=answer),
            reading="Products",
        )


@check(points=1, kills=["missing-is-an-empty-200"], arena="long", needs=SERVED)
def test_a_missing_product_is_404(bench: Bench) -> None:
    """GET of an id that is not in the table answers 404, told as a problem, the second time as well."""
    id = bench.absent_id()
    for process in ("web-1", "web-1", "web-2"):
        bench.refused(bench.get(id, process), 404, reading="Products")


@check(points=2, kills=["creation-answers-200", "an-equal-put-changes-nothing"], arena="long", needs=SERVED)
def test_put_creates_then_replaces(bench: Bench) -> None:
    """PUT creates with 201 and version 1, replaces with 200 and the next version, and answers the product."""
    product = bench.new_product()
    for version, name in (
        (1, "made"),
        (2, "replaced"),
        (3, "replaced by its equal"),
        (4, "replaced by its equal"),
    ):
        wanted = replace(product, name=name, version=version)
        answer = bench.put(wanted)

        bench.shows(answer, wanted, reading="Products")
        bench.table_holds(wanted, since=answer)


@check(points=1, kills=["delete-of-nothing-is-204"], arena="long", needs=WRITES)
def test_delete_removes(bench: Bench) -> None:
    """DELETE answers 204 and removes the row; a second DELETE answers 404."""
    product = bench.product()
    bench.delete(product.id)

    bench.refused(bench.get(product.id), 404, reading="Products")
    bench.refused(bench.ask(bench.request("DELETE", product.id, "web-2")), 404, reading="Products")
    bench.refused(bench.ask(bench.request("DELETE", bench.absent_id(), "web-1")), 404, reading="Products")
    expect(
        bench.stock.row(product.id), equals=None, unit="as the row in the table after 204", reading="Products"
    )


@check(
    points=2,
    kills=["lists-in-the-order-of-the-table", "a-hundred-and-one-ids"],
    arena="long",
    needs=SERVED,
)
def test_lists_keep_the_order_asked(bench: Bench) -> None:
    """GET /products?ids= answers the products in the order asked, unknown ids left out; 1 to 100 ids."""
    products = sorted((bench.product() for _ in range(5)), key=lambda product: -product.id)
    products[1], products[3] = products[3], products[1]
    ids = [product.id for product in products]
    asked = [*ids[:2], bench.absent_id(), *ids[2:]]
    for process in ("web-1", "web-1", "web-2"):
        answer = bench.ask(bench.list_request(asked, process))
        bench.lists(answer, products, reading="Lists")
    full = [bench.absent_id() for _ in range(99)]
    bench.lists(bench.ask(bench.list_request([*full, ids[0]], "web-1")), products[:1], reading="Lists")
    bench.lists(bench.ask(bench.list_request(full[:1], "web-1")), [], reading="Lists")

    no_id = [f"{ids[0]},{other}" for other in ("x", "0", LARGEST_ID + 1)]
    for refused, wanted in (
        ([*full, *ids[:2]], [400]),
        ("", [400]),
        *((one, [400, 404, 422]) for one in no_id),
    ):
        answer = bench.ask(bench.list_request(refused, "web-1"))
        bench.refused(answer, *wanted, reading="Lists", hint="1 to 100 ids, every one an id")


@check(
    points=2,
    kills=["an-id-too-large-is-a-500", "keys-through-floats", "keys-of-the-path-as-it-came"],
    arena="long",
    needs=SERVED,
)
def test_ids_out_of_range_are_refused(bench: Bench) -> None:
    """Ids are 1 to 2^63-1, the largest included; whatever else stands there gets 400 or 404."""
    largest = replace(bench.new_product(), id=LARGEST_ID)
    bench.has_status(
        bench.ask(bench.request("PUT", largest.id, "web-1", largest.body)), 200, 201, reading="The answers"
    )
    bench.has_status(bench.get(largest.id), 200, reading="The answers", hint="2^63-1 is an id")
    # To a float the second is the first. Drawn, as this check may be tried twice.
    first = BEYOND_FLOATS - 1 + 4 * bench.chance.randrange(1, 10**6)
    for neighbour in (first, first + 1):
        product = replace(bench.new_product(f"of {neighbour}"), id=neighbour)
        written = bench.put(product)
        bench.table_holds(product, since=written)
    for neighbour in (first + 1, first) * 2:
        product = replace(product, name=f"of {neighbour}", id=neighbour)
        hint = "as a float this id is another's: 2^53 + 1 and 2^53 are the same to it"
        bench.shows(bench.get(neighbour), product, reading="The answers", hint=hint)
    both = [replace(product, name=f"of {id}", id=id) for id in (first + 1, first)]
    bench.lists(bench.ask(bench.list_request([one.id for one in both], "web-1")), both, reading="Lists")
    _expect_one_product_of(bench, bench.product(), "000{}", "%2B{}")
    for id in ("0", "-1", LARGEST_ID + 1, 10**40, "abc", "1.5", "1e3", "%20", "%27"):
        for method, body in (("GET", None), ("PUT", largest.body), ("DELETE", None)):
            answer = bench.ask(bench.request(method, id, "web-1", body))
            bench.refused(answer, 400, 404, 422, reading="The answers", hint="no row can have this id")
    for escape in ("%zz", "%ff"):  # which a server may refuse before it comes to the service
        answer = bench.get(escape)
        bench.has_status(answer, 400, 404, 422, reading="The answers", hint="no row can have this id")


@check(
    points=2,
    kills=["a-negative-price-is-stored", "a-wrong-type-is-a-500", "a-text-with-nul-is-a-503"],
    arena="long",
    needs=WRITES,
)
def test_bad_bodies_change_nothing(bench: Bench) -> None:
    """A PUT with malformed JSON, a wrong type, a missing member or a value out of range gets 400 or 422."""
    product = bench.product()
    right = product.body
    wrong: list[object] = [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null"]
    wrong += [{name: value for name, value in right.items() if name != left_out} for left_out in _NEEDED]
    prices: list[Any] = [-1, "5", 1.5, None, True, [], LARGEST_ID + 1]
    names: list[Any] = [None, 5, [], {}]
    wrong += [right | {"price_cents": price} for price in prices]
    wrong += [right | {"name": name} for name in names]
    wrong += [right | {"description": 5}, right | {"attributes": []}, right | {"attributes": "{}"}]
    wrong += [right | {"attributes": None}]
    # JSON that neither a text nor a jsonb of Postgres can hold
    wrong += [right | {"name": "a\0b"}, right | {"description": "a\0b"}, right | {"attributes": {"a": "\0"}}]
    for body in wrong:
        answer = bench.ask(bench.request("PUT", product.id, "web-1", body))

        shown = body.decode("latin-1") if isinstance(body, bytes) else _unlike(right, body)
        hint = f"the body was wrong: {shown or 'empty'}"
        bench.refused(answer, 400, 422, reading="The answers", hint=hint)
    bench.shown_everywhere(product, product.id, since=answer, reading="The answers")


@check(points=2, kills=["attributes-are-merged"], arena="long", needs=WRITES)
def test_values_are_kept_exactly(bench: Bench) -> None:
    """What a PUT says is what every GET shows: null, "", 0, {}, nested values, unicode, 2^53+1."""
    product = bench.product()
    for number, (description, price, attributes) in enumerate(_VALUES):
        product = replace(
            product.renamed(f"kept {number} — ☃ 𝄞"),
            description=description,
            price_cents=price,
            attributes=attributes,
        )
        written = bench.put(product)

        bench.shows(written, product, reading="Products")
        bench.shown_everywhere(product, product.id, since=written, reading="Products")


@check(points=2, kills=["dies-at-sigterm", "leaves-the-cache-before-its-writes"], arena="races", needs=SERVED)
def test_sigterm_finishes_what_was_begun(bench: Bench) -> None:
    """On SIGTERM a process finishes the requests it has begun and ends with code 0 within 8 s."""
    product, other = bench.product(), bench.product()
    new = other.renamed("written by a replica that was stopping")
    bench.warm(other, ["web-1"])
    uses_redis = is_hit(bench.get(other.id, "web-2"))
    (read, written), code = bench.terminate_during(
        bench.request("GET", product.id, "web-2"), bench.request("PUT", new.id, "web-2", new.body)
    )

    bench.shows(read, product, reading="Starting and stopping")
    bench.shows(written, new, reading="Starting and stopping")
    hint = "who still writes still needs the cache: close it last"
    shown = bench.get(new.id, "web-1")
    sure = uses_redis and not written.starved and not shown.starved
    bench.shows(shown, new, since=written, reading="Freshness", hint=hint, sure=sure)
    expect(
        "no end within 8 s" if code is None else code,
        equals=0,
        unit="as the exit code after SIGTERM",
        hints=[(lambda code: code in (-15, 143), "SIGTERM has to be caught: finish, then end")],
        evidence=lambda: bench.output("web-2"),
        reading="Starting and stopping",
    )


def _expect_one_product_of(bench: Bench, product: Product, *spellings: str) -> None:
    """Whoever takes another spelling of an id for that id shows what was written under the usual one."""
    others = [spelling.format(product.id) for spelling in spellings]
    for id in others * 2:
        bench.has_status(bench.get(id), 200, 400, 404, 422, reading="The answers")
    new = product.renamed("written under the usual spelling of its id")
    written = bench.put(new)
    for id in others:
        answer = bench.get(id)
        if answer.status == 200:
            hint = "one product under two keys: make the key of the number, not of the path"
            bench.shows(answer, new, since=written, reading="The answers", hint=hint)


_NEEDED = ("name", "price_cents")
_VALUES: tuple[tuple[str | None, int, dict[str, Any]], ...] = (
    (None, 0, {}),
    ("", BEYOND_FLOATS, {"big": BEYOND_FLOATS, "bigger": LARGEST_ID, "negative": -BEYOND_FLOATS}),
    (
        "line\nbreak, \"quotes\", back\\slash, </script>, 'apostrophe'",
        LARGEST_ID,
        {"": "", "empty": [[], {}, ""], "no": [False, None, 0], "deep": {"a": {"b": [{"c": [1, [2]]}]}}},
    ),
    (
        "żółć 日本語 עברית 🦊 cafe\u0301",
        1,
        {"ключ": "значение", "fraction": 0.1, "price": 19.99, "true": True},
    ),
)


def _unlike(right: dict[str, object], body: object) -> str:
    """What is wrong with a body, in a few words."""
    assert isinstance(body, dict)
    missing = [name for name in right if name not in body]
    changed = [f"{name}: {value!r}" for name, value in body.items() if value is not right.get(name)]
    return ", ".join(changed or [f"{missing[0]} is missing"])
