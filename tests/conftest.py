"""What the kit's own tests share: an option, a run, and who may skip."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from labkit.judging import load_bench
from labkit.run import Run
from labkit.services.engine import EngineStatus, docker_status


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write anew what is printed and found now, for review as a diff"
    )


def pytest_configure() -> None:
    """What these tests are run with is not for what they start, and that can be interrupted.

    xdist tells its workers a width; what a shell runs in the background ignores SIGINT.
    """
    os.environ.pop("PYTEST_ADDOPTS", None)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.pop("COLUMNS", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def part() -> Callable[[str], ModuleType]:
    """A module of the queue worker's grader by its name."""
    load_bench(Path(__file__).parent.parent / "graders" / "queue_worker")
    return lambda name: importlib.import_module(f"labkit_grader_queue_worker.{name}")


@pytest.fixture(scope="session")
def drawing() -> Callable[[Path], ModuleType]:
    """Loads the script that draws a lab's figures, from the folder that it stands in."""

    @lru_cache
    def load(folder: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location("draw", folder / "draw.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # As when it is run: beside its own modules. Dataclasses look their module up by its name.
        with mock.patch.object(sys, "path", [str(folder), *sys.path]), mock.patch.dict(sys.modules):
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        return module

    return load
