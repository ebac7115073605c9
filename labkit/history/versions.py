"""Laws of one value that is replaced again and again, each time with a version one higher.

A write that was acknowledged shows in every read that is sent afterwards, or a later one does. What
a write of unknown outcome has left is judged by nothing but the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.history.decision import Violation


@dataclass(frozen=True)
class Write:
    """One replacement, carried out at an unknown moment after `sent`.

    sent, received  seconds on the grader's clock
    value           what it writes; no two writes of a history write the same
    version         what the answer said; None where there was no answer, or none that says that it is done
    hidden_until    until then a read may lawfully show what was there before
    process, ref    the instance that was asked; whatever the caller wants to find the exchange by
    """

    sent: float
    received: float
    value: str
    version: int | None
    hidden_until: float = -math.inf
    process: str = ""
    ref: object = None

    def binds(self, read: Read) -> bool:
        """Whether the read was sent so late that it may show nothing older than this."""
        return self.version is not None and max(self.received, self.hidden_until) < read.sent


@dataclass(frozen=True)
class Read:
    """What one read showed, chosen at an unknown moment within [sent, received]."""

    sent: float
    received: float
    value: str
    version: int
    process: str = ""
    ref: object = None


def stale_read(reads: Iterable[Read], writes: Sequence[Write]) -> Violation | None:
    """A read that shows less than a write which was acknowledged before it was sent: the shortest proof."""
    proofs = [
        (read.received - write.sent, read, write)
        for read in reads
        for write in writes
        if write.version is not None and read.version < write.version and write.binds(read)
    ]
    if not proofs:
        return None
    _, read, write = min(proofs, key=lambda proof: proof[0])
    return Violation(
        rule="a read that is sent after the answer to a write shows that write or a later one",
        expected=f"version {write.version} or later",
        observed=f"version {read.version}, {read.sent - write.received:.3f} s after version {write.version}"
        " had been acknowledged",
        witness=(write, read),
        contradiction=read,
    )


def invented_read(reads: Iterable[Read], writes: Sequence[Write], *, first: Read) -> Violation | None:
    """A read that shows what nobody has written under that version. `first` is what was there at first."""
    said = {write.version: write for write in writes if write.version is not None}
    open_values = {write.value for write in writes if write.version is None}
    for read in reads:
        write = said.get(read.version)
        if read.value in open_values or (read.version, read.value) == (first.version, first.value):
            continue
        if write is None or write.value != read.value:
            return Violation(
                rule="a read shows what some write has written",
                expected=f"what was written as version {read.version}",
                observed=f"version {read.version} as {read.value!r}",
                witness=(read,) if write is None else (write, read),
                contradiction=read,
            )
    return None


def lost_update(writes: Sequence[Write]) -> Violation | None:
    """Two writes that were both acknowledged as the same version: one has overwritten the other unseen."""
    said: dict[int, Write] = {}
    for write in sorted(writes, key=lambda write: write.received):
        if write.version is None:
            continue
        if write.version in said:
            return Violation(
                rule="each write has a version of its own, one higher than the one before",
                expected="two versions for two writes",
                observed=f"version {write.version} for both",
                witness=(said[write.version], write),
                contradiction=write,
            )
        said[write.version] = write
    return None
