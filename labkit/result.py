"""The result of a grading and its JSON, `labkit.result/v1`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

SCHEMA = "labkit.result/v1"
# What the terminal tells besides; others read the file, and its schema is fixed.
_NOT_IN_SCHEMA = ("notes", "message")


class Verdict(StrEnum):
    """What is known of a check or of a whole grading.

    `SKIPPED` only occurs on checks, `ERROR` (the kit's own fault) only on gradings.
    """

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 2, Verdict.ERROR: 3}


@dataclass(frozen=True)
class EvidenceRow:
    """One line of proof on the clock of the grading.

    at      seconds since the grading began, or None for what has no time (output, notes)
    who     the process, service or "grader"
    what    what was sent, done or looked at
    answer  what came of it
    mark    this row is the first one that contradicts the promise
    """

    at: float | None
    who: str
    what: str
    answer: str = ""
    mark: bool = False


@dataclass(frozen=True)
class CheckResult:
    """One check's verdict. Points are earned by `PASSED` only; times are in seconds."""

    id: str
    stage: str
    title: str
    verdict: Verdict
    points: int
    max_points: int
    duration_s: float = 0.0
    message: str | None = None
    expected: str | None = None
    observed: str | None = None
    hint: str | None = None
    evidence: tuple[EvidenceRow, ...] = ()
    reading: str | None = None
    replay: str = ""


@dataclass(frozen=True)
class SubmissionInfo:
    """Where the graded folder lies and the sha256 of what is in it."""

    path: str
    digest: str


@dataclass(frozen=True)
class Result:
    """One grading. `started_at` is RFC 3339, durations are seconds."""

    lab: str
    kit_version: str
    provider: str
    seed: int
    submission: SubmissionInfo
    started_at: str
    duration_s: float
    critical_path_s: float
    verdict: Verdict
    score: int
    max_score: int
    checks: tuple[CheckResult, ...] = ()
    notes: tuple[str, ...] = ()
    message: str | None = None
    schema: str = field(default=SCHEMA)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def to_json(self) -> str:
        """The result as JSON text: exactly the keys of the schema, in its order."""
        body = asdict(self)
        for key in _NOT_IN_SCHEMA:
            del body[key]
        for check in body["checks"]:
            del check["reading"]
        schema = body.pop("schema")
        return json.dumps({"schema": schema, **body}, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what `to_json` wrote. Raises ValueError for another schema."""
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} file")
        checks = tuple(_check_from(entry) for entry in body.pop("checks"))
        return cls(
            **{
                **body,
                "checks": checks,
                "verdict": Verdict(body["verdict"]),
                "submission": SubmissionInfo(**body["submission"]),
                "notes": tuple(body.get("notes", ())),
            }
        )


def _check_from(entry: dict[str, object]) -> CheckResult:
    rows = entry.get("evidence") or []
    assert isinstance(rows, list)
    evidence = tuple(EvidenceRow(**row) for row in rows)
    return CheckResult(**{**entry, "verdict": Verdict(str(entry["verdict"])), "evidence": evidence})  # type: ignore[arg-type]


def overall(checks: tuple[CheckResult, ...]) -> Verdict:
    """The verdict on all checks together: one failure fails, else one doubt leaves it open."""
    verdicts = {check.verdict for check in checks}
    if Verdict.FAILED in verdicts:
        return Verdict.FAILED
    if verdicts & {Verdict.INCONCLUSIVE, Verdict.SKIPPED} or not verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASSED
