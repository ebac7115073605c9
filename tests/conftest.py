"""What the kit's own tests share: an option, a run, and who may skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache

import pytest

from labkit.run import Run
from labkit.services.engine import EngineStatus, docker_status


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write tests/transcripts anew from what is printed now"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `docker` is skipped where no container can be started; CI sets LABKIT_NEED_DOCKER."""
    if item.get_closest_marker("docker") is None:
        return
    status = _engine()
    if not status.usable:
        verdict = pytest.fail if os.environ.get("LABKIT_NEED_DOCKER") else pytest.skip
        verdict(f"{status.problem}; {status.remedy}")


@lru_cache
def _engine() -> EngineStatus:
    return docker_status()


@pytest.fixture
def run() -> Iterator[Run]:
    with Run.open() as opened:
        yield opened
