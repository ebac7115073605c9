"""Servers that the arenas of a grading share, and those that one has to itself because it breaks them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labkit.catalogue import find_lab
from labkit.errors import LabkitError, ServiceError
from labkit.execution import servers_of
from labkit.faults import Faults
from labkit.services.common import Common, servers_needed


class Provider:
    """Opens numbers; `slow` holds back whoever opens one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.slow = threading.Event()
        self.slow.set()
        self.fault: Exception | None = None

    @contextmanager
    def open(self, kind: str) -> Iterator[Any]:
        self.opened.append(kind)
        number = len(self.opened)
        assert self.slow.wait(5)
        if self.fault is not None:
            raise self.fault
        yield f"{kind} {number}"
        self.closed.append(f"{kind} {number}")


def asked_by_many(common: Common, kind: str) -> tuple[list[threading.Thread], list[Any]]:
    """Five arenas that open a service; what each has got, or the error that it met."""
    got: list[Any] = []

    def ask() -> None:
        try:
            with common.open(kind, broken=False) as service:
                got.append(service)
        except ServiceError as error:
            got.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    return threads, got


def test_arenas_that_come_at_once_share_one_kafka_that_outlives_them_all():
    provider = Provider("containers")
    provider.slow.clear()
    with Common.opened(provider) as common:
        threads, got = asked_by_many(common, "kafka")
        provider.slow.set()
        for thread in threads:
            thread.join(5)
        assert got == ["kafka 1"] * 5
        assert (provider.opened, provider.closed) == (["kafka"], [])
    assert provider.closed == ["kafka 1"]


def test_an_arena_that_breaks_it_has_one_to_itself_for_its_own_time():
    provider = Provider("containers")
    with Common.opened(provider) as common, common.open("kafka", broken=False) as shared:
        with common.open("kafka", broken=True) as own:
            assert (shared, own) == ("kafka 1", "kafka 2")
        assert provider.closed == ["kafka 2"]


@pytest.mark.parametrize(
    ("name", "kind"), [("embedded", "kafka"), ("containers", "redis"), ("external", "kafka")]
)
def test_what_starts_at_once_or_is_divided_otherwise_is_not_shared(name, kind):
    provider = Provider(name)
    with Common.opened(provider) as common:
        with common.open(kind, broken=False) as one, common.open(kind, broken=False) as two:
            assert one != two
        assert len(provider.closed) == 2


def test_all_who_would_share_a_server_that_does_not_start_are_told_why():
    provider = Provider("containers")
    provider.slow.clear()
    provider.fault = ServiceError("Kafka ended as it started")
    with Common.opened(provider) as common:
        threads, got = asked_by_many(common, "kafka")
        provider.slow.set()
        for thread in threads:
            thread.join(5)
    assert got == [provider.fault] * 5
    assert provider.opened == ["kafka"]


@pytest.mark.parametrize(
    ("kind", "provider", "broken", "needed"),
    [
        ("kafka", "containers", [False, True, False, True], 3),
        ("kafka", "containers", [True, True], 2),
        ("kafka", "containers", [False], 1),
        ("kafka", "embedded", [False, True, False], 3),
        ("redis", "containers", [False, True, False], 3),
    ],
)
def test_servers_needed(kind, provider, broken, needed):
    assert servers_needed(kind, provider, broken) == needed


def test_payments_need_two_brokers_in_containers_and_one_for_each_arena_elsewhere():
    lab = find_lab("payments")
    assert servers_of(lab, "containers")["kafka"] == 2
    assert servers_of(lab, "embedded")["kafka"] == servers_of(lab, "containers")["postgres"] > 2


@pytest.mark.parametrize("breaking", ["stopped", "paused"])
def test_a_server_that_others_may_share_is_not_broken(breaking):
    faults = Faults(Untouchable(), [], lambda *_: None, own=False)
    with pytest.raises(LabkitError, match=f"kafka may not be {breaking} here"), getattr(faults, breaking)():
        pass
    with pytest.raises(LabkitError, match="other arenas may share it"):
        faults.restart(empty=True)


class Untouchable:
    """A service on which nothing can be done."""

    kind = "kafka"
