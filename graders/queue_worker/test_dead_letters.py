"""Stage dead-letters: dead jobs and poison, kept as they came."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit import CheckFailed, check, expect

from .outages import wait_for_letter
from .topics import PARTITIONS, Record

if TYPE_CHECKING:
    from .bench import Bench

WRITTEN = "a-record-of-anyone-is-delivered"
LETTERS = "a-dead-letter-is-the-record"
# A hold on the way to Kafka ends within 2 s.
HELD_S = 1.2


@check(
    points=3,
    kills=["reserialises-the-dead-letter", "dead-letter-without-the-key"],
    arena="steady",
    needs=WRITTEN,
)
def test_a_dead_letter_is_the_record(bench: Bench) -> None:
    """A dead job's record lies on the dead-letter topic with the same key and the same bytes as its value."""
    for text in ODD_RECORDS:
        job = bench.new_job(bench.fresh_key("dead-ü"))
        bench.sink.script(job.key, rest=400)
        value = text.replace("ID", job.id).replace("KEY", job.key).encode()
        bench.write_raw(bench.partition_of(job.key), job.key.encode(), value)
        bench.deliveries(job, reading="Records")
        letter = _letter_with(bench, job.key.encode(), value)

        expect(
            letter.value,
            equals=value,
            unit="as the value of a dead letter",
            hints=[(lambda _: True, "the bytes as they came, not JSON made anew")],
            evidence=partial(bench.story, jobs=[job]),
            reading="Dead letters",
        )


@check(
    points=2, kills=["attempts-as-a-binary-number", "leaves-out-the-reason"], arena="steady", needs=LETTERS
)
def test_a_dead_letter_says_why(bench: Bench) -> None:
    """A dead letter has the headers x-error, in words, and x-attempts, the deliveries tried, in digits."""
    refused, failing = bench.new_job(bench.fresh_key("refused")), bench.new_job(bench.fresh_key("failing"))
    bench.sink.script(refused.key, rest=404)
    bench.sink.script(failing.key, rest=503)
    bench.write(refused, failing)
    for job in (refused, failing):
        letter = bench.dead_letter(job.key)
        _expect_headers(letter, attempts=bench.tried(job))


@check(
    points=2,
    kills=["skips-poison", "poison-ends-the-worker", "skips-null-values"],
    arena="alone",
    needs=WRITTEN,
)
def test_poison_goes_to_the_dead_letters(bench: Bench) -> None:
    """What is no job is a dead letter with 0 attempts, undelivered; what lies behind it is delivered."""
    bench.ready()
    poisons: list[Record] = []
    for number, value in enumerate(POISON):
        key = bench.fresh_key(f"poison-{number}")
        text = value.replace(b"KEY", key.encode()) if value is not None else None
        poisons.append(bench.write_raw(number % PARTITIONS, key.encode(), text))
    behind = [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
    bench.succeed(behind, reading="Dead letters", hint="one record that cannot be read holds up all others")

    for poison in poisons:
        letter = bench.dead_letter(poison.key)
        expect(
            letter.value or b"",
            equals=poison.value or b"",
            unit="as the value of the dead letter of a poison record",
            reading="Dead letters",
        )
        _expect_headers(letter, attempts=0)
    keys = [(poison.key or b"").decode() for poison in poisons]
    unit = "deliveries of poison records"
    expect(len(bench.sink.of_keys(keys)), equals=0, unit=unit, reading="Dead letters")


@check(points=3, kills=["does-not-await-the-dead-letter"], arena="alone", needs=LETTERS)
def test_no_commit_before_the_dead_letter(bench: Bench) -> None:
    """While a dead letter is on its way to Kafka, its record is not committed."""
    bench.ready()
    dead = bench.new_job(bench.fresh_key("dead"))
    bench.sink.script(dead.key, rest=400)
    poison_key = bench.fresh_key("poison").encode()
    with bench.dead_letters_held() as held:
        (written,) = bench.write(dead, partition=0)
        poison = bench.write_raw(1, poison_key, b"no job")
        behind = [bench.write(bench.new_job(), partition=number)[0] for number in (0, 1)]
        wait_for_letter(bench, held)
        bench.arena.sleep(HELD_S)

    assert written.record is not None
    bench.commits_are_true(
        behind,
        ends={written.record: held.released, poison: held.released},
        reading="Dead letters",
        hint="wait for the broker's word that it has the dead letter, then commit",
    )
    bench.dead_letter(dead.key)
    bench.dead_letter(poison_key)
    bench.succeed(behind, reading="Dead letters")
    bench.commits_reach_the_ends(reading="Dead letters")


def _letter_with(bench: Bench, key: bytes, value: bytes) -> Record:
    """The dead letter of this key; where there is none, one with this value tells of a lost key."""
    if not bench.wait(lambda: bool(bench.dead_letters(key)), within=5, every=0.05):
        stray = [letter for letter in bench.topics.dead.read() if letter.value == value]
        if stray:
            raise CheckFailed(
                expected=f"{key!r} as the key of the dead letter",
                observed=repr(stray[0].key),
                reading="Dead letters",
            )
    return bench.dead_letter(key)


def _expect_headers(letter: Record, *, attempts: int) -> None:
    headers = dict(letter.headers)
    why, tried = headers.get("x-error", b""), headers.get("x-attempts", b"nothing")
    unit = f"of the dead letter with the key {letter.key!r}"
    said = "words" if len(_readable(why).split()) >= 1 and any(c.isalpha() for c in _readable(why)) else why
    expect(said, equals="words", unit=f"in x-error {unit}", reading="Dead letters")
    hint = "ASCII digits: b'3'"
    expect(
        tried,
        equals=str(attempts).encode(),
        unit=f"as x-attempts {unit}",
        hints=[(lambda tried: not tried.isdigit(), hint)],
        reading="Dead letters",
    )


def _readable(data: bytes) -> str:
    return data.decode("utf-8", "replace")


ODD_RECORDS = (
    '{"payload": {"b": 1,  "a": [1.0, 1e2, 10000000000000000000000001]}, "key" : "KEY","id":"ID"}',
    '\n {"id":"ID",\t"key":"KEY","payload":{"text":"\\u00e9\\/ é"}} \n',
)
POISON = (
    b"no JSON",
    b'{"id": "cut off", "key": "KEY", "payl',
    b"\xff\xfe\x00\x01",
    b'["KEY"]',
    b'"text"',
    b"42",
    b"null",
    b"{}",
    b'{"key": "KEY", "payload": {}}',
    b'{"id": "without a key", "payload": {}}',
    b'{"id": "without a payload", "key": "KEY"}',
    None,
    b"",
)
