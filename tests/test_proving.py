"""`lab prove` proves what it should, and notices each way in which a lab can be unproven.

The lab under test is tests/content's greeter, copied and then spoiled in one place.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from labkit.catalogue import Lab, read_lab
from labkit.errors import ManifestError, UnknownName
from labkit.execution import PlannedCheck
from labkit.proving import gradings, prove
from labkit.proving.audit import audit
from labkit.proving.cases import Case, cases_of, read_mutant
from labkit.proving.judgement import Attempt, Kind, faults_in
from labkit.proving.scope import needed_checks
from labkit.report import open_console
from labkit.result import CheckResult, Result, SubmissionInfo, Verdict

CONTENT = Path(__file__).parent / "content"
SURVIVOR = """\
    reference: polite
    mistake: none at all
    --- a/app.py
    +++ b/app.py
    @@ -1,3 +1,4 @@
    +# a comment
     import os
     import signal
     import sys
    """


@pytest.fixture
def greeter(tmp_path: Path) -> Lab:
    """A copy of the smallest lab."""
    shutil.copytree(CONTENT, tmp_path / "content")
    return read_lab(tmp_path / "content/labs/greeter")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def proof(lab: Lab, *, mutant: str | None = None, whole: bool = False, repeat: int = 1) -> tuple[int, str]:
    """Exit code and what is printed."""
    page = io.StringIO()
    code = prove([lab], mutant=mutant, whole=whole, repeat=repeat, jobs=2, console=open_console(page))
    return code, page.getvalue()


def test_a_sound_lab_is_proven_and_its_matrix_shown(greeter):
    code, page = proof(greeter)

    assert code == 0, page
    assert "greeter  proven" in page
    assert "2 checks, 100 points; 1 template, 1 reference, 2 mutants" in page
    assert "✓ says-the-word" in page
    assert "✗" not in page


def test_what_a_proof_does_not_judge_is_said(greeter):
    _, page = proof(greeter)

    assert "mutants graded only by the checks that claim them, and what these need" in page
    assert "✓ reference polite  2 passed  " in page
    assert "✓ mutant greets-nobody  1 failed, 1 not asked  " in page
    assert "\nmutant          claimed by\n" in page
    assert "s, of mutants only by the checks that claim them" in page


def test_a_whole_proof_asks_all_checks(greeter):
    edit(greeter.folder / "mutants/knows-one-word.patch", "hello, {name}", "hello, you")

    code, page = proof(greeter, whole=True)

    assert code == 0, page
    assert "all graded by all checks" in page
    assert "✓ mutant greets-nobody  1 failed, 1 passed  " in page
    assert "knows-one-word  ✓ says-the-word  says-the-name\n" in page
    assert "only" not in page


def test_repeats_are_counted_for_each_verdict_and_claim(greeter):
    code, page = proof(greeter, mutant="greets-nobody", repeat=3)

    assert code == 0, page
    assert "✓ says-the-name 3/3" in page
    assert "mutant greets-nobody  failed 3/3" in page
    assert "template" not in page


def test_a_mutant_that_survives_its_claiming_check(greeter):
    (greeter.folder / "mutants/greets-nobody.patch").write_text(textwrap.dedent(SURVIVOR))

    code, page = proof(greeter, mutant="greets-nobody")

    assert code == 1
    assert "    survives says-the-name, which claims it: says-the-name passed" in page


def test_a_mutant_that_falls_to_a_stage_before_its_own(greeter):
    patch = greeter.folder / "mutants/greets-nobody.patch"
    edit(patch, "{os.environ['GREETING']}, you", "hello, you")

    code, page = proof(greeter, mutant="greets-nobody", whole=True)

    assert code == 1
    assert "falls to word/says-the-word failed" in page
    assert "a stage before the mistake's" in page

    edit(patch, "reference: polite", "reference: polite\ndisturbs: word")

    assert proof(greeter, mutant="greets-nobody", whole=True)[0] == 0


def test_a_reference_that_fails_and_a_template_that_passes(greeter):
    template = greeter.template / "{{cookiecutter.project_slug}}/app.py"
    reference = greeter.folder / "reference/polite/app.py"
    shutil.copy(reference, template)
    edit(reference, "{os.environ['GREETING']}, {name}", "moin, moin")

    code, page = proof(greeter)

    assert code == 1
    assert "    must fail, and passed" in page
    assert "    says-the-name failed: expected n" in page


def test_what_a_submission_leaves_behind_would_be_found():
    """Looked for by the mark in the environment, so that a new session is no hiding place."""
    mark = f"{os.getpid()}/test"
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleeper, env={**os.environ, gradings.MARK: mark}, start_new_session=True)
    try:
        found = gradings._leftovers(mark)
    finally:
        child.kill()
        child.wait()
    assert [name for name in found if str(child.pid) in name]


def test_a_check_that_breaks_is_the_kits_own_fault(greeter):
    edit(greeter.grader / "test_word.py", "bench.words()[0]", "bench.wrods()[0]")

    code, page = proof(greeter, mutant="knows-one-word")

    assert code == 3
    assert "the grader broke: says-the-word: the check itself broke: AttributeError" in page


def test_a_patch_that_does_not_apply_is_no_proof(greeter):
    edit(greeter.folder / "mutants/greets-nobody.patch", " class Greeter", " class Greter")

    code, page = proof(greeter, mutant="greets-nobody")

    assert code == 1
    assert "greets-nobody.patch does not apply: error: patch failed: app.py:7" in page


def test_an_unknown_mutant_is_refused_with_the_closest_one(greeter):
    with pytest.raises(UnknownName) as refusal:
        proof(greeter, mutant="greets-noone")

    assert refusal.value.remedy == "did you mean greets-nobody?"


def test_a_mutants_header_is_read_with_its_continuation(greeter):
    mutant = read_mutant(greeter.mutants["greets-nobody"])

    assert (mutant.name, mutant.reference) == ("greets-nobody", "polite")
    assert mutant.mistake == "the name is read and not said"


def test_all_faults_of_a_mutants_header_are_said_at_once(tmp_path):
    path = tmp_path / "odd.patch"
    path.write_text("reference:\nmistakes: many\n--- a/app.py\n")

    with pytest.raises(ManifestError) as refusal:
        read_mutant(path)

    said = {str(problem) for problem in refusal.value.problems}
    assert said == {"mistake: missing or empty", "reference: missing or empty", "mistakes: unknown key"}


def test_a_mutant_of_an_unknown_reference_is_a_fault_and_no_case(greeter):
    edit(greeter.mutants["greets-nobody"], "reference: polite", "reference: polit")

    cases, faults = cases_of(greeter)

    assert "greets-nobody" not in {case.name for case in cases}
    assert [fault.text for fault in faults] == [
        "there is no reference of greeter 'polit'; did you mean polite?"
    ]


CHECKS = (
    PlannedCheck("says-the-word", "word", "The word is said.", 60, ("knows-one-word",), "only"),
    PlannedCheck("says-the-name", "name", "The name is said.", 40, ("greets-nobody",), "only"),
)


def test_a_sound_lab_has_nothing_to_audit(greeter):
    assert audit(greeter, CHECKS) == []


# what is spoiled -> what the audit says
AUDITED: dict[str, tuple[Callable[[Lab], object], str]] = {
    "no patch": (
        lambda lab: lab.mutants["greets-nobody"].unlink(),
        "says-the-name: claims greets-nobody, and there is no mutants/greets-nobody.patch",
    ),
    "no claim": (
        lambda lab: shutil.copy(lab.mutants["greets-nobody"], lab.folder / "mutants/stray.patch"),
        "stray: no check claims this mutant",
    ),
    "no brief": (lambda lab: lab.brief.write_text(" \n"), "greeter: BRIEF.md is missing or empty"),
    "blank hint": (
        lambda lab: edit(lab.grader / "test_name.py", "a name is no pronoun", " "),
        "test_name.py:7: an empty hint",
    ),
    "blank hint of a predicate": (
        lambda lab: edit(lab.grader / "test_name.py", '{"you": "a name is no pronoun"}', '[(callable, "")]'),
        "test_name.py:7: an empty hint",
    ),
    "blank keyword": (
        lambda lab: edit(lab.grader / "test_name.py", 'hints={"you": "a name is no pronoun"}', "hint=''"),
        "test_name.py:7: an empty hint",
    ),
}


@pytest.mark.parametrize("name", AUDITED)
def test_the_audit_notices(name, greeter):
    spoil, said = AUDITED[name]
    spoil(greeter)

    assert [str(fault) for fault in audit(greeter, CHECKS)] == [said]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kills": ()}, "says-the-name: claims no mutant: nothing shows that it can fail"),
        ({"points": 41}, "greeter: its points add up to 101, not 100"),
        ({"title": ""}, "says-the-name: has no docstring: a learner reads it as the promise"),
    ],
)
def test_the_audit_notices_of_a_check(change, said, greeter):
    spoiled = (CHECKS[0], replace(CHECKS[1], **change))

    assert said in [str(fault) for fault in audit(greeter, spoiled)]


def attempt(lab: Lab, kind: str, name: str, *verdicts: Verdict, **words: str) -> Attempt:
    """A grading in which the checks came to these verdicts, in these words."""
    checks = tuple(
        CheckResult(check.id, check.stage, check.title, verdict, 0, check.points, **words)
        for check, verdict in zip(CHECKS, verdicts, strict=True)
    )
    overall = Verdict.FAILED if Verdict.FAILED in verdicts else verdicts[-1]
    result = Result(
        "greeter", "0", "embedded", 7, SubmissionInfo("", ""), "", 0, 0, overall, 0, 100, checks=checks
    )
    return Attempt(Case(lab, kind, name, lab.template), result)


def test_a_reference_in_doubt_is_asked_again_and_not_condemned(greeter):
    doubtful = attempt(greeter, "reference", "polite", Verdict.PASSED, Verdict.INCONCLUSIVE)

    faults = tuple(faults_in(doubtful, CHECKS))

    assert [fault.kind for fault in faults] == [Kind.DOUBT]
    assert replace(doubtful, faults=faults).in_doubt


def test_what_is_skipped_behind_a_gate_in_doubt_is_in_doubt(greeter):
    checks = (replace(CHECKS[0], gate=True), CHECKS[1])
    verdicts = (Verdict.INCONCLUSIVE, Verdict.SKIPPED)
    for kind, name in (("reference", "polite"), ("mutant", "greets-nobody")):
        kinds = {fault.kind for fault in faults_in(attempt(greeter, kind, name, *verdicts), checks)}

        assert kinds == {Kind.DOUBT}


def test_what_is_skipped_behind_a_gate_that_fails_survives(greeter):
    checks = (replace(CHECKS[0], gate=True), CHECKS[1])
    words = {"hint": "look"}
    skipped = attempt(greeter, "mutant", "greets-nobody", Verdict.FAILED, Verdict.SKIPPED, **words)

    assert "survives says-the-name" in next(faults_in(skipped, checks)).text


def planned(id: str, *kills: str, gate: bool = False, needs: str | None = None) -> PlannedCheck:
    return PlannedCheck(id, "word", "It is so.", 1, kills, "only", gate=gate, needs=needs)


SCOPED = (
    planned("starts", gate=True),
    planned("is-read", "forgets"),
    planned("is-kept", "forgets", needs="is-shared"),
    planned("is-shared", needs="is-read"),
    planned("is-quick", "dawdles"),
)


@pytest.mark.parametrize(
    ("kind", "name", "ids"),
    [
        ("mutant", "forgets", ["starts", "is-read", "is-kept", "is-shared"]),
        ("mutant", "dawdles", ["starts", "is-quick"]),
        ("mutant", "claimed-by-none", [check.id for check in SCOPED]),
        ("reference", "forgets", [check.id for check in SCOPED]),
        ("template", "template", [check.id for check in SCOPED]),
    ],
)
def test_a_mutant_needs_its_claims_gates_and_what_these_need(kind, name, ids, greeter):
    case = Case(greeter, kind, name, greeter.template)

    assert [check.id for check in needed_checks(case, SCOPED)] == ids


def test_a_template_that_fails_without_help_is_a_fault(greeter):
    mute = attempt(greeter, "template", "template", Verdict.PASSED, Verdict.FAILED, expected="x")

    said = [fault.text for fault in faults_in(mute, CHECKS)]

    assert said == [
        "no failing check hints at what to do first (seed 7)",
        "says-the-name fails it without a word of help",
    ]


def test_a_hint_that_turns_out_empty_is_a_fault(greeter):
    words = {"expected": "x", "observed": "y", "hint": " "}
    blank = attempt(greeter, "mutant", "greets-nobody", Verdict.PASSED, Verdict.FAILED, **words)

    assert "says-the-name has an empty hint" in [fault.text for fault in faults_in(blank, CHECKS)]


def test_what_is_left_running_is_a_fault(greeter):
    left = replace(attempt(greeter, "reference", "polite", *2 * [Verdict.PASSED]), left=("python (123)",))

    assert [str(fault) for fault in faults_in(left, CHECKS)] == [
        "reference polite: left running: python (123)"
    ]


def test_a_grading_that_does_not_end_is_ended_and_said(greeter, monkeypatch):
    monkeypatch.setattr(gradings, "CASE_DEADLINE_S", 2.0)
    edit(greeter.grader / "test_word.py", "    expect(", "    bench.arena.sleep(60)\n    expect(")

    code, page = proof(greeter, mutant="knows-one-word")

    assert code == 3
    assert "    grading had not ended after 2 s" in page


DRIVER = """
import sys
from pathlib import Path
from labkit.catalogue import read_lab
from labkit.proving import prove
from labkit.report import open_console
prove([read_lab(Path(sys.argv[1]))], mutant=None, whole=True, repeat=1, jobs=2, console=open_console())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_proof_that_is_ended_leaves_nothing(number, greeter):
    edit(greeter.grader / "test_word.py", "    expect(", "    bench.arena.sleep(600)\n    expect(")
    command = [sys.executable, "-c", DRIVER, str(greeter.folder)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: any(map(_running, _marks(greeter))), within_s=60)
        marks = _marks(greeter)

        child.send_signal(number)
        child.wait(60)

        _wait_for(lambda: not any(map(gradings._marked, marks)), within_s=30)
    finally:
        child.kill()


def _marks(lab: Lab) -> set[str]:
    """The marks of this very lab's gradings."""
    marks = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if str(lab.folder) in process.cmdline():
                marks.add(process.environ().get(gradings.MARK, ""))
    return marks - {""}


def _running(mark: str) -> bool:
    """Whether a submission runs there: the grading itself and its reaper are two processes."""
    return len(gradings._marked(mark)) >= 3


def _wait_for(condition: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s:g} s"
        time.sleep(0.1)
