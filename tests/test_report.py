"""What becomes of a result on its way to a reader: cleaned, cut, marked, and as JUnit's XML."""

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.catalogue import find_lab
from labkit.errors import UnknownName
from labkit.report import Console, Manner, open_console, show_result, to_junit
from labkit.report.brief import section, show_brief
from labkit.report.listing import hours
from labkit.report.untrusted import lines, one_line
from labkit.result import EvidenceRow, Result, Verdict

RESULTS = Path(__file__).parent / "transcripts" / "results"
BRIEF = """# Limiter

Why.

## Shared state

One budget.

```sh
# not a heading
```

### Keys

Let them expire.

## Reading
"""


def result(name: str) -> Result:
    return Result.from_json((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(graded: Result, manner: Manner = Manner()) -> str:  # noqa: B008 - frozen
    file = io.StringIO()
    show_result(graded, find_lab("rate-limiter"), open_console(file), manner)
    return file.getvalue()


class TestUntrustedText:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07shown", "shown"),
            ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]0;never ended", ""),
            ("\x1b[2J\x1b[H\x1bcgone", "gone"),
            ("\x9b31mC1", "C1"),
            ("a\r\nb\tc", "a  b c"),
            ("\x00\x08", "\ufffd\ufffd"),
            ("\u202egnp.exe", "\ufffdgnp.exe"),
            ("\udcff", "\ufffd"),
            ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
            ("  indented", "  indented"),
            ("größer ✓ 漢字", "größer ✓ 漢字"),
        ],
    )
    def test_is_one_harmless_line(self, text, clean):
        assert one_line(text) == clean

    def test_keeps_line_breaks_where_they_matter(self):
        assert lines("one\r\n\x1b[1mtwo\x1b[0m\n") == "one \ntwo"

    def test_is_cut_and_says_how_much_is_missing(self):
        assert one_line("x" * 1000, 10) == "xxxxxxxxxx ... (990 more characters)"

    @given(st.text())
    def test_never_holds_a_control_character(self, text):
        assert one_line(text).isprintable()


class TestTheReport:
    def test_says_inconclusive_is_not_held_against_the_learner(self):
        assert "? clocks-may-differ   inconclusive: this is not held against you" in shown(
            result("inconclusive")
        )

    def test_cuts_long_evidence_around_the_contradiction(self):
        text = shown(long_evidence(marked=60))

        assert "GET /60 " in text
        assert "GET /52 " in text
        assert "GET /51 " not in text
        assert "(52 earlier rows)" in text
        assert "(34 later rows)" in text

    def test_shows_all_evidence_when_told_to(self):
        text = shown(long_evidence(marked=60), Manner(verbose=True))

        assert all(f"GET /{number} " in text for number in range(100))

    def test_replays_with_the_options_that_the_grading_had(self):
        text = shown(result("failed"), Manner(options="--reference sliding-log"))

        assert text.count("--seed 7 --reference sliding-log") == 4

    def test_ends_with_the_replay_of_the_first_failure(self):
        last = shown(result("failed")).splitlines()[-1]

        replay = "grade rate-limiter --only a-missing-key-consumes-nothing --seed 7"
        assert last == f"next          {replay}"

    def test_never_tells_a_learner_that_the_kits_fault_is_theirs(self):
        text = shown(replace(result("failed"), verdict=Verdict.ERROR, message="a check broke"))

        assert "labkit is at fault, not you" in text.splitlines()[-1]

    @pytest.mark.parametrize(("minutes", "said"), [(480, "8"), (90, "1.5"), (45, "0.8")])
    def test_counts_hours(self, minutes, said):
        assert hours(minutes) == said


def long_evidence(*, marked: int) -> Result:
    rows = tuple(EvidenceRow(n / 10, "web-1", f"GET /{n} ", "200", mark=n == marked) for n in range(100))
    graded = result("failed")
    check = replace(next(c for c in graded.checks if c.id == "replicas-share-one-budget"), evidence=rows)
    return replace(graded, checks=(check,))


class TestJUnit:
    @pytest.mark.parametrize(
        "name", ["passed", "failed", "inconclusive", "not-started", "hostile", "own-fault"]
    )
    def test_counts_what_it_holds(self, name):
        suite = parsed(result(name))

        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for attribute, element in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            assert int(suite.attrib[attribute]) == len(suite.findall(f"testcase/{element}"))

    def test_has_a_case_for_each_check(self):
        case = parsed(result("passed")).find("testcase[@name='clocks-may-differ']")

        assert case is not None
        assert case.attrib["classname"] == "rate-limiter.replicas"
        assert case.attrib["time"] == "3.300"
        assert list(case) == []

    def test_tells_a_failure_in_the_words_of_the_terminal(self):
        failure = parsed(result("failed")).find("testcase[@name='replicas-share-one-budget']/failure")

        assert failure is not None
        assert failure.attrib["message"].startswith("expected 10 of 60 requests admitted")
        text = str(failure.text)
        assert "hint      each replica seems to keep a count of its own" in text
        assert "replay    grade rate-limiter --only replicas-share-one-budget --seed 7" in text
        assert ">    0.053 s  web-2  GET /api/ping key k-7f3  200, remaining 6" in text

    def test_counts_no_doubt_as_a_failure(self):
        suite = parsed(result("inconclusive"))

        skipped = suite.find("testcase[@name='clocks-may-differ']/skipped")
        assert skipped is not None
        assert skipped.attrib["message"].startswith("inconclusive: this machine cannot skew")
        assert (suite.attrib["failures"], suite.attrib["errors"]) == ("0", "0")
        assert suite.find("properties/property[@name='verdict']").attrib["value"] == "inconclusive"

    def test_reports_the_kits_own_fault_as_an_error(self):
        error = parsed(result("own-fault")).find("testcase[@name='grading']/error")

        assert error is not None
        assert "could not be run" in error.attrib["message"]

    @given(st.text(st.characters()))
    def test_is_well_formed_whatever_a_submission_says(self, text):
        graded = result("failed")
        checks = tuple(replace(check, observed=text, message=text, hint=text) for check in graded.checks)

        parsed(replace(graded, checks=checks, message=text))


def parsed(graded: Result) -> ElementTree.Element:
    return ElementTree.fromstring(to_junit(graded).encode())  # noqa: S314 - we wrote it


class TestABrief:
    @pytest.mark.parametrize("heading", ["Shared state", "shared-state", "SHARED STATE"])
    def test_is_shown_by_heading_with_what_is_below_it(self, heading):
        part = section(BRIEF, heading)

        assert part.startswith("## Shared state")
        assert "# not a heading" in part
        assert "### Keys" in part
        assert "Reading" not in part

    def test_ends_a_part_at_the_next_heading_of_its_level(self):
        assert section(BRIEF, "Keys").strip().splitlines() == ["### Keys", "", "Let them expire."]

    def test_suggests_a_heading(self):
        with pytest.raises(UnknownName) as error:
            section(BRIEF, "Shared stat")

        assert error.value.remedy == "did you mean shared-state?"

    def test_is_rendered(self):
        file = io.StringIO()

        show_brief(BRIEF, None, open_console(file))

        assert "##" not in file.getvalue()
        assert "One budget." in file.getvalue()

    @pytest.mark.parametrize(("height", "paged"), [(10, True), (100, False)])
    def test_is_paged_on_a_terminal_that_it_does_not_fit(self, height, paged, monkeypatch):
        pages: list[str] = []
        monkeypatch.setattr("click.echo_via_pager", pages.append)
        monkeypatch.setenv("TERM", "xterm")
        terminal = Terminal()

        show_brief(BRIEF, None, Console(file=terminal, width=80, height=height, force_terminal=True))

        assert ("One budget." in "".join(pages)) is paged
        assert ("One budget." in terminal.getvalue()) is not paged


@pytest.mark.parametrize("slug", ["rate-limiter"])
def test_every_reading_that_a_report_names_is_a_heading_of_the_brief(slug):
    brief = find_lab(slug).brief.read_text(encoding="utf-8")

    for name in readings(slug):
        assert section(brief, name).strip()


def readings(slug: str) -> set[str]:
    """The headings that the checks of a lab name, and the one for a submission that does not start."""
    sources = [*find_lab(slug).grader.glob("*.py"), Path(__file__).parents[1] / "labkit" / "judging.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    found = set(re.findall(r'reading="([^"]+)"', text))
    assert found
    return found
