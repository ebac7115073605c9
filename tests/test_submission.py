"""Everything that can be wrong with a lab.toml is said, all at once, and what belongs to a submission."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.catalogue import find_lab
from labkit.errors import ManifestError, UsageError
from labkit.submission import Submission, read_submission

GOOD = """
lab = "rate-limiter"

[setup]
command = "make 'all of it'"

[processes]
web = "python -m app --name 'a b'"
migrate = "python migrate.py"

[options]
algorithm = "sliding-log"
on_redis_outage = "closed"
"""
ALGORITHMS = "fixed-window, sliding-log, sliding-counter, token-bucket"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Submission]:
    """Reads a lab.toml of that text."""

    def reading(text: str) -> Submission:
        (tmp_path / "lab.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        return read_submission(tmp_path)

    return reading


def problems_of(read: Callable[[str], Submission], text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(text)
    assert caught.value.exit_code == 3
    assert caught.value.path.endswith("lab.toml")
    for problem in caught.value.problems:
        assert str(problem) in caught.value.message
    return [str(problem) for problem in caught.value.problems]


def test_a_sound_manifest(read, tmp_path):
    submission = read(GOOD)

    assert submission.folder == tmp_path.resolve()
    assert submission.lab is find_lab("rate-limiter")
    assert submission.setup == ("make", "all of it")
    assert submission.commands == {
        "web": ("python", "-m", "app", "--name", "a b"),
        "migrate": ("python", "migrate.py"),
    }
    assert submission.options == {"algorithm": "sliding-log", "on_redis_outage": "closed"}


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ('lab = "rate-limiter"', "", ["lab: missing"]),
        ('lab = "rate-limiter"', "lab = 5", ["lab: input should be a valid string, not 5"]),
        ('lab = "rate-limiter"', 'lab = "rate-limter"', ["lab: there is no lab 'rate-limter'"]),
        (
            "[processes]",
            "[procesess]",
            [
                "processes: missing",
                "procesess: unknown key 'procesess'; allowed: lab, setup, processes, options; "
                "did you mean processes?",
            ],
        ),
        (
            "command =",
            "comand =",
            [
                "setup.command: missing",
                "setup.comand: unknown key 'comand'; allowed: command; did you mean command?",
            ],
        ),
        ("command = \"make 'all of it'\"", "", ["setup.command: missing"]),
        ("command = \"make 'all of it'\"", "command = ''", ["setup.command: not a command: empty"]),
        (
            "migrate =",
            "wbe =",
            ["processes.wbe: unknown role 'wbe'; allowed: web, migrate; did you mean web?"],
        ),
        ("web =", "#", ["processes.web: missing: how is this process started?"]),
        (
            "\"python -m app --name 'a b'\"",
            '["python", "-m", "app"]',
            ["processes.web: input should be a valid string, not ['python', '-m', 'app']"],
        ),
        ("\"python -m app --name 'a b'\"", '"  "', ["processes.web: not a command: empty"]),
        ("'a b'\"", "'a b\"", ["processes.web: not a command: no closing quotation"]),
        ('algorithm = "sliding-log"', "", [f"options.algorithm: missing: declare one of {ALGORITHMS}"]),
        (
            '"sliding-log"',
            '"token_bucket"',
            [
                f"options.algorithm: unknown value 'token_bucket'; allowed: {ALGORITHMS}; "
                "did you mean token-bucket?"
            ],
        ),
        ('"sliding-log"', "true", ["options.algorithm: input should be a valid string, not True"]),
        (
            "on_redis_outage =",
            "on_outage =",
            [
                "options.on_outage: unknown option 'on_outage'; allowed: algorithm, on_redis_outage; "
                "did you mean on_redis_outage?",
                "options.on_redis_outage: missing: declare one of open, closed",
            ],
        ),
    ],
)
def test_each_fault_is_named_by_its_key(read, old, new, problems):
    assert old in GOOD

    assert problems_of(read, GOOD.replace(old, new, 1)) == problems


@pytest.mark.parametrize(
    "text", ["lab = ", "lab = 'a\nb'", "[processes\n", GOOD + "lab = 1\nlab = 2", "\udcff"]
)
def test_what_is_no_toml(read, text):
    problems = problems_of(read, text)

    assert len(problems) == 1
    assert problems[0].startswith("not valid TOML: ")


def test_all_faults_are_said_at_once(read):
    text = """
        colour = "red"
        lab = "rate-limiter"
        setup = {}
        [processes]
        web = 7
        worker = "python 'worker.py"
        [options]
        algorithm = "leaky-bucket"
        """

    assert {problem.split(":")[0] for problem in problems_of(read, text)} == {
        "colour",
        "setup.command",
        "processes.web",
        "processes.worker",
        "options.algorithm",
        "options.on_redis_outage",
    }


def test_an_unknown_lab_does_not_hide_the_rest(read):
    assert {problem.split(":")[0] for problem in problems_of(read, 'lab = "x"\nprocesses = 1')} == {
        "lab",
        "processes",
    }


@pytest.mark.parametrize("folder", ["missing", "empty", "file"])
def test_where_there_is_no_manifest(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError) as caught:
        read_submission(tmp_path / folder)

    words = "has no lab.toml" if folder == "empty" else "there is no folder"
    assert words in caught.value.message
    assert caught.value.remedy


def test_a_submission_to_another_lab(read, tmp_path):
    read(GOOD)
    other = replace(find_lab("rate-limiter"), slug="url-shortener")

    with pytest.raises(UsageError, match="is a submission to rate-limiter, not to url-shortener"):
        read_submission(tmp_path, lab=other)


def test_the_digest_knows_every_byte_and_name(read, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_bytes(b"x = 1\n")
    submission = read(GOOD)
    seen = [submission.digest()]
    assert seen[0].startswith("sha256:")
    assert len(seen[0]) == len("sha256:") + 64
    assert submission.digest() == seen[0]

    changes: list[Callable[[], object]] = [
        lambda: (tmp_path / "app" / "main.py").write_bytes(b"x = 2\n"),
        lambda: (tmp_path / "app" / "main.py").rename(tmp_path / "app" / "mian.py"),
        lambda: (tmp_path / "app" / "empty").touch(),
        lambda: (tmp_path / "app" / "empty").unlink(),
        lambda: Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).touch(),
    ]
    for change in changes:
        change()
        seen.append(submission.digest())

    assert len(set(seen)) == len(seen) - 1, "without the empty file it is what it was before"
    assert seen[4] == seen[2]


@pytest.mark.parametrize(
    "name", [".git", ".venv", "venv", "node_modules", "__pycache__", ".labkit", "target"]
)
def test_the_digest_leaves_out_what_tools_make(read, tmp_path, name):
    (tmp_path / "app").mkdir()
    before = read(GOOD).digest()
    for parent in (tmp_path, tmp_path / "app"):
        (parent / name).mkdir()
        (parent / name / "made.txt").write_text("by a tool")

    assert read(GOOD).digest() == before


def test_the_digest_follows_no_link_and_survives_what_cannot_be_read(read, tmp_path):
    before = read(GOOD).digest()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")

    assert read(GOOD).digest() == before
