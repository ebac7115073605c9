"""How `grade` and `lab` are called: arguments, files, exit codes, and what is said when it goes wrong."""

import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from labkit import execution
from labkit.catalogue import find_lab
from labkit.cli.ending import exit_code
from labkit.cli.grade import grade
from labkit.cli.kept import keep, kept
from labkit.cli.lab import lab
from labkit.errors import SubmissionError
from labkit.reaper import TAG
from labkit.result import Result, SubmissionInfo, Verdict

MANIFEST = """
lab = "rate-limiter"

[processes]
web = "python -m app"

[options]
algorithm = "token-bucket"
on_redis_outage = "open"
"""
PASSED = Result(
    lab="rate-limiter",
    kit_version="0.1.0",
    provider="embedded",
    seed=7,
    submission=SubmissionInfo(path="/somewhere", digest="sha256:00"),
    started_at="2026-05-04T10:00:00+00:00",
    duration_s=9.1,
    critical_path_s=7.9,
    verdict=Verdict.PASSED,
    score=100,
    max_score=100,
)


class Gradings:
    """In the place of `execution.grade`: keeps the orders and answers all with `result`."""

    def __init__(self, result: Result | BaseException) -> None:
        self.result = result
        self.orders: list[execution.Order] = []

    def __call__(self, order, watcher):  # noqa: ARG002 - has nothing to watch
        self.orders.append(order)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture
def gradings(monkeypatch, submission):  # noqa: ARG001 - there is one to grade
    gradings = Gradings(PASSED)
    monkeypatch.setattr(execution, "grade", gradings)
    return gradings


@pytest.fixture
def submission(tmp_path, monkeypatch):
    """A folder with a lab.toml, which is also where we are."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "lab.toml").write_text(MANIFEST)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((), "mine"),
        (("rate-limiter",), "mine"),
        (("..",), None),
        (("../mine",), "mine"),
        (("rate-limiter", "."), "mine"),
        (("rate-limiter", "../mine"), "mine"),
    ],
)
def test_lab_and_path_may_be_left_out_or_given(arguments, where, gradings, submission):
    code = exit_code(grade, arguments)

    assert code == (0 if where else 3)
    assert [order.submission_folder for order in gradings.orders] == ([submission] if where else [])


def test_a_single_argument_without_a_slash_may_be_a_folder(gradings, submission, monkeypatch):
    monkeypatch.chdir(submission.parent)

    assert exit_code(grade, ["mine"]) == 0

    assert gradings.orders[0].submission_folder == submission


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("rate-limiter", "--reference"), None),
        (("--reference", "rate-limiter"), None),
        (("rate-limiter", "--reference", "token-bucket"), "token_bucket"),
        (("rate-limiter", "--reference", "token_bucket"), "token_bucket"),
        (("rate-limiter", "--reference", "--only", "x"), None),
    ],
)
def test_a_reference_is_graded_by_name_or_the_first(arguments, name, gradings):
    assert exit_code(grade, arguments) == 0

    order = gradings.orders[0]
    references = find_lab("rate-limiter").references
    assert order.reference
    assert order.submission_folder == (
        next(iter(references.values())) if name is None else references[name.replace("_", "-")]
    )


def test_options_reach_the_grading(gradings):
    exit_code(
        grade, ["--only", "a", "--stage", "b", "--seed", "42", "--services", "embedded", "--keep-going"]
    )

    order = gradings.orders[0]
    assert (order.only, order.stage, order.seed, order.provider, order.keep_going) == (
        ("a",),
        "b",
        42,
        "embedded",
        True,
    )


def test_a_seed_is_drawn_where_none_is_given(gradings):
    for _ in range(5):
        exit_code(grade, [])

    assert len({order.seed for order in gradings.orders}) > 1


@pytest.mark.parametrize(
    ("on_terminal", "arguments", "keep_going"),
    [
        (True, [], False),
        (True, ["--keep-going"], True),
        (True, ["--json", "out.json"], True),
        (True, ["--junit", "out.xml"], True),
        (False, [], True),
    ],
)
def test_a_terminal_stops_after_the_first_failing_stage(
    on_terminal, arguments, keep_going, gradings, monkeypatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)

    exit_code(grade, arguments)

    assert gradings.orders[0].keep_going is keep_going


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.PASSED, 0), (Verdict.FAILED, 1), (Verdict.INCONCLUSIVE, 2), (Verdict.ERROR, 3)],
)
def test_the_exit_code_is_the_verdict(verdict, code, gradings):
    gradings.result = replace(PASSED, verdict=verdict)

    assert exit_code(grade, []) == code


@pytest.mark.usefixtures("gradings")
def test_json_on_stdout_is_all_there_is_on_stdout(capfdbinary):
    exit_code(grade, ["--json", "-"])

    printed = capfdbinary.readouterr()
    assert json.loads(printed.out)["schema"] == "labkit.result/v1"
    assert b"100 of 100" in printed.err or b"nothing was graded" in printed.err


@pytest.mark.usefixtures("gradings")
def test_files_are_written():
    exit_code(grade, ["--json", "out.json", "--junit", "out.xml"])

    assert Result.from_json(Path("out.json").read_text()) == PASSED
    assert ElementTree.parse("out.xml").getroot().tag == "testsuite"  # noqa: S314 - we wrote it


@pytest.mark.usefixtures("gradings")
def test_a_file_that_cannot_be_written_is_said_after_the_report(capsys):
    code = exit_code(grade, ["--json", "no/such/folder/out.json"])

    printed = capsys.readouterr()
    assert code == 3
    assert "cannot write no/such/folder/out.json: No such file or directory" in printed.err
    assert "passed" in printed.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reference"], "which lab's reference?"),
        (["rate-limiter", ".", "--reference"], "a reference has its own folder"),
        (["rate-limter"], "did you mean rate-limiter?"),
        (["--stagee", "x"], "'--stage'"),
        (["--services", "podman"], "'podman' is not one of"),
        (["--seed", "x"], "'x' is not a valid integer"),
        (["a", "b", "c"], "unexpected extra argument"),
        (["/nowhere"], "there is no folder /nowhere"),
        (["--list", "/nowhere"], "there is no lab '/nowhere'"),
    ],
)
def test_wrong_use_ends_with_3_and_says_what_to_do(arguments, said, gradings, capsys):
    code = exit_code(grade, arguments)

    printed = capsys.readouterr()
    assert code == 3
    assert said in printed.err
    assert not printed.out
    assert not gradings.orders


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "Did you mean 'list'?"),
        (["brief", "rate-limter"], "did you mean rate-limiter?"),
        (["new", "rate-limiter", "a", "b"], "one folder, please, not 2: a, b"),
        (["new", "rate-limiter", "x", "projct_name=y"], "did you mean project_name or project_slug?"),
        (["prove", "--job", "1"], "Did you mean '--jobs'?"),
    ],
)
def test_wrong_use_of_lab_ends_with_3(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert exit_code(lab, arguments) == 3

    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("gradings")
def test_grading_beside_the_folder_instead_of_in_it_is_a_slip(submission, monkeypatch, capsys):
    submission.rename(submission.parent / "rate-limiter")
    monkeypatch.chdir(submission.parent)

    assert exit_code(grade, ["rate-limiter"]) == 3

    assert "did you mean grade ./rate-limiter?" in capsys.readouterr().err


def test_checks_of_an_unknown_name_are_suggested(capsys):
    assert exit_code(grade, ["rate-limiter", "--list", "--only", "replica-share-one-budget"]) == 3
    assert exit_code(grade, ["rate-limiter", "--list", "--stage", "race"]) == 3

    said = capsys.readouterr().err
    assert "did you mean replicas-share-one-budget" in said
    assert "did you mean races" in said


def test_the_list_adds_up_to_100_points(capsys):
    assert exit_code(grade, ["rate-limiter", "--list"]) == 0

    assert ", 100 points" in capsys.readouterr().out


def test_a_submission_that_fails_to_start_is_shown_with_its_last_lines(gradings, capsys):
    gradings.result = SubmissionError(
        "the setup ended with code 1", remedy="try it by hand", output=["\x1b[31mboom\x1b[0m", "[red]bang"]
    )

    assert exit_code(grade, []) == 1

    assert capsys.readouterr().err.splitlines() == [
        "grade: the setup ended with code 1",
        "  its last lines:",
        "  │ boom",
        "  │ [red]bang",
        "  try it by hand",
    ]


def test_a_fault_of_the_kit_is_no_fault_of_the_learner(gradings, capsys):
    gradings.result = RuntimeError("out of cheese")

    assert exit_code(grade, ["--seed", "7"]) == 3

    said = capsys.readouterr().err
    assert "labkit itself failed, your work is not to blame: RuntimeError: out of cheese" in said
    assert "run `grade -v --seed 7` and report what it prints" in said
    assert "Traceback" not in said


def test_a_fault_of_the_kit_has_a_traceback_with_v(gradings, capsys):
    gradings.result = RuntimeError("out of cheese")

    assert exit_code(grade, ["-v"]) == 3

    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_grading_says_that_nothing_is_left(gradings, capsys):
    gradings.result = KeyboardInterrupt()

    assert exit_code(grade, []) == 3

    assert "grade: interrupted\n  everything that was started has been stopped" in capsys.readouterr().err


def test_the_whole_grading_of_an_own_folder_is_kept_for_lab_list(gradings, submission, capsys):
    gradings.result = replace(PASSED, verdict=Verdict.FAILED, score=62)

    exit_code(grade, [])
    capsys.readouterr()
    exit_code(lab, ["list"])

    assert "62 of 100 points, failed, in ." in capsys.readouterr().out
    assert (submission / ".labkit" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "x"],
        ["--stage", "x"],
        ["rate-limiter", "--reference"],
        [str(find_lab("rate-limiter").reference(None))],
    ],
)
@pytest.mark.usefixtures("gradings")
def test_a_part_of_a_grading_or_a_reference_is_not_kept(arguments, monkeypatch):
    monkeypatch.setattr("labkit.cli.kept.keep", lambda _, folder: pytest.fail(f"kept in {folder}"))

    assert exit_code(grade, arguments) == 0


def test_the_best_result_below_the_folder_is_shown(tmp_path, monkeypatch, capsys):
    for name, score in {"first": 20, "second": 80, "third": 50}.items():
        (tmp_path / name).mkdir()
        keep(replace(PASSED, score=score, verdict=Verdict.FAILED), tmp_path / name)
    monkeypatch.chdir(tmp_path)

    exit_code(lab, ["list"])

    assert "80 of 100 points, failed, in second" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "labkit.result/v1"}', "\xff"])
def test_a_kept_result_that_is_broken_is_left_out(text, tmp_path):
    (tmp_path / ".labkit").mkdir()
    (tmp_path / ".labkit" / "last.json").write_text(text, encoding="latin-1")

    assert list(kept(tmp_path)) == []


def test_nothing_is_kept_where_a_link_leads(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".labkit").symlink_to(tmp_path / "elsewhere")

    keep(PASSED, tmp_path / "mine")

    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_brief_is_shown_whole_or_by_heading(capsys):
    assert exit_code(lab, ["brief", "rate-limiter"]) == 0
    whole = capsys.readouterr().out
    assert exit_code(lab, ["brief", "rate-limiter", "Reading"]) == 0
    part = capsys.readouterr().out

    assert 0 < len(part) < len(whole) / 2


def test_new_makes_a_folder_and_ends_with_the_next_two_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert exit_code(lab, ["new", "rate-limiter", "mine", "project_name=My limiter"]) == 0

    assert capsys.readouterr().out == "Distributed rate limiter: made mine\n\n  cd mine\n  grade\n"
    assert (tmp_path / "mine" / "lab.toml").exists()
    assert "My limiter" in (tmp_path / "mine" / "README.md").read_text()


def test_new_never_writes_over_anything(submission, capsys):
    assert exit_code(lab, ["new", "rate-limiter", "."]) == 3

    assert "nothing is written over" in capsys.readouterr().err
    assert (submission / "lab.toml").read_text() == MANIFEST


def test_starting_the_commands_loads_nothing_heavy():
    """`grade --help` and `lab list` answer at once: the bar is 0.4 s."""
    heavy = [
        "aiohttp",
        "cookiecutter",
        "docker",
        "kafka",
        "psycopg",
        "pydantic",
        "pytest",
        "redis",
        "requests",
    ]
    script = (
        "import sys; sys.argv = ['lab', 'list']\n"
        "from labkit.cli import lab_main\n"
        "try: lab_main()\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert printed.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_grading_leaves_nothing_running(by):
    command = "from labkit.cli import grade_main; grade_main()"
    arguments = ["rate-limiter", "--reference", "--services", "embedded"]
    grading = subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started = wait_for_processes_of(grading.pid)

    grading.send_signal(by)
    _, said = grading.communicate(timeout=20)

    assert grading.returncode == 3
    assert "everything that was started has been stopped" in said
    psutil.wait_procs(started, timeout=5)
    assert [process for process in started if process.is_running()] == []


def wait_for_processes_of(pid: int) -> list[psutil.Process]:
    """What a grading has started, as soon as the services and a replica are among it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        started = [process for process in psutil.Process(pid).children(recursive=True) if is_tagged(process)]
        if len(started) >= 4:
            return started
        time.sleep(0.1)
    pytest.fail("the grading started nothing within 20 s")


def is_tagged(process: psutil.Process) -> bool:
    try:
        return TAG in process.environ()
    except psutil.Error:
        return False
