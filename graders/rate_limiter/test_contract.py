"""Stage contract: what the service answers to single requests."""

from __future__ import annotations

from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

from labkit import check, expect, rows_of

if TYPE_CHECKING:
    from .bench import Bench

LIMITS = "a-client-far-over-its-limit-is-rejected"


@check(points=3, kills=["listens-on-a-fixed-port"], arena="steady", gate=True)
def test_every_replica_starts_and_answers(bench: Bench) -> None:
    """Every replica listens on HOST:PORT, is healthy within 15 s of its start, and answers requests."""
    for name in bench.replicas:
        health = bench.ask(bench.request(None, process=name, path="/healthz"))
        bench.ask(bench.request(bench.fresh_client(), process=name))

        bench.has_status(health, 200, reading="Starting and stopping")


@check(points=2, kills=["instance-is-the-host-name"], arena="steady")
def test_ping_names_the_instance(bench: Bench) -> None:
    """GET /api/ping answers {"pong": true, "instance": INSTANCE}, each replica with its own INSTANCE."""
    for name in bench.replicas:
        answer = bench.ask(bench.request(bench.fresh_client(), process=name))

        bench.has_status(answer, 200, reading="The answers")
        expect(
            answer.json(),
            equals={"pong": True, "instance": name},
            unit="as the body of /api/ping",
            hints=[
                (
                    partial(_names_another, name),
                    "INSTANCE is in the environment, another one for each process",
                )
            ],
            evidence=rows_of([answer], mark=answer),
            reading="The answers",
        )


@check(points=2, kills=["only-numbers-are-ids"], arena="steady")
def test_items_echo_their_id(bench: Bench) -> None:
    """GET /api/items/{id} answers {"id": "<id>", "instance": INSTANCE} for any letters, digits and dashes."""
    client = bench.fresh_client()
    for item in ("42", "a", "Order-7f", "-", "0042", "x" * 64):
        answer = bench.ask(bench.request(client, path=f"/api/items/{item}"))

        hint = "an id is any letters, digits and dashes, not a number only"
        hints = {} if item.isdigit() else dict.fromkeys((400, 404, 422), hint)
        bench.has_status(answer, 200, reading="The answers", hints=hints)
        expect(
            answer.json(),
            equals={"id": item, "instance": "web-1"},
            unit=f"as the body of /api/items/{item}",
            evidence=rows_of([answer], mark=answer),
            reading="The answers",
        )


@check(points=3, kills=["missing-key-is-anonymous", "overlong-key-is-cut"], arena="steady")
def test_a_request_without_a_valid_key_is_refused(bench: Bench) -> None:
    """Without X-Api-Key, or with an empty one or one over 128 characters, any /api/ request gets 400."""
    longest = bench.fresh_client(length=128)
    for path in ("/api/ping", "/api/items/42"):
        for key, hint in (
            (None, "who sends no key is no client: there is no budget to take from"),
            ("", "an empty key is none"),
            (longest + "x", "129 characters: cut off, the key would be somebody else's"),
        ):
            answer = bench.ask(bench.request(key, path=path))

            bench.has_status(answer, 400, reading="Identity", hints=dict.fromkeys((200, 429), hint))
            bench.is_problem(answer)
    answer = bench.ask(bench.request(longest))

    hints = dict.fromkeys((400, 422, 431), "128 characters are still allowed")
    bench.has_status(answer, 200, reading="Identity", hints=hints)
    expect(
        answer.headers.get("x-ratelimit-remaining"),
        equals=str(bench.limit - 1),
        unit="as X-RateLimit-Remaining of the first valid request: refused ones consume nothing",
        evidence=rows_of([answer], mark=answer),
        reading="Identity",
    )


@check(points=2, kills=["only-logs-what-it-would-reject"], arena="steady")
def test_a_client_far_over_its_limit_is_rejected(bench: Bench) -> None:
    """A client that asks for far more than its limit at once is answered with 429 in the end."""
    spent = bench.spend(bench.fresh_client(), 3 * bench.limit)

    if not spent.rejected:
        raise bench.nothing_rejected(spent)


@check(
    points=3,
    kills=[
        "429-is-plain-text",
        "retry-after-is-a-fraction",
        "retry-after-is-a-date",
        "retry-after-is-a-point-in-time",
        "200-carries-retry-after",
    ],
    arena="steady",
    needs=LIMITS,
)
def test_over_budget_is_429_with_retry_after(bench: Bench) -> None:
    """Over budget the answer is a 429 problem with Retry-After in whole seconds; a 200 carries none."""
    spent = bench.spend(bench.fresh_client(), 2 * bench.limit + 1, exact=True)

    for answer in spent.exchanges:
        retry_after = answer.headers.get("retry-after")
        evidence = rows_of([answer], mark=answer)
        if answer.status == 200:
            expect(
                retry_after,
                equals=None,
                unit="as Retry-After of a 200",
                hints=[(bool, "it makes a client wait that need not")],
                evidence=evidence,
                reading="Retry-After",
            )
            continue
        bench.is_problem(answer)
        whole = retry_after is not None and retry_after.isascii() and retry_after.isdigit()
        expect(
            int(retry_after or 0) if whole else retry_after,
            one_of=range(1, bench.longest_retry_s + 1),
            unit="as Retry-After of a 429, in whole seconds",
            hints=[
                (lambda value: value is None, "the client has to be told when to come back"),
                (lambda value: isinstance(value, str) and "GMT" in value, "seconds from now are promised"),
                (lambda value: isinstance(value, str), "delay-seconds is digits only: round up"),
                (
                    lambda value: value > 1000,
                    "milliseconds, or a point in time? Retry-After is seconds from now",
                ),
                (lambda value: value == 0, "round up: a client that comes back after 0 s is rejected again"),
            ],
            evidence=evidence,
            reading="Retry-After",
        )


@check(points=2, kills=["remaining-before-this-request", "remaining-falls-below-zero"], arena="steady")
def test_headers_tell_what_is_left(bench: Bench) -> None:
    """200 and 429 carry X-RateLimit-Limit, and X-RateLimit-Remaining: what is left after this request."""
    spent = bench.spend(bench.fresh_client(), bench.limit + 2, exact=True)
    if spent.admitted > bench.limit:  # a fixed window turned meanwhile: it cannot do so again
        spent = bench.spend(bench.fresh_client(), bench.limit + 2, exact=True)

    for number, answer in enumerate(spent.exchanges, start=1):
        limit = answer.headers.get("x-ratelimit-limit")
        unit = f"as X-RateLimit-Limit of request {number}"
        evidence = rows_of(spent.exchanges[:number], mark=answer)
        expect(limit, equals=str(bench.limit), unit=unit, evidence=evidence, reading="The answers")
        left = max(bench.limit - number, 0)
        expect(
            answer.headers.get("x-ratelimit-remaining"),
            one_of=bench.lawful_remaining(spent.exchanges, number),
            unit=f"as X-RateLimit-Remaining of a fresh client's request {number} (budget {bench.limit})",
            hints=[
                (partial(eq, str(left + 1)), "this request itself counts"),
                (lambda value: value is not None and value.startswith("-"), "nothing is left: that is 0"),
            ],
            evidence=evidence,
            reading="The answers",
        )


@check(points=2, kills=["health-is-limited"], arena="steady", needs=LIMITS)
def test_health_is_never_limited(bench: Bench) -> None:
    """GET /healthz is answered with 200 however often it is asked, with a spent key or without one."""
    client = bench.fresh_client()
    bench.spend(client, bench.limit + 1)
    requests = [bench.request(key, path="/healthz") for key in (client, None) for _ in range(2 * bench.limit)]

    for answer in [bench.ask(request) for request in requests]:
        hint = "only what lies under /api/ is limited, with a key or without"
        bench.has_status(answer, 200, reading="The answers", hints=dict.fromkeys((400, 429), hint))


@check(
    points=3,
    kills=["trusts-x-forwarded-for", "budget-for-each-path", "budget-for-each-method", "key-ignores-case"],
    arena="steady",
    needs=LIMITS,
)
def test_only_the_key_names_the_client(bench: Bench) -> None:
    """The client is the exact value of X-Api-Key: no address, path, query, method or header makes another."""
    client = bench.fresh_client() + "aB"
    spent = bench.spend(client, bench.limit + 1)
    disguises = {
        "another path": bench.request(client, path="/api/items/42"),
        "another item": bench.request(client, path="/api/items/43"),
        "a query string": bench.request(client, path="/api/ping?fresh=1"),
        "X-Forwarded-For": bench.request(client, X_Forwarded_For="203.0.113.7"),
        "X-Real-IP and Forwarded": bench.request(
            client, X_Real_IP="203.0.113.8", Forwarded="for=203.0.113.8"
        ),
        "another User-Agent": bench.request(client, User_Agent="somebody-else"),
    }

    for disguise, request in disguises.items():
        bench.expect_still_rejected(request, disguise)
    bench.expect_no_new_client(bench.request(client, method="HEAD"), "HEAD")
    answer = bench.ask(bench.request(client.swapcase()))
    hints = {429: "keys that differ in case are two clients"} if spent.admitted else {}
    bench.has_status(answer, 200, reading="Identity", hints=hints)


def _names_another(name: str, body: Any) -> bool:
    return bool(body["instance"] != name)
