"""Stage contract: what the service answers to single requests, and what it writes."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit import check, expect, rows_of

from .sink import Answer
from .values import BEYOND_FLOATS, load, said, told_differences

if TYPE_CHECKING:
    from .bench import Bench

DELIVERED = "a-job-is-delivered"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
A_KEY_AT_MOST = 128
KIB = 1024


@check(points=3, kills=["leaves-out-the-location"], arena="steady", gate=True)
def test_a_job_is_delivered(bench: Bench) -> None:
    """POST /jobs answers 202 with a UUID, queued and a Location; the sink gets it; GET says succeeded."""
    bench.ready()
    for process in bench.webs:
        job, answer = bench.queue_and_answer(bench.fresh_key(), {"to": "somebody", "number": 1}, process)
        location = answer.headers.get("location", "")
        wanted = f"/jobs/{job.id}"
        told = {
            "as the id of a new job": ("a UUID", "a UUID" if UUID.fullmatch(job.id) else job.id),
            "as the status of a new job": ("queued", answer.json().get("status")),
            "as its Location": (wanted, wanted if location.endswith(wanted) else location),
        }

        for unit, (right, observed) in told.items():
            evidence = rows_of([answer], mark=answer)
            expect(observed, equals=right, unit=unit, evidence=evidence, reading="Jobs")
        bench.deliveries(job)
        bench.shows(job, "succeeded", attempts=bench.tried(job), error=None)


@check(points=2, kills=["writes-records-without-a-key"], arena="steady", needs=DELIVERED)
def test_a_job_becomes_a_record(bench: Bench) -> None:
    """A job is a record on the topic: its key in UTF-8 as the key, id, key and payload as the value."""
    for process, key in zip(bench.webs, (bench.fresh_key("one"), bench.fresh_key("żółć 🦊")), strict=False):
        job = bench.queue(key, {"number": 7}, process)
        bench.deliveries(job)
        records = [record for record in bench.topics.jobs.read() if job.id.encode() in (record.value or b"")]

        expect(len(records), at_least=1, unit="records with the job's id on the topic", reading="Records")
        unit = "as the record's key"
        expect(records[0].key, equals=key.encode(), unit=unit, reading="Records")
        wrong = told_differences(load(job.value), load(records[0].value))
        expect(
            "; ".join(wrong) or "the job", equals="the job", unit="as the record's value", reading="Records"
        )


@check(
    points=2,
    kills=["payload-through-floats", "leaves-out-the-idempotency-key", "counts-attempts-from-zero"],
    arena="steady",
    needs=DELIVERED,
)
def test_values_are_kept_exactly(bench: Bench) -> None:
    """The sink gets job_id, key, attempt 1 and the payload as it was sent, and the id as Idempotency-Key."""
    jobs = [bench.queue(bench.fresh_key("ключ"), payload) for payload in PAYLOADS]
    jobs += bench.write(*(bench.new_job(payload=payload) for payload in PAYLOADS[:2]))
    for job in jobs:
        delivered = bench.deliveries(job)[0]

        wanted = {"job_id": job.id, "key": job.key, "attempt": 1, "payload": job.payload}
        wrong = told_differences(load(json.dumps(wanted)), delivered.body)
        expect(
            "; ".join(wrong[:3]) or "the job",
            equals="the job",
            unit="as the body of a delivery",
            hints=[(lambda wrong: ".big" in wrong, "a number was read as a float on the way")],
            evidence=partial(bench.story, jobs=[job]),
            reading="Deliveries",
        )
        expect(
            delivered.headers.get("idempotency-key", "nothing"),
            equals=job.id,
            unit="as the Idempotency-Key of a delivery",
            evidence=partial(bench.story, jobs=[job]),
            reading="Deliveries",
        )
        expect(delivered.method, equals="POST", unit="as the method of a delivery", reading="Deliveries")


@check(
    points=2,
    kills=["takes-an-empty-key", "a-wrong-type-is-a-500", "takes-any-size"],
    arena="steady",
    needs=DELIVERED,
)
def test_bad_bodies_are_refused(bench: Bench) -> None:
    """Malformed JSON, missing or wrong members, a key or payload too long: 400 or 422, and no record."""
    key = bench.fresh_key("refused")
    right: dict[str, Any] = {"key": key, "payload": {"number": 1}}
    wrong: list[Any] = [b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null", b"5"]
    wrong += [{"key": key}, {"payload": {}}, {}]
    keys: list[Any] = ["", None, 5, True, [], {}, key.ljust(A_KEY_AT_MOST + 1, "x")]
    payloads: list[Any] = [None, 5, "text", [], [{}], True]
    wrong += [right | {"key": other} for other in keys]
    wrong += [right | {"payload": other} for other in payloads]
    for body in wrong:
        answer = bench.ask(bench.request("POST", "/jobs", "web-1", body))
        shown = body.decode("latin-1") if isinstance(body, bytes) else said(body)
        bench.refused(answer, 400, 422, reading="The answers", hint=f"the body was wrong: {shown or 'empty'}")
    large = bench.post(key, {"text": "x" * (80 * KIB)})
    bench.refused(large, 400, 413, 422, reading="The answers", hint="the payload was of 80 KiB")

    longest = key.ljust(A_KEY_AT_MOST - 1, "x") + "é"
    fits = bench.queue(longest, {"text": "x" * (60 * KIB)})
    bench.deliveries(fits, hint="128 characters are a key, and 60 KiB a payload")
    written = [record for record in bench.topics.jobs.read() if key.encode() in (record.value or b"")]
    wrongly = [record for record in written if record.key != longest.encode()]
    expect(len(wrongly), equals=0, unit="records of bodies that were refused", reading="The answers")


@check(points=1, kills=["unknown-is-queued"], arena="steady", needs=DELIVERED)
def test_an_unknown_job_is_404(bench: Bench) -> None:
    """GET of an id that nobody has given or written answers 404, whatever it looks like."""
    for job_id in ("5e0c6f7a-1111-4222-8333-944455556666", "no such job", "0", "Straße 1", "y" * 64):
        for process in bench.webs:
            bench.refused(bench.get(job_id, process), 404, reading="Jobs")


@check(
    points=2, kills=["keeps-the-error-of-a-retry", "attempts-stay-at-one"], arena="steady", needs=DELIVERED
)
def test_a_job_tells_how_it_stands(bench: Bench) -> None:
    """GET tells id, key, status, attempts and error all the time; error is null unless dead."""
    gate = bench.sink.gate()
    key = bench.fresh_key()
    bench.sink.script(key, 500, Answer(200, gate=gate))
    job = bench.queue(key, process=bench.webs[-1])
    bench.deliveries(job, 2)
    answer = bench.get(job.id)
    gate.open()

    bench.has_status(answer, 200, reading="Jobs")
    body = answer.json() or {}
    unit = "as the status while a delivery is under way"
    expect(
        body.get("status"),
        one_of=["queued", "running"],
        unit=unit,
        evidence=lambda: bench.story([answer], mark=answer, jobs=[job]),
        reading="Jobs",
    )
    expect(body.get("error", ...), equals=None, unit="as the error of a job that is not dead", reading="Jobs")
    bench.shows(job, "succeeded", attempts=2, error=None)
    refused = bench.fresh_key()
    bench.sink.script(refused, rest=422)
    dead = bench.shows(bench.queue(refused), "dead", attempts=1)
    told = "in words" if isinstance(dead.get("error"), str) and dead["error"] else said(dead.get("error"))
    expect(told, equals="in words", unit="the error of a dead job", reading="Jobs")


@check(points=2, kills=["web-dies-at-sigterm"], arena="stops", needs=DELIVERED)
def test_sigterm_finishes_a_post(bench: Bench) -> None:
    """On SIGTERM a web answers the POST that it has begun and ends with code 0 within 8 s."""
    bench.ready()
    key, payload = bench.fresh_key(), {"number": 1}
    post = bench.request("POST", "/jobs", "web-2", {"key": key, "payload": payload})
    answer, code = bench.terminate_during_a_post("web-2", post)

    bench.has_status(answer, 202, 503, reading="Starting and stopping", hint="finish what was begun")
    bench.ends_in_order("web-2", code)
    if answer.status == 202:
        bench.arena.start("web-2")
        bench.succeed([bench.taken(answer, key, payload)], hint="202 is a promise")


PAYLOADS: tuple[dict[str, Any], ...] = (
    {"big": BEYOND_FLOATS, "bigger": 10**25, "negative": -BEYOND_FLOATS, "fraction": 0.1, "price": 19.99},
    {"": "", "empty": [[], {}, ""], "no": [False, None, 0], "deep": {"a": {"b": [{"c": [1, [2]]}]}}},
    {"text": "line\nbreak, \"quotes\", back\\slash, </script>, 'apostrophe'", "ключ": "日本語 עברית 🦊"},
    {},
)
