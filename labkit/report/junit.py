"""A result as JUnit's XML, the format that CI systems show."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from labkit.report.untrusted import lines, one_line
from labkit.result import CheckResult, EvidenceRow, Result, Verdict


def to_junit(result: Result) -> str:
    """One test suite, a test case for each check, in the words of the terminal.

    An inconclusive check is a *skipped* case whose message says so: a viewer adds failures and
    errors up, and the doubt is not the learner's. That the run as a whole is in doubt is told by
    the exit code and the property `verdict`.
    """
    suite = ElementTree.Element("testsuite", _counts(result))
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("verdict", "score", "max_score", "seed", "provider", "kit_version"):
        ElementTree.SubElement(properties, "property", name=name, value=str(getattr(result, name)))
    for check in result.checks:
        _add_check(suite, result, check)
    if result.message:
        _add_whole(suite, result, result.message)
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _counts(result: Result) -> dict[str, str]:
    verdicts = [check.verdict for check in result.checks]
    whole = result.verdict if result.message else None
    unjudged = verdicts.count(Verdict.SKIPPED) + verdicts.count(Verdict.INCONCLUSIVE)
    return {
        "name": result.lab,
        "tests": str(len(verdicts) + (whole is not None)),
        "failures": str(verdicts.count(Verdict.FAILED) + (whole is Verdict.FAILED)),
        "errors": str(int(whole is Verdict.ERROR)),
        "skipped": str(unjudged + (whole is Verdict.INCONCLUSIVE)),
        "time": f"{result.duration_s:.3f}",
        "timestamp": result.started_at,
    }


def _add_check(suite: ElementTree.Element, result: Result, check: CheckResult) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"{result.lab}.{check.stage}",
        name=check.id,
        time=f"{check.duration_s:.3f}",
    )
    if check.verdict is Verdict.FAILED:
        failure = ElementTree.SubElement(case, "failure", message=one_line(_contradiction(check)))
        failure.text = _story(check)
    elif check.verdict is not Verdict.PASSED:
        ElementTree.SubElement(case, "skipped", message=f"{check.verdict}: {one_line(check.message or '')}")


def _add_whole(suite: ElementTree.Element, result: Result, message: str) -> None:
    """What kept the grading as a whole from its end, as a case of its own."""
    elements = {Verdict.FAILED: "failure", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "skipped"}
    case = ElementTree.SubElement(suite, "testcase", classname=result.lab, name="grading", time="0.000")
    if result.verdict in elements:
        fault = ElementTree.SubElement(case, elements[result.verdict], message=one_line(message))
        fault.text = lines(message)


def _contradiction(check: CheckResult) -> str:
    if check.expected and check.observed:
        return f"expected {check.expected}; observed {check.observed}"
    return check.message or "failed"


def _story(check: CheckResult) -> str:
    labelled = {
        "promised": check.title,
        "expected": check.expected,
        "observed": check.observed,
        "reason": None if check.observed else check.message,
        "hint": check.hint,
        "read": check.reading,
        "replay": check.replay,
    }
    said = [f"{label:<10}{lines(text)}" for label, text in labelled.items() if text]
    return "\n".join([*said, *map(_row, check.evidence)])


def _row(row: EvidenceRow) -> str:
    time = "" if row.at is None else f"{row.at:.3f} s"
    cells = (one_line(row.who), one_line(row.what), one_line(row.answer))
    return f"{'>' if row.mark else ' '} {time:>10}  {'  '.join(cell for cell in cells if cell)}"
