"""Processes that do not listen, and outside parties that a lab's service calls, graded in a tiny lab.

The greeter gets a second role: a crier, who tells a town what it hears, and listens to nobody.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest

from labkit.catalogue import Lab, read_lab
from labkit.execution import Order, grade
from labkit.result import Result

CONTENT = Path(__file__).parent / "content"
CRIER = """
    import os, sys, time, urllib.request

    if os.environ["GREETING"] == "silence":
        sys.exit("no voice")
    while True:
        try:
            body = (os.environ["INSTANCE"] + os.environ.get("ADDRESSED_AS", "")).encode()
            urllib.request.urlopen(os.environ["TOWN_URL"], data=body, timeout=2).close()
        except OSError:
            pass
        time.sleep(0.01)
"""
BENCH = """
    import os, pathlib

    from labkit import Reply, Setup

    class Town:
        def __init__(self, loop, clock):
            self.heard = []

        async def answer(self, call):
            self.heard.append(call)
            return Reply(200)

    class Archive:
        def __init__(self, services, chance):
            self.file = os.environ.get("ARCHIVE")

        def close(self):
            if self.file:
                pathlib.Path(self.file).write_text("closed")

    def setup(greeting="moin", **more):
        replicas, settings = {"web": 1, "crier": 2}, {"GREETING": greeting}
        return Setup(
            replicas=replicas, settings=settings, outsiders={"TOWN_URL": Town}, prepare=Archive, **more
        )

    ARENAS = {"only": setup(exclusive=True), "silent": setup("silence")}

    class Bench:
        def __init__(self, arena, chance):
            self.arena = arena
            self.town = arena.outsiders["TOWN_URL"]

        def hears(self, process, within=10):
            known = len(self.town.heard)
            return self.arena.wait_for(
                lambda: process in {call.process for call in self.town.heard[known:]}, within=within
            )
"""
HEAD = """
from labkit import check, expect
from labkit.errors import SubmissionError
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    folder = tmp_path / "content"
    shutil.copytree(CONTENT, folder)
    facts = folder / "labs/greeter/lab.toml"
    facts.write_text(facts.read_text() + "\n[roles.crier]\nrequired = false\nlistens = false\n")
    lab = read_lab(folder / "labs/greeter")
    reference = lab.reference("polite")
    (reference / "crier.py").write_text(textwrap.dedent(CRIER))
    manifest = reference / "lab.toml"
    web = 'web = "python app.py"\n'
    manifest.write_text(manifest.read_text().replace(web, web + 'crier = "python crier.py"\n'))
    (lab.grader / "bench.py").write_text(textwrap.dedent(BENCH))
    (lab.grader / "test_name.py").write_text(HEAD)
    return lab


def graded(lab: Lab, checks: str) -> Result:
    (lab.grader / "test_word.py").write_text(HEAD + textwrap.dedent(checks))
    return grade(
        Order(lab=lab, submission_folder=lab.reference("polite"), reference=True, provider="embedded")
    )


def test_processes_that_do_not_listen_are_known_by_what_they_do(lab):
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_is_heard(bench):
            """Each crier is heard, at its own address."""
            expect(bench.hears("crier-1") and bench.hears("crier-2"), equals=True)
            bodies = {(call.process, call.body.decode()) for call in bench.town.heard}
            expect(bodies, equals={("crier-1", "crier-1"), ("crier-2", "crier-2")})
            bench.arena.expect_running("crier-1")
        ''',
    )

    assert [check.message for check in result.checks] == [None]


def test_a_frozen_process_is_silent_and_the_next_check_finds_it_well(lab):
    result = graded(
        lab,
        '''
        @check(points=50, kills=[], arena="only")
        def test_freezes(bench):
            """What is frozen is silent; the others go on."""
            bench.arena.pause("crier-1")
            expect(bench.hears("crier-1", within=0.3), equals=False)
            expect(bench.hears("crier-2"), equals=True)
            told = [row.what for row in bench.arena.timeline(0, bench.arena.clock())]
            expect(told[-1], equals="frozen with SIGSTOP")

        @check(points=50, kills=[], arena="only")
        def test_is_well(bench):
            """It was let go on."""
            expect(bench.hears("crier-1"), equals=True)
        ''',
    )

    assert [check.message for check in result.checks] == [None, None]


def test_a_setting_may_change_between_two_lives_of_a_process(lab):
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_is_renamed(bench):
            """Who is started again goes by the new setting, who is not does not."""
            bench.arena.change({"ADDRESSED_AS": " the Second"})
            bench.arena.kill("crier-1")
            bench.arena.start("crier-1")
            known = len(bench.town.heard)
            expect(bench.hears("crier-1") and bench.hears("crier-2"), equals=True)
            bodies = {(call.process, call.body.decode()) for call in bench.town.heard[known:]}
            expect(bodies, equals={("crier-1", "crier-1 the Second"), ("crier-2", "crier-2")})
        ''',
    )

    assert [check.message for check in result.checks] == [None]


def test_what_was_prepared_is_closed_at_the_end(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHIVE", str(tmp_path / "archive"))
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_is_open(bench):
            """It is open as long as the arena is."""
            import os
            expect(os.path.exists(bench.arena.prepared.file), equals=False)
        ''',
    )

    assert [check.message for check in result.checks] == [None]
    assert (tmp_path / "archive").read_text() == "closed"


def test_a_stage_of_two_words_has_its_checks_in_a_file_of_two_words(lab):
    facts = lab.folder / "lab.toml"
    facts.write_text(facts.read_text() + '\n[[stages]]\nname = "good-night"\ntitle = "Farewells"\n')
    (lab.grader / "test_good_night.py").write_text(
        HEAD + '@check(points=0, kills=[], arena="only")\ndef test_leaves(bench):\n    """It leaves."""\n'
    )
    result = graded(read_lab(lab.folder), "")

    assert [check.stage for check in result.checks if check.id == "leaves"] == ["good-night"]


def test_an_outside_party_that_refuses_is_called_in_vain(lab):
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_refuses(bench):
            """A town may close its gates to one crier."""
            expect(bench.hears("crier-1"), equals=True)
            entrance = bench.arena.entrance("crier-1", "TOWN_URL")
            entrance.refuse()
            expect(bench.hears("crier-1", within=0.3), equals=False)
            expect(bench.hears("crier-2"), equals=True)
            entrance.open()
            expect(bench.hears("crier-1"), equals=True)
        ''',
    )

    assert [check.message for check in result.checks] == [None]


def test_a_process_that_ends_by_itself_is_told_with_its_last_lines(lab):
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="silent")
        def test_runs(bench):
            """A crier has a voice."""
            bench.arena.wait_for(lambda: not bench.arena.processes["crier-1"].running, within=10)
            bench.arena.expect_running("crier-1")
        ''',
    )

    (check,) = result.checks
    assert str(check.verdict) == "failed"
    assert check.expected == "a process that runs until it is told to stop"
    assert check.observed == "crier-1 ended by itself: exit code 1"
    assert [row.what for row in check.evidence] == ["no voice"]


def test_a_role_that_a_lab_does_not_ask_for_may_be_left_out(lab):
    manifest = lab.reference("polite") / "lab.toml"
    manifest.write_text(manifest.read_text().replace('crier = "python crier.py"\n', ""))
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_is_alone(bench):
            """Only what there is has been started."""
            expect(list(bench.arena.processes), equals=["web-1"])
        ''',
    )

    assert [check.message for check in result.checks] == [None]


def test_a_broken_outside_party_is_never_the_submissions_fault(lab):
    bench = lab.grader / "bench.py"
    bench.write_text(bench.read_text().replace("self.heard.append(call)", "self.lost.append(call)"))
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_hears(bench):
            """Somebody is heard."""
            bench.arena.wait_for(lambda: bench.arena.fault is not None, within=10)
            expect(bench.hears("crier-1", within=0.1), equals=True)
        ''',
    )

    (check,) = result.checks
    assert str(check.verdict) == "inconclusive"
    assert "no attribute 'lost'" in (check.message or "")


def test_a_migration_leaves_no_way_behind_that_a_fault_could_meet(lab):
    manifest = lab.reference("polite") / "lab.toml"
    migrate = 'migrate = "true"\n'
    manifest.write_text(manifest.read_text().replace("[processes]\n", f"[processes]\n{migrate}"))
    result = graded(
        lab,
        '''
        @check(points=100, kills=[], arena="only")
        def test_has_gone(bench):
            """Entrances are those of the processes that run."""
            known = {process for process, _ in bench.arena.entrances}
            expect(known, equals=set(bench.arena.processes))
        ''',
    )

    assert [check.message for check in result.checks] == [None]
