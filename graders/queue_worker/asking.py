"""What is asked of a web, and what it has to answer."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labkit import CheckFailed, Exchange, Request, answered, expect, is_problem

from .jobs import Job

if TYPE_CHECKING:
    from .bench import Bench

JOBS = "/jobs"
SETTLED_WITHIN_S = 8.0
TAKEN_WITHIN_S = 8.0


def request(method: str, path: str, process: str = "web-1", body: object = None) -> Request:
    """A request; `body` as JSON, or as it is if it is bytes."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body, ensure_ascii=False).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    return Request(process, path, method, headers, data)


def ask(bench: Bench, request: Request) -> Exchange:
    """One request that has to be answered, with whatever status."""
    return answered([bench.seen(bench.arena.send(request))])[0]


def post(bench: Bench, key: str, payload: object, process: str = "web-1") -> Exchange:
    return bench.ask(bench.request("POST", JOBS, process, {"key": key, "payload": payload}))


def queue(bench: Bench, key: str, payload: Mapping[str, Any] | None = None, process: str = "web-1") -> Job:
    """A POST that has to be taken; the job."""
    payload = payload if payload is not None else {"number": bench.chance.getrandbits(40)}
    return bench.queue_and_answer(key, payload, process)[0]


def queue_and_answer(
    bench: Bench, key: str, payload: Mapping[str, Any], process: str
) -> tuple[Job, Exchange]:
    """A POST that has to be taken, by and by: a 503 may be tried again; the job and the answer."""
    answers = [bench.post(key, payload, process)]

    def decided() -> bool:
        if answers[-1].status == 503:
            answers.append(bench.post(key, payload, process))
        return answers[-1].status != 503

    bench.wait(decided, within=TAKEN_WITHIN_S, every=0.2)
    return bench.taken(answers[-1], key, payload), answers[-1]


def taken(bench: Bench, answer: Exchange, key: str, payload: Mapping[str, Any]) -> Job:
    """The job of a POST that has to have been answered 202."""
    bench.has_status(answer, 202, reading="Jobs")
    body = answer.json()
    return Job(str(body.get("id") if isinstance(body, dict) else None), key, payload)


def get(bench: Bench, job_id: str, process: str = "web-1") -> Exchange:
    return bench.ask(bench.request("GET", f"{JOBS}/{urllib.parse.quote(job_id, safe='')}", process))


def has_status(bench: Bench, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
    """The answer has one of these statuses."""
    expect(
        exchange.status or exchange.failure,
        one_of=wanted,
        unit=f"as the status of {exchange.request.method} {exchange.request.path}",
        hints=[(lambda _: hint is not None, hint or "")],
        evidence=lambda: bench.story([exchange], mark=exchange),
        reading=reading,
    )


def refused(bench: Bench, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
    """The answer is an error with one of these statuses, told as a problem."""
    bench.has_status(exchange, *wanted, reading=reading, hint=hint)
    is_problem(exchange)


def shows(
    bench: Bench,
    job: Job,
    status: str,
    *,
    reading: str = "Jobs",
    within: float = SETTLED_WITHIN_S,
    **members: Any,
) -> dict[str, Any]:
    """GET says this status and these further members, by and by; the body."""
    wanted = {"id": job.id, "key": job.key, "status": status, **members}
    asked: list[Exchange] = []

    def said_so() -> bool:
        asked.append(bench.get(job.id))
        body = asked[-1].json()
        return isinstance(body, dict) and all(
            _agrees(bench, name, told=body.get(name, ...), wanted=value) for name, value in wanted.items()
        )

    if not bench.wait(said_so, within=within, every=0.05):
        bench.missed = True
        body = asked[-1].json()
        got = {name: body.get(name, "nothing") for name in wanted} if isinstance(body, dict) else {}
        raise CheckFailed(
            expected=f"{_listed(wanted)} by and by",
            observed=_listed(got) if got else str(asked[-1].status),
            evidence=bench.story(asked[-1:], mark=asked[-1], jobs=[job]),
            reading=reading,
        )
    return dict(asked[-1].json())


def _listed(members: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in members.items())


def _agrees(bench: Bench, name: str, *, told: Any, wanted: Any) -> bool:
    """A starved worker may have tried, and given up, what the sink has never seen."""
    if name == "attempts" and isinstance(told, int) and not isinstance(told, bool) and told > wanted:
        return bench.arena.starved_between(bench.begun, bench.arena.clock())
    return type(told) is type(wanted) and bool(told == wanted)
