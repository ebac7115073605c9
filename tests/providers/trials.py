"""Everything that a grading does with a service, done for real; each trial says briefly what came of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from labkit.errors import FaultUnavailable, ServiceDown
from labkit.links import Link
from labkit.loop import Loop
from labkit.services import Address, Provider, UnixAddress
from labkit.services.common import Common
from labkit.services.loans import LentHost
from labkit.traps import Way

from .talk import TALK, new_mark

KINDS = ("redis", "postgres", "kafka")
SLOWER_S = 0.3
SILENT_S = 0.5
NO, YES = "no", "yes"


@dataclass(frozen=True)
class Ground:
    """A provider with one open service of each kind, on which the trials follow one another.

    warm    opens a service as a grading does that finds services which `lab services up` keeps
    settle  returns when those are all to be had again
    """

    provider: Provider
    loop: Loop
    services: Mapping[str, Any]
    warm: Provider
    settle: Callable[[], None]


Trial = Callable[[Ground, str], str]


def is_ready(ground: Ground, kind: str) -> str:
    ground.services[kind].ping()
    return YES


def stops_and_starts(ground: Ground, kind: str) -> str:
    service, mark = ground.services[kind], written(ground, kind)
    if not done(service.host.stop):
        return NO
    assert not connects(service.host.address)
    service.host.start()
    assert TALK[kind].holds(service, mark)
    return "yes, with its data"


def is_killed(ground: Ground, kind: str) -> str:
    service, mark = ground.services[kind], written(ground, kind)
    if not done(service.host.kill):
        return NO
    assert not connects(service.host.address)
    service.host.start()
    return "yes, with its data" if TALK[kind].holds(service, mark) else "yes, without what was not saved"


def starts_empty(ground: Ground, kind: str) -> str:
    service, mark = ground.services[kind], written(ground, kind)
    if not done(lambda: service.host.start(empty=True)):
        return NO
    assert not TALK[kind].holds(service, mark)
    return YES


def is_paused(ground: Ground, kind: str) -> str:
    service = ground.services[kind]
    if not done(service.host.pause):
        return NO
    with pytest.raises(ServiceDown):
        service.ping(SILENT_S)
    assert connects(service.host.address)
    service.host.resume()
    service.ping()
    return YES


def is_slowed(ground: Ground, kind: str) -> str:
    talk, service = TALK[kind], ground.services[kind]
    with linked(ground, kind) as link, talk.session(service, link) as ask:
        link.delay(SLOWER_S)
        # The quickest of three: a busy machine makes one slow, but not all of them.
        on_open_one = min(took_s(ask) for _ in range(3)) >= SLOWER_S
        return reach(on_open_one, took_s(lambda: open_and_close(talk.session(service, link))) >= SLOWER_S)


def is_cut(ground: Ground, kind: str) -> str:
    talk, service = TALK[kind], ground.services[kind]
    with linked(ground, kind) as link, talk.session(service, link) as ask:
        link.refuse()
        found = reach(fails(ask), fails(lambda: open_and_close(talk.session(service, link))))
        link.open()
        open_and_close(talk.session(service, link))
        return found


def is_held(ground: Ground, kind: str) -> str:
    talk, service = TALK[kind], ground.services[kind]
    with linked(ground, kind) as link, talk.session(service, link) as ask, ThreadPoolExecutor(1) as pool:
        with link.trap(lambda _: True, way=Way.THERE) as trap:
            link.hold_after(0)
            asking = pool.submit(ask)
            held = eventually(lambda: link.held.is_set() or trap.caught.is_set() or asking.done())
            assert held
            found = NO if asking.done() else YES
            link.release()
        asking.result(timeout=5)
        return found


def is_counted(ground: Ground, kind: str) -> str:
    with linked(ground, kind) as link, TALK[kind].session(ground.services[kind], link) as ask:
        before = link.flights, len(link.messages)
        ask()
        flights, requests = link.flights - before[0], len(link.messages) - before[1]
    if flights:
        assert flights == 1
        return "round trips"
    return {"postgres": "statements", "kafka": "requests"}[kind] if requests else NO


def is_flushed(ground: Ground, kind: str) -> str:
    service, mark = ground.services[kind], written(ground, kind)
    with service.client() as client:
        sha = client.script_load("return 1")
        client.flushdb()
        client.script_flush()
        assert client.script_exists(sha) == [False]
    assert not TALK[kind].holds(service, mark)
    return YES


def is_apart(ground: Ground, kind: str) -> str:
    mark = new_mark()
    with (
        Common.opened(ground.provider) as common,
        common.open(kind, broken=False) as one,
        common.open(kind, broken=False) as another,
    ):
        TALK[kind].write(one, mark)
        if another.host.address != one.host.address:
            assert not TALK[kind].holds(another, mark)
            return "a server each"
        return "names of its own on one server" if TALK[kind].holds(another, mark) else "a database each"


def is_removed(ground: Ground, kind: str) -> str:
    mark = new_mark()
    with ground.provider.open(kind) as service:
        TALK[kind].write(service, mark)
        address = service.host.address
    if not connects(address):
        return "the server"
    with ground.provider.open(kind) as later:
        return "nothing" if TALK[kind].holds(later, mark) else "the database"


def is_kept_warm(ground: Ground, kind: str) -> str:
    mark, talk = new_mark(), TALK[kind]
    with ground.warm.open(kind) as service:
        if not isinstance(service.host, LentHost):
            return NO
        talk.write(service, mark)
        before = talk.identity(service)
    ground.settle()
    with ground.warm.open(kind) as service:
        assert isinstance(service.host, LentHost)
        assert not talk.holds(service, mark)
        return "the same server, emptied" if talk.identity(service) == before else "a new server"


def tells_its_log(ground: Ground, kind: str) -> str:
    host = ground.services[kind].host
    assert bool(host.log) == bool(host.memory)
    return YES if host.log else NO


# What a row of the table is called, its trial, and the services that it is tried on.
TRIALS: Mapping[str, tuple[Trial, tuple[str, ...]]] = {
    "started, ready after a round trip": (is_ready, KINDS),
    "each arena apart from the others": (is_apart, KINDS),
    "removed at the end": (is_removed, KINDS),
    "kept by `lab services up` for the next grading": (is_kept_warm, KINDS),
    "log and memory in the report": (tells_its_log, KINDS),
    "count what a process asks": (is_counted, KINDS),
    "hold what a process asks": (is_held, KINDS),
    "slow": (is_slowed, KINDS),
    "cut, and refuse what comes": (is_cut, KINDS),
    "flush keys and scripts (Redis)": (is_flushed, ("redis",)),
    "pause and resume": (is_paused, KINDS),
    "stop and start": (stops_and_starts, KINDS),
    "kill and start": (is_killed, KINDS),
    "start empty": (starts_empty, KINDS),
}


def in_a_cell(found: Mapping[str, str]) -> str:
    """{"redis": "yes", "postgres": "yes", "kafka": "no"} as "yes; Kafka: no"."""
    answers = list(found.values())
    usual = max(answers, key=answers.count)
    others = [f"{kind.capitalize()}: {answer}" for kind, answer in found.items() if answer != usual]
    return "; ".join([usual, *others])


def written(ground: Ground, kind: str) -> str:
    """A mark that was left in the service, and is there."""
    mark = new_mark()
    TALK[kind].write(ground.services[kind], mark)
    assert TALK[kind].holds(ground.services[kind], mark)
    return mark


def done(fault: Callable[[], object]) -> bool:
    """Whether the fault was done; that this provider has none such is an answer."""
    try:
        fault()
    except FaultUnavailable:
        return False
    return True


def reach(on_open_one: bool, on_new_one: bool) -> str:
    return {(True, True): YES, (False, True): "at first contact only", (False, False): NO}[
        on_open_one, on_new_one
    ]


@contextmanager
def linked(ground: Ground, kind: str) -> Iterator[Link]:
    """A link to the service, as each process of a submission has one."""
    service = ground.services[kind]
    link = Link(ground.loop, process="web-1", service=kind, upstream=service.host.address, mend=service.mend)
    link.open()
    try:
        yield link
    finally:
        link.close()


def open_and_close(session: Any) -> None:
    with session:
        pass


def fails(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Exception:  # noqa: BLE001 - four client libraries, each with errors of its own
        return True
    return False


def took_s(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def eventually(condition: Callable[[], bool], within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def connects(address: Address) -> bool:
    """Whether the system itself accepts a connection, whatever the server does."""
    unix = isinstance(address, UnixAddress)
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address.path if isinstance(address, UnixAddress) else (address.host, address.port))
        except OSError:
            return False
    return True
