"""Runs a lab's checks at the same time through pytest and turns their outcomes into a Result."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Protocol

import pytest

from labkit.catalogue import Lab
from labkit.errors import LabkitError, UnknownName
from labkit.ground import Ground, Setup
from labkit.judging import load_bench
from labkit.loop import Loop
from labkit.plugin import GraderPlugin, PlannedCheck
from labkit.pulse import Pulse
from labkit.result import CheckResult, Result, SubmissionInfo, Verdict, overall
from labkit.run import Run
from labkit.runtime import Runtime
from labkit.services.choice import choose_provider
from labkit.services.common import Common, servers_needed
from labkit.submission import Submission, read_submission
from labkit.unconfined import Unconfined

__all__ = ["Order", "PlannedCheck", "Watcher", "grade", "planned_checks", "servers_of"]

# What pytest does for its own users and nobody sees here; the last one collects the garbage five times over.
UNUSED_PLUGINS = ("terminal", "cacheprovider", "junitxml", "warnings", "logging", "unraisableexception")


@dataclass(frozen=True)
class Order:
    """What is to be graded, and how.

    reference   the folder is one of the kit's own references
    provider    "auto", "containers", "embedded" or "external"
    only        ids of the checks to run, none for all
    stage       the one stage to run
    keep_going  run all stages, also after one with a failure
    isolate     run the submission in containers that reach nothing else
    """

    lab: Lab
    submission_folder: Path
    reference: bool = False
    provider: str = "auto"
    seed: int = 0
    only: tuple[str, ...] = ()
    stage: str | None = None
    keep_going: bool = True
    isolate: bool = False


class Watcher(Protocol):
    """Is told what happens while it happens, always from the thread that called `grade`."""

    def planned(self, checks: Sequence[PlannedCheck]) -> None: ...

    def note(self, text: str) -> None: ...

    def started(self, id: str) -> None: ...

    def finished(self, check: CheckResult) -> None: ...


class Silent:
    """A watcher that looks away."""

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def started(self, id: str) -> None:
        pass

    def finished(self, check: CheckResult) -> None:
        pass


def planned_checks(
    lab: Lab, *, only: tuple[str, ...] = (), stage: str | None = None
) -> tuple[PlannedCheck, ...]:
    """The lab's checks in the order of its stages. Raises UnknownName for a check or stage."""
    collector = GraderPlugin(lab, collect_only=True)
    _run_pytest(collector)
    checks = tuple(item.planned for item in collector.items)
    if stage is not None:
        checks = tuple(check for check in checks if check.stage == lab.stage(stage).name)
    known = [check.id for check in checks]
    for id in only:
        if id not in known:
            raise UnknownName(f"check of {lab.slug}", id, known)
    return tuple(check for check in checks if not only or check.id in only)


def servers_of(lab: Lab, provider: str) -> dict[str, int]:
    """Kind of service -> how many servers a grading of the lab has at the same time."""
    arenas: Mapping[str, Setup] = load_bench(lab.grader).ARENAS
    broken = {kind: [kind in setup.breaks for setup in arenas.values()] for kind in lab.services}
    return {kind: servers_needed(kind, provider, each) for kind, each in broken.items()}


def grade(order: Order, watcher: Watcher | None = None) -> Result:
    """Grade a submission; nothing that was started is left when this returns or raises.

    Raises LabkitError where it cannot be graded at all; a submission that does not start is graded:
    it fails.
    """
    submission = read_submission(order.submission_folder, lab=order.lab)
    # Taken first: a service may write into its own folder.
    graded = SubmissionInfo(path=str(submission.folder), digest=submission.digest())
    checks = planned_checks(order.lab, only=order.only, stage=order.stage)
    watcher = watcher or Silent()
    watcher.planned(checks)
    with open_ground(
        submission,
        provider=order.provider,
        kit_python=order.reference,
        isolate=order.isolate,
        tell=watcher.note,
    ) as ground:
        for note in ground.notes:
            watcher.note(note)
        grader = GraderPlugin(
            order.lab,
            ground=ground,
            wanted=[check.id for check in checks],
            seed=order.seed,
            keep_going=order.keep_going,
            watcher=watcher,
        )
        started_at = datetime.now(UTC)
        _run_pytest(grader)
        return _result(order, graded, ground, grader, started_at)


@contextmanager
def open_ground(
    submission: Submission,
    *,
    provider: str,
    kit_python: bool = False,
    isolate: bool = False,
    tell: Callable[[str], None],
) -> Iterator[Ground]:
    """A run with its loop, pulse, provider and runtime; `tell` hears of what takes long."""
    with ExitStack() as stack:
        run = stack.enter_context(Run.open())
        loop = stack.enter_context(Loop.open())
        pulse = stack.enter_context(Pulse.open(run.clock))
        runtime = stack.enter_context(_runtime(run, submission, kit_python=kit_python, isolate=isolate))
        chosen = choose_provider(provider, run=run, services=submission.lab.services, tell=tell)
        services = stack.enter_context(Common.opened(chosen.provider))
        ground = Ground(
            run=run,
            loop=loop,
            pulse=pulse,
            services=services,
            provider_reason=chosen.reason,
            submission=submission,
            runtime=runtime,
            starting=threading.Semaphore(max(os.cpu_count() or 1, 2)),
            healthy=threading.Event(),
            stopping=threading.Event(),
        )
        stack.callback(ground.stopping.set)
        yield ground


@contextmanager
def _runtime(run: Run, submission: Submission, *, kit_python: bool, isolate: bool) -> Iterator[Runtime]:
    if not isolate:
        yield Unconfined(run, kit_python=kit_python)
        return
    from labkit.isolation import Isolation  # brings Docker's client, 0.2 s of imports

    with Isolation.opened(run, submission) as isolation:
        yield isolation


def new_seed() -> int:
    """A seed short enough to be typed again."""
    return random.SystemRandom().randrange(1, 10_000)


def _run_pytest(plugin: GraderPlugin) -> None:
    """Run pytest on the lab's grader with this plugin and nothing of the user's own settings."""
    arguments = [
        str(plugin.lab.grader),
        f"--rootdir={plugin.lab.grader.parent}",
        f"--config-file={os.devnull}",
        "--import-mode=importlib",
        "--noconftest",
        "--capture=no",
        "--assert=plain",
        *(f"-pno:{name}" for name in UNUSED_PLUGINS),
    ]
    with _without_settings():
        code = pytest.main(arguments, plugins=[plugin])
    if plugin.fault is not None:
        raise plugin.fault
    if code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise LabkitError(f"the checks of {plugin.lab.slug} could not be run: pytest said {code!r}")
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt


@contextmanager
def _without_settings() -> Iterator[None]:
    """Hide what would make the user's pytest plugins or options part of a grading."""
    kept = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _result(
    order: Order, graded: SubmissionInfo, ground: Ground, grader: GraderPlugin, started_at: datetime
) -> Result:
    checks = tuple(grader.results)
    return Result(
        lab=order.lab.slug,
        kit_version=metadata.version("portfolio-labkit"),
        provider=ground.services.provider,
        seed=order.seed,
        submission=graded,
        started_at=started_at.isoformat(timespec="seconds"),
        duration_s=round(ground.run.clock(), 2),
        critical_path_s=round(grader.critical_path_s, 2),
        verdict=Verdict.ERROR if grader.own_faults else overall(checks),
        score=sum(check.points for check in checks),
        max_score=sum(check.max_points for check in checks),
        checks=checks,
        notes=ground.notes,
        message=grader.own_faults[0] if grader.own_faults else None,
    )
