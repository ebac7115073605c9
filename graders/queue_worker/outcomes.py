"""What becomes of jobs: deliveries at the sink, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from labkit import CheckFailed, Inconclusive

from .jobs import Job
from .sink import Delivered
from .topics import Record

if TYPE_CHECKING:
    from .bench import Bench

# Ample: a right service needs a fraction, a rebalance of the embedded broker included.
DELIVERED_WITHIN_S = 10.0
# Each look reads the topic.
LOOKS_EVERY_S = 0.5


def deliveries(
    bench: Bench,
    job: Job,
    count: int = 1,
    *,
    within: float = DELIVERED_WITHIN_S,
    reading: str = "Deliveries",
    hint: str | None = None,
) -> list[Delivered]:
    """A job's deliveries, once there are so many."""
    letters = _wait(bench, lambda: bench.tried(job) >= count, [job], within=within)
    if (tried := bench.tried(job)) < count:
        raise CheckFailed(
            expected=f"delivery {count} of job {job.id} within {within:g} s",
            observed=f"{tried or 'no'} deliveries{_died(bench, job, letters)}",
            hint=hint,
            evidence=bench.story([], jobs=[job], output=True),
            reading=reading,
        )
    return bench.sink.of(job.id)


def succeed(
    bench: Bench,
    jobs: Sequence[Job],
    *,
    within: float = DELIVERED_WITHIN_S,
    reading: str = "Deliveries",
    hint: str | None = None,
) -> None:
    """Each of these jobs gets a successful delivery."""
    letters = _wait(bench, lambda: not bench.unsuccessful(jobs), jobs, within=within)
    missing = bench.unsuccessful(jobs)
    if not missing:
        return
    lost = next((job for job in missing if job.id in letters), missing[0])
    raise CheckFailed(
        expected=f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} delivered within {within:g} s",
        observed=f"{len(jobs) - len(missing)}; {lost.id}{_lies_at(lost)} is missing"
        f"{_died(bench, lost, letters)}",
        hint=hint,
        evidence=bench.story([], jobs=[lost], output=True),
        reading=reading,
    )


def _wait(
    bench: Bench, holds: Callable[[], bool], jobs: Sequence[Job], *, within: float
) -> dict[str, Record]:
    """Wait until it holds, or a job has become a dead letter; job -> dead letter where it does not hold."""
    looked = bench.arena.clock()

    def died() -> bool:
        nonlocal looked
        now = bench.arena.clock()
        if now - looked < LOOKS_EVERY_S:
            return False
        looked = now
        return bool(_letters_of(bench, bench.unsuccessful(jobs)))

    bench.wait(holds, died, within=within)
    if holds():
        return {}
    letters = _letters_of(bench, jobs)
    if not letters:
        bench.missed = True
    return letters


def _letters_of(bench: Bench, jobs: Sequence[Job]) -> dict[str, Record]:
    """Job -> the dead letter that says its id."""
    letters = bench.topics.dead.read()
    return {job.id: letter for job in jobs for letter in letters if job.id.encode() in (letter.value or b"")}


def _died(bench: Bench, job: Job, letters: Mapping[str, Record]) -> str:
    """That a job is a dead letter, and why. Raises Inconclusive where deliveries never got to the sink."""
    if job.id not in letters:
        return ""
    headers = dict(letters[job.id].headers)
    attempts, why = (headers.get(name, b"").decode("utf-8", "replace") for name in ("x-attempts", "x-error"))
    if attempts.isdigit() and int(attempts) > bench.tried(job) and bench.busy():
        raise Inconclusive("the machine was too busy: deliveries were given up before they arrived")
    return f"; it is a dead letter{f': {why}' if why else ''}"


def unsuccessful(bench: Bench, jobs: Iterable[Job]) -> list[Job]:
    """Those that no delivery has answered with success yet."""
    done = {each.job_id for each in list(bench.sink.all) if not each.open and each.status == 200}
    return [job for job in jobs if job.id not in done]


def dead_letters(bench: Bench, key: bytes | str | None, value: bytes | None = None) -> list[Record]:
    """Dead letters of a key so far; of one value, where it is given."""
    key = key.encode() if isinstance(key, str) else key
    found = [record for record in bench.topics.dead.read() if record.key == key]
    return [record for record in found if value is None or record.value == value]


def dead_letter(
    bench: Bench,
    key: bytes | str | None,
    *,
    within: float = DELIVERED_WITHIN_S,
    reading: str = "Dead letters",
) -> Record:
    """The first dead letter of a key, once it is there."""
    if not bench.wait(lambda: bool(bench.dead_letters(key)), within=within, every=0.02):
        bench.missed = True
        others = bench.topics.dead.read()[-3:]
        raise CheckFailed(
            expected=f"a dead letter with the key {key!r} within {within:g} s",
            observed="none",
            hint="the key of the dead letter is the record's" if others and others[-1].key is None else None,
            evidence=bench.story([], jobs=[Job("", key)] if isinstance(key, str) else [], output=True),
            reading=reading,
        )
    return bench.dead_letters(key)[0]


def _lies_at(job: Job) -> str:
    return f" (partition {job.record.partition}, offset {job.record.offset})" if job.record else ""
