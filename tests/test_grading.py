"""How checks become verdicts, on the smallest lab there is: a service that needs no service.

Each test writes the checks that it wants to see graded into a copy of tests/content's greeter.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from labkit import judging
from labkit.catalogue import Lab, read_lab
from labkit.errors import LabkitError
from labkit.execution import Order, PlannedCheck, Silent, grade, planned_checks
from labkit.result import CheckResult, Result, Verdict

CONTENT = Path(__file__).parent / "content"
BENCH = """
    from labkit import Setup

    ARENAS = {
        "only": Setup(replicas={"web": 1}, settings={"GREETING": "moin"}),
        "broken": Setup(replicas={"web": 1}, settings={"GREETING": "moin"}, exclusive=True),
    }

    class Bench:
        def __init__(self, arena, chance):
            self.arena = arena
            self.chance = chance
"""
HEAD = """
import time
from pathlib import Path
from labkit import CheckFailed, EvidenceRow, Inconclusive, Request, check, expect
from labkit.errors import FaultUnavailable, ServiceError

def note(text):
    with Path(__file__).with_name("notes").open("a") as notes:
        notes.write(text + "\\n")
"""
PASSES = '''
    @check(points=1, kills=[], arena="only")
    def test_passes(bench):
        """All is well."""
'''


class Log(Silent):
    """A watcher that remembers, and that wants to be called from one thread."""

    def __init__(self) -> None:
        self.finished_ids: list[str] = []
        self.started_ids: list[str] = []
        self._thread = threading.current_thread()

    def started(self, id: str) -> None:
        assert threading.current_thread() is self._thread
        self.started_ids.append(id)

    def finished(self, check: CheckResult) -> None:
        assert threading.current_thread() is self._thread
        self.finished_ids.append(check.id)


class Greeter:
    """A copy of the lab whose checks a test writes."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(CONTENT, folder)
        self.lab: Lab = read_lab(folder / "labs/greeter")
        self.submission = self.lab.reference("polite")
        self.log = Log()
        self.write(bench=BENCH, word="", name="")

    def write(self, *, bench: str | None = None, word: str | None = None, name: str | None = None) -> None:
        if bench is not None:
            (self.lab.grader / "bench.py").write_text(textwrap.dedent(bench))
        for stage, checks in (("word", word), ("name", name)):
            if checks is not None:
                (self.lab.grader / f"test_{stage}.py").write_text(HEAD + textwrap.dedent(checks))

    def grade(self, **order: object) -> Result:
        self.log = Log()
        return grade(
            Order(
                lab=self.lab,
                submission_folder=self.submission,
                reference=True,
                provider="embedded",
                **order,  # type: ignore[arg-type]
            ),
            self.log,
        )

    @property
    def notes(self) -> list[str]:
        """What checks wrote with `note`, in order; only of the stage "word"."""
        return (self.lab.grader / "notes").read_text().splitlines()


@pytest.fixture
def greeter(tmp_path: Path) -> Greeter:
    return Greeter(tmp_path / "content")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in doubt here stays in doubt, however long it is waited for."""
    monkeypatch.setattr(judging, "PAUSES_S", (0.01,) * len(judging.PAUSES_S))


def verdicts(result: Result) -> dict[str, str]:
    return {check.id: str(check.verdict) for check in result.checks}


def one(checks: Sequence[CheckResult], id: str) -> CheckResult:
    return next(check for check in checks if check.id == id)


def test_how_a_check_ends_is_its_verdict(greeter):
    greeter.write(
        word='''
        @check(points=40, kills=[], arena="only")
        def test_passes(bench):
            """All is well."""
            expect(bench.arena.send(Request("web-1", "/you")).body, equals=b"moin, you")

        @check(points=30, kills=[], arena="only")
        def test_fails(bench):
            """Two is
            three."""
            row = EvidenceRow(at=1.0, who="web-1", what="GET /", mark=True)
            expect(2, equals=3, unit="of 5", hints={2: "one too few"}, evidence=[row], reading="Words")

        @check(points=10, kills=[], arena="only")
        def test_has_its_doubts(bench):
            """The machine gets in the way."""
            note("doubt")
            raise Inconclusive("a cable is loose")

        @check(points=10, kills=[], arena="only")
        def test_misses_a_service(bench):
            """A service of the kit gets in the way."""
            raise ServiceError("Redis is on holiday")

        @check(points=10, kills=[], arena="only")
        def test_cannot_do_its_fault(bench):
            """The provider gets in the way."""
            raise FaultUnavailable("nothing can be paused here")
        '''
    )

    result = greeter.grade(seed=7)

    assert verdicts(result) == {
        "passes": "passed",
        "fails": "failed",
        "has-its-doubts": "inconclusive",
        "misses-a-service": "inconclusive",
        "cannot-do-its-fault": "inconclusive",
    }
    assert (result.verdict, result.exit_code, result.score, result.max_score) == (Verdict.FAILED, 1, 40, 100)
    failed = one(result.checks, "fails")
    assert failed.title == "Two is three."
    assert (failed.expected, failed.observed, failed.hint) == ("3 of 5", "2 of 5", "one too few")
    assert failed.message == "expected 3 of 5; observed 2 of 5"
    assert (failed.evidence[0].who, failed.evidence[0].mark, failed.reading) == ("web-1", True, "Words")
    assert failed.replay == "grade greeter --only fails --seed 7"
    assert [check.points for check in result.checks if check.verdict is Verdict.INCONCLUSIVE] == [0, 0, 0]
    assert one(result.checks, "misses-a-service").message == "Redis is on holiday"
    assert one(result.checks, "cannot-do-its-fault").message == "nothing can be paused here"
    assert len(greeter.notes) > 1, "what got in the way may pass: it is tried again"
    assert sorted(greeter.log.finished_ids) == sorted(greeter.log.started_ids) == sorted(verdicts(result))


def test_a_doubt_that_passes_is_no_doubt(greeter):
    greeter.write(
        word='''
        @check(points=1, kills=[], arena="only")
        def test_passes_at_last(bench):
            """The machine gets in the way for a moment."""
            note("try")
            if Path(__file__).with_name("notes").read_text().count("try") < 2:
                raise Inconclusive("a cable is loose")
        '''
    )

    assert greeter.grade().verdict is Verdict.PASSED


def test_each_try_has_a_bench_of_its_own(greeter):
    """Otherwise what raised the first doubt would raise the last one as well."""
    greeter.write(
        word='''
        @check(points=1, kills=[], arena="only")
        def test_is_new(bench):
            """Nobody has used this bench."""
            note(str(getattr(bench, "used", False)))
            bench.used = True
            raise Inconclusive("a cable is loose")
        '''
    )

    greeter.grade()

    assert set(greeter.notes) == {"False"}


def test_a_doubt_leaves_the_grading_open(greeter):
    greeter.write(
        word=PASSES,
        name='''
        @check(points=1, kills=[], arena="only")
        def test_has_its_doubts(bench):
            """The machine gets in the way."""
            raise Inconclusive("a cable is loose")
        ''',
    )

    result = greeter.grade()

    assert (result.verdict, result.exit_code) == (Verdict.INCONCLUSIVE, 2)


@pytest.mark.parametrize("fault", ["1 / 0", "assert 1 == 2", "bench.arena.processes['web-9']", "Setup"])
def test_a_check_that_breaks_is_never_the_learners_fault(greeter, fault):
    greeter.write(
        word=f'''
        @check(points=1, kills=[], arena="only")
        def test_breaks(bench):
            """The author of the check made a mistake."""
            {fault}

        @check(points=1, kills=[], arena="only")
        def test_fails(bench):
            """Two is three."""
            expect(2, equals=3)
        '''
    )

    result = greeter.grade()

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 3)
    broken = one(result.checks, "breaks")
    assert broken.verdict is Verdict.INCONCLUSIVE
    assert broken.message.startswith("the check itself broke: ")
    assert result.message.startswith("breaks: ")
    assert "test_word.py:" in result.message


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"word": "import nothing_of_this_name"}, "nothing_of_this_name"),
        ({"word": "def test_(:"}, "test_word.py"),
        ({"word": PASSES.replace("only", "olny")}, "olny"),
        ({"word": PASSES, "bench": BENCH.replace("self.chance =", "self.missing +=")}, "missing"),
        ({"word": PASSES, "bench": "1 / 0"}, "division by zero"),
    ],
    ids=["import", "syntax", "arena", "bench", "module of the bench"],
)
def test_a_grader_that_cannot_be_used_is_the_kits_own_fault(greeter, part, words):
    greeter.write(**part)

    with pytest.raises(LabkitError, match=words) as caught:
        greeter.grade()

    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [("expect(1, equals=2)", "failed"), ("raise Inconclusive('a cable is loose')", "inconclusive")],
)
def test_nothing_is_judged_unless_the_gate_opens(greeter, ending, verdict):
    """Where nothing answers, each of the others would wait for all of its deadlines."""
    greeter.write(
        word=f'''
        @check(points=1, kills=[], arena="only", gate=True)
        def test_gate(bench):
            """It answers at all."""
            {ending}

        @check(points=1, kills=[], arena="only")
        def test_waits(bench):
            """Something that takes long."""
            bench.arena.sleep(60)

        @check(points=1, kills=[], arena="broken")
        def test_waits_elsewhere(bench):
            """Something that takes long in another arena."""
            bench.arena.sleep(60)
        '''
    )

    result = greeter.grade()

    assert verdicts(result) == {"gate": verdict, "waits": "skipped", "waits-elsewhere": "skipped"}
    assert one(result.checks, "waits").message == "gate has to pass first"
    assert result.duration_s < 60


NEEDY = '''
    @check(points=1, kills=[], arena="only")
    def test_first(bench):
        """What the others rest on."""
        bench.arena.sleep(0.5)
        {first}

    @check(points=1, kills=[], arena="only", needs="first")
    def test_second(bench):
        """What says nothing alone."""
        expect(2, equals=3)
'''


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("expect(1, equals=2)", "skipped"),
        ("pass", "failed"),
        ("raise Inconclusive('a cable is loose')", "failed"),
    ],
)
def test_a_check_is_held_back_until_the_one_it_needs_is_done(greeter, first, second):
    greeter.write(word=NEEDY.format(first=first), name=PASSES)

    result = greeter.grade()

    assert verdicts(result)["second"] == second
    assert verdicts(result)["passes"] == "passed"
    assert greeter.log.finished_ids.index("first") < greeter.log.finished_ids.index("second")
    if second == "skipped":
        assert one(result.checks, "second").message == "first has to pass first"


def test_a_failure_among_those_held_back_leaves_out_the_rest_of_them(greeter):
    """All that waited for the same check are given out at once: the first may end the grading."""
    greeter.write(
        word=NEEDY.format(first="pass"),
        name=NEEDY.replace("test_first", "test_other")
        .replace("test_second", "test_third")
        .replace("sleep(0.5)", "sleep(30)")
        .format(first=""),
    )

    result = greeter.grade(keep_going=False)

    assert verdicts(result) == {
        "first": "passed",
        "second": "failed",
        "other": "skipped",
        "third": "skipped",
    }


def test_one_check_alone_needs_no_other(greeter):
    greeter.write(word=NEEDY.format(first="pass"), name=PASSES)

    result = greeter.grade(only=("second",))

    assert verdicts(result) == {"second": "failed"}
    assert greeter.log.started_ids == ["second"]


def test_only_arenas_of_the_checks_asked_for_are_opened(greeter):
    greeter.write(
        bench="""
            from pathlib import Path
            from labkit import Setup

            def opened(name):
                def prepare(services, chance):
                    with Path(__file__).with_name("notes").open("a") as notes:
                        notes.write(name + "\\n")

                return Setup(replicas={"web": 1}, settings={"GREETING": "moin"}, prepare=prepare)

            ARENAS = {name: opened(name) for name in ("only", "broken", "spare")}

            class Bench:
                def __init__(self, arena, chance):
                    pass
        """,
        word=NEEDY.format(first="pass"),
        name=PASSES.replace('"only"', '"broken"')
        + PASSES.replace("passes", "other").replace("only", "spare"),
    )

    assert verdicts(greeter.grade(only=("second", "passes"))) == {"second": "failed", "passes": "passed"}
    assert sorted(greeter.notes) == ["broken", "only"]


@pytest.mark.parametrize(("keep_going", "later"), [(True, "passed"), (False, "skipped")])
def test_whether_stages_after_a_failure_are_run(greeter, keep_going, later):
    greeter.write(
        word='''
        @check(points=1, kills=[], arena="only")
        def test_fails(bench):
            """Two is three."""
            expect(2, equals=3)

        @check(points=1, kills=[], arena="only")
        def test_takes_its_time(bench):
            """A check of the same stage, which ends after the failure."""
            bench.arena.sleep(0.3)
        ''',
        name='''
        @check(points=1, kills=[], arena="only")
        def test_comes_later(bench):
            """A check of the next stage."""
            bench.arena.sleep(0.6)
        ''',
    )

    result = greeter.grade(keep_going=keep_going)

    assert verdicts(result) == {"fails": "failed", "takes-its-time": "passed", "comes-later": later}
    if not keep_going:
        assert one(result.checks, "comes-later").message == "the stage word comes first"


def test_checks_wait_at_the_same_time(greeter):
    check = '''
    @check(points=1, kills=[], arena="only")
    def test_waits_{number}(bench):
        """Something that takes a second."""
        bench.arena.sleep(1)
    '''
    greeter.write(word="".join(check.format(number=number) for number in range(8)))

    result = greeter.grade()

    assert result.verdict is Verdict.PASSED
    assert 1.0 < result.critical_path_s < 5.0
    assert result.duration_s < result.critical_path_s + 4.0


def test_what_breaks_things_runs_alone_and_is_healed_in_between(greeter):
    check = '''
    @check(points=1, kills=[], arena="broken")
    def test_kills_{number}(bench):
        """A check that leaves its process dead."""
        note("begin")
        expect(bench.arena.send(Request("web-1", "/you")).status, equals=200)
        bench.arena.kill("web-1")
        expect(bench.arena.send(Request("web-1", "/you")).failure, equals="connection refused")
        bench.arena.sleep(0.4)
        note("end")
    '''
    greeter.write(word="".join(check.format(number=number) for number in range(3)))

    result = greeter.grade()

    assert result.verdict is Verdict.PASSED
    assert greeter.notes == ["begin", "end"] * 3
    assert greeter.log.finished_ids == ["kills-0", "kills-1", "kills-2"]
    assert result.critical_path_s > 1.2


def test_what_breaks_things_in_a_shared_arena_waits_for_the_others(greeter):
    kills = '''
    @check(points=1, kills=[], arena="only", alone=True)
    def test_kills_{number}(bench):
        """A check that leaves its process dead."""
        note("begin")
        expect(bench.arena.send(Request("web-1", "/you")).status, equals=200)
        bench.arena.kill("web-1")
        note("end")
    '''
    asks = '''
    @check(points=1, kills=[], arena="only")
    def test_asks_{number}(bench):
        """A check that lives with others."""
        bench.arena.sleep(0.3)
        expect(bench.arena.send(Request("web-1", "/you")).status, equals=200)
        note("asked")
    '''
    parts = [check.format(number=number) for number in range(2) for check in (kills, asks)]
    greeter.write(word="".join(parts))

    result = greeter.grade()

    assert result.verdict is Verdict.PASSED
    assert greeter.notes == ["asked"] * 2 + ["begin", "end"] * 2


def test_a_seed_repeats_what_was_drawn_and_each_check_draws_for_itself(greeter):
    check = '''
    @check(points=1, kills=[], arena="only")
    def test_draws_{name}(bench):
        """Names of clients."""
        note("{name} " + str(bench.chance.randrange(10**9)))
    '''
    greeter.write(word=check.format(name="one") + check.format(name="two"))
    greeter.grade(seed=1)
    greeter.grade(seed=1, only=("draws-one",))
    greeter.grade(seed=2, only=("draws-one",))

    drawn = [line.split() for line in greeter.notes]
    first = dict(drawn[:2])
    assert first["one"] != first["two"]
    assert drawn[2] == ["one", first["one"]]
    assert drawn[3][1] != first["one"]


def test_gradings_in_one_process_do_not_see_each_other(tmp_path):
    """The same names of files and checks, in two places and with other contents."""
    one, two = Greeter(tmp_path / "one"), Greeter(tmp_path / "two")
    one.write(word=PASSES)
    two.write(word=PASSES + "        expect(2, equals=3)\n", bench=BENCH.replace("self.chance", "self.luck"))

    assert one.grade().verdict is Verdict.PASSED
    assert two.grade().verdict is Verdict.FAILED
    assert one.grade().verdict is Verdict.PASSED


def test_a_submission_that_does_not_start_fails_once_with_its_last_words(greeter):
    greeter.write(word=PASSES, name=PASSES.replace("passes", "also"))
    (greeter.submission / "app.py").write_text("print('one')\nraise SystemExit('no config')\n")

    result = greeter.grade()

    assert (result.verdict, result.exit_code, result.score) == (Verdict.FAILED, 1, 0)
    assert verdicts(result) == {"passes": "failed", "also": "skipped"}
    failed = result.checks[0]
    assert failed.message == "web-1 ended by itself before it answered /healthz: exit code 1"
    assert [row.what for row in failed.evidence] == ["one", "no config"]
    assert result.checks[1].message == "the service has to start first"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("[setup]\ncommand = \"python -c 'raise SystemExit(4)'\"\n", "setup failed: exit code 4"),
        (
            "migrate = \"python -c 'import os; os.kill(os.getpid(), 9)'\"\n",
            "migrate failed: killed by SIGKILL",
        ),
    ],
)
def test_setup_and_migrations_have_to_succeed(greeter, manifest, words):
    greeter.write(word=PASSES)
    path = greeter.submission / "lab.toml"
    text = path.read_text()
    head, _, rest = text.partition("[processes]\n")
    setup = manifest if manifest.startswith("[setup]") else ""
    path.write_text(f"{head}{setup}[processes]\n{'' if setup else manifest}{rest}")

    result = greeter.grade()

    assert result.exit_code == 1
    assert result.checks[0].message == words


def test_the_plan_is_in_the_order_of_the_stages(greeter):
    greeter.write(word=PASSES, name=PASSES.replace("passes", "before") + PASSES.replace("passes", "after"))

    planned = planned_checks(greeter.lab)

    assert [(check.stage, check.id) for check in planned] == [
        ("word", "passes"),
        ("name", "before"),
        ("name", "after"),
    ]
    assert isinstance(planned[0], PlannedCheck)
    assert planned_checks(greeter.lab, stage="name") == planned[1:]


def test_a_user_who_stops_a_grading_gets_no_verdict(greeter, monkeypatch):
    greeter.write(
        word='''
        @check(points=1, kills=[], arena="only")
        def test_waits(bench):
            """Something that takes long."""
            bench.arena.sleep(60)
        '''
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Log, "started", interrupt)
    with pytest.raises(KeyboardInterrupt):
        greeter.grade()


STUCK = """
    @check(points=1, kills=[], arena="broken")
    def test_heeds_nothing(bench):
        '''It never returns.'''
        note("stuck")
        while True:
            time.sleep(0.01)
"""
FAILS = """
    @check(points=1, kills=[], arena="only", gate=True)
    def test_fails(bench):
        '''The others are not run; the one that is stuck has begun.'''
        while not Path(__file__).with_name("notes").exists():
            time.sleep(0.01)
        expect("none", equals="moin")
"""
HURRIED = """
import runpy
from labkit import schedule
schedule.SILENCE_S, schedule.CLOSING_S = 4.0, 0.5
runpy.run_module("labkit.proving.grading", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("other", [PASSES, FAILS], ids=["waited-for", "not-wanted-any-more"])
def test_a_check_that_is_stuck_is_the_kits_own_fault_and_leaves_nothing(greeter, tmp_path, other):
    greeter.write(word=STUCK + other)
    (temp := tmp_path / "temp").mkdir()
    arguments = (greeter.lab.folder, greeter.submission, "embedded", "7", tmp_path / "result")

    ended = subprocess.run(
        [sys.executable, "-c", HURRIED, *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "TMPDIR": str(temp)},
    )

    assert b"labkit itself is stuck in heeds-nothing, your work is not to blame" in ended.stderr
    assert ended.returncode == 3
    assert greeter.notes == ["stuck"]
    assert list(temp.iterdir()) == []
    assert not (tmp_path / "result").exists()
    assert not [one for one in psutil.process_iter(["environ"]) if str(temp) in str(one.info["environ"])]


def test_the_users_own_pytest_settings_are_left_out(greeter, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing --no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    (greeter.lab.grader / "conftest.py").write_text("raise SystemExit('never read')")
    (greeter.lab.grader.parent / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    greeter.write(word=PASSES)

    assert verdicts(greeter.grade()) == {"passes": "passed"}
