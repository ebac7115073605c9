"""The laws of a value that is replaced: never an accusation of a right register, wherever it decides."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from labkit.history import Read, Write, invented_read, lost_update, stale_read

FIRST = Read(0.0, 0.0, "first", 1)
TICK = 0.01


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Read], list[Write]]:
    """What clients see of a register that decides each request at one moment within its interval.

    Some writes are never answered: some of these were carried out all the same.
    """
    moments = draw(st.lists(st.integers(1, 400), min_size=1, max_size=40, unique=True))
    version, value = FIRST.version, FIRST.value
    reads, writes = [], []
    for moment in sorted(moments):
        sent = moment - draw(st.integers(1, 60))
        received = moment + draw(st.integers(1, 60))
        kind = draw(st.sampled_from(["read", "read", "write", "unknown", "lost"]))
        if kind == "read":
            reads.append(Read(sent * TICK, received * TICK, value, version))
            continue
        written = f"at {moment}"
        if kind != "lost":
            version, value = version + 1, written
        said = version if kind == "write" else None
        writes.append(Write(sent * TICK, received * TICK, written, said))
    return reads, writes


@given(histories())
def test_a_right_register_is_never_accused(history):
    reads, writes = history

    assert stale_read(reads, writes) is None
    assert invented_read(reads, writes, first=FIRST) is None
    assert lost_update(writes) is None


@given(histories())
def test_a_read_of_what_was_there_before_an_acknowledged_write_is_accused(history):
    _, writes = history
    known = [write for write in writes if write.version is not None]
    if not known:
        return
    last = max(known, key=lambda write: write.version)
    late = Read(last.received + TICK, last.received + 2 * TICK, FIRST.value, FIRST.version)

    violation = stale_read([late], writes)

    assert violation is not None
    assert violation.contradiction is late


@given(histories())
def test_a_write_that_may_be_hidden_accuses_nobody_until_then(history):
    _, writes = history
    hidden = [replace(write, hidden_until=write.received + 5.0) for write in writes]
    last = max(write.received for write in hidden) if hidden else 0.0
    late = Read(last + TICK, last + 2 * TICK, FIRST.value, FIRST.version)

    assert not any(write.binds(late) for write in hidden if write.received == last)
    assert stale_read([replace(late, sent=TICK, received=TICK)], hidden) is None


def test_the_shortest_stretch_is_the_proof():
    writes = [Write(0.0, 0.1, "a", 2), Write(1.0, 1.1, "b", 3)]
    reads = [Read(1.2, 1.3, "first", 1), Read(3.0, 3.1, "a", 2)]

    violation = stale_read(reads, writes)

    assert violation is not None
    assert violation.witness == (writes[1], reads[0])


def test_a_read_that_overlaps_the_write_may_show_either():
    write = Write(1.0, 2.0, "a", 2)

    assert stale_read([Read(1.5, 2.5, "first", 1), Read(0.5, 1.2, "a", 2)], [write]) is None


def test_what_nobody_has_written_is_invented():
    write = Write(1.0, 2.0, "a", 2)

    violation = invented_read([Read(3.0, 3.1, "b", 2)], [write], first=FIRST)

    assert violation is not None
    assert violation.witness == (write, violation.contradiction)
    assert invented_read([Read(3.0, 3.1, "b", 3)], [write], first=FIRST) is not None


def test_a_write_of_unknown_outcome_explains_what_is_read_of_it():
    unknown = Write(1.0, 2.0, "perhaps", None)

    assert invented_read([Read(3.0, 3.1, "perhaps", 2)], [unknown], first=FIRST) is None
    assert stale_read([Read(3.0, 3.1, "first", 1)], [unknown]) is None


def test_two_writes_of_one_version_have_lost_one():
    writes = [Write(1.0, 2.0, "a", 2), Write(1.1, 2.1, "b", 2)]

    violation = lost_update(writes)

    assert violation is not None
    assert violation.witness == tuple(writes)
