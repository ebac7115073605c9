"""Turns the way in which a check function ended into a verdict."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from labkit.arena import Arena
from labkit.checks import CheckFailed, Inconclusive
from labkit.client import RECOVERY_S
from labkit.errors import ServiceError, SubmissionError
from labkit.ground import Stopped
from labkit.result import CheckResult, EvidenceRow, Verdict

# Ends of a check or arena that say nothing: the grading is being given up.
LEAVING = (Stopped,)
# What got in the way of a check passes, as a rule: it is tried again, after pauses of seconds. The last
# is longer than a service may hold on to what it has learnt while it was starved.
PAUSES_S = (0.5, 2.0, RECOVERY_S + 0.5)


@dataclass(frozen=True)
class Outcome:
    """A verdict with its words; `own_fault` where the check itself broke."""

    verdict: Verdict
    duration_s: float = 0.0
    message: str | None = None
    expected: str | None = None
    observed: str | None = None
    hint: str | None = None
    evidence: tuple[EvidenceRow, ...] = ()
    reading: str | None = None
    own_fault: str | None = None


def outcome_of(
    function: Callable[[Any], None], new_bench: Callable[[], Any], arena: Arena, *, heal: bool
) -> Outcome | None:
    """Run a check, again where nothing came of it. None where the grading is being given up.

    With `heal` nobody else uses the arena: what an earlier check left broken is mended before each try.

    Each try has a bench of its own: what one has seen is no doubt about the next.
    """
    for pause_s in (*PAUSES_S, None):
        outcome = _tried(function, new_bench(), arena, heal=heal)
        if outcome is None or outcome.verdict is not Verdict.INCONCLUSIVE or outcome.own_fault:
            break
        if pause_s is not None:
            with contextlib.suppress(Stopped):
                arena.sleep(pause_s)
    return outcome


def _tried(function: Callable[[Any], None], bench: Any, arena: Arena, *, heal: bool) -> Outcome | None:
    begin = time.monotonic()
    try:
        if heal:
            arena.heal()
        function(bench)
    except Stopped:
        return None
    except CheckFailed as failure:
        if arena.fault is not None:
            return _own_fault(arena.fault, time.monotonic() - begin)
        doubt = None if failure.sure else _doubt(bench)
        if doubt is not None:
            return Outcome(Verdict.INCONCLUSIVE, time.monotonic() - begin, message=doubt)
        return _failed(failure, time.monotonic() - begin)
    except SubmissionError as error:
        return does_not_start(error, time.monotonic() - begin)
    except (Inconclusive, ServiceError) as doubt:
        return Outcome(Verdict.INCONCLUSIVE, time.monotonic() - begin, message=str(doubt))
    except Exception as error:  # noqa: BLE001 - a broken check must never be charged to the learner
        return _own_fault(error, time.monotonic() - begin)
    return Outcome(Verdict.PASSED, time.monotonic() - begin)


def _doubt(bench: Any) -> str | None:
    ask: Callable[[], str | None] | None = getattr(bench, "doubt", None)
    return ask() if ask is not None else None


def does_not_start(error: SubmissionError, duration_s: float = 0.0) -> Outcome:
    """The submission's process did not start or come back; its last lines are the evidence."""
    return Outcome(
        Verdict.FAILED,
        duration_s,
        message=error.message,
        expected=error.promised,
        observed=error.message,
        hint=error.remedy,
        evidence=tuple(EvidenceRow(at=None, who="output", what=line) for line in error.output),
        reading="Starting and stopping",
    )


def pytest_report(item: pytest.Item, result: CheckResult, outcome: Outcome) -> pytest.TestReport:
    """What pytest is told: inconclusive is a skip that says so, never a failure."""
    words = result.message or f"expected {result.expected}; observed {result.observed}"
    kinds = {Verdict.PASSED: "passed", Verdict.FAILED: "failed"}
    path, line, _ = item.reportinfo()
    longrepr: Any = None
    if result.verdict is Verdict.FAILED:
        longrepr = "\n".join(filter(None, (result.title, words, result.hint)))
    elif result.verdict is not Verdict.PASSED:
        longrepr = (str(path), line, f"{result.verdict}: {words}")
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={item.name: 1},
        outcome=kinds.get(result.verdict, "skipped"),  # type: ignore[arg-type]
        longrepr=longrepr,
        when="call",
        duration=outcome.duration_s,
    )


def load_bench(grader: Path) -> ModuleType:
    """The module `bench` of a grader's folder, which is loaded as a package of its own."""
    package = f"labkit_grader_{grader.name}"
    # Another checkout's grader of the same name may have been loaded before.
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(grader)]
    sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{package}.bench")


def _failed(failure: CheckFailed, duration_s: float) -> Outcome:
    return Outcome(
        Verdict.FAILED,
        duration_s,
        message=f"expected {failure.expected}; observed {failure.observed}",
        expected=failure.expected,
        observed=failure.observed,
        hint=failure.hint,
        evidence=failure.evidence,
        reading=failure.reading,
    )


def _own_fault(error: Exception, duration_s: float) -> Outcome:
    where = traceback.extract_tb(error.__traceback__)[-1]
    fault = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return Outcome(
        Verdict.INCONCLUSIVE,
        duration_s,
        message=f"the check itself broke: {fault}",
        own_fault=fault,
    )
