"""`lab new`: what it writes, what it refuses, and that it leaves nothing elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.catalogue import find_lab
from labkit.errors import UnknownName, UsageError
from labkit.scaffold import Project, new_project

LAB = find_lab("rate-limiter")


def scaffold(target: Path | None, *, interactive: bool = False, **values: str) -> Project:
    return new_project(LAB.slug, LAB.template, target, values, interactive=interactive)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the learner types, a line a question."""
    lines: list[str] = []

    def answers() -> Iterator[str]:
        yield from lines
        raise AssertionError("asked for more than was typed")

    source = answers()
    monkeypatch.setattr("builtins.input", lambda *_: next(source))
    return lines


def options(folder: Path) -> dict[str, str]:
    manifest = tomllib.loads((folder / "lab.toml").read_text(encoding="utf-8"))
    return dict(manifest["options"])


def test_the_folder_is_named_by_the_project_unless_told_otherwise(tmp_path: Path) -> None:
    project = scaffold(None, project_name="Traffic Warden")

    assert project == Project(Path("traffic-warden"), ("cd traffic-warden", "grade"))
    assert (tmp_path / "traffic-warden" / "lab.toml").is_file()


def test_a_folder_with_a_space_is_quoted_in_the_next_command() -> None:
    assert scaffold(Path("my limiter")).next_commands == ("cd 'my limiter'", "grade")


def test_answers_given_reach_the_files(tmp_path: Path) -> None:
    folder = scaffold(
        tmp_path / "new", project_name="Käse & Co", algorithm="sliding-log", on_redis_outage="closed"
    ).folder

    assert options(folder) == {"algorithm": "sliding-log", "on_redis_outage": "closed"}
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# Käse & Co\n")
    assert "name: kase-co\n" in (folder / "compose.yaml").read_text(encoding="utf-8")


def test_on_a_terminal_it_asks_and_takes_the_answers(typed: list[str]) -> None:
    typed += ["Gate", "gate-1", "2", "1"]

    project = scaffold(None, interactive=True)

    assert project.folder == Path("gate-1")
    assert options(project.folder)["algorithm"] == "sliding-log"


def test_a_wrong_answer_on_a_terminal_writes_nothing(typed: list[str], tmp_path: Path) -> None:
    typed += ["Gate", "Gate 1", "1", "1"]

    with pytest.raises(UsageError, match="project_slug: 'Gate 1' is not lower-case"):
        scaffold(None, interactive=True)

    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_is_answered_by_the_closest_one() -> None:
    with pytest.raises(UnknownName, match="no setting of rate-limiter's scaffold 'algoritm'") as caught:
        scaffold(Path("new"), algoritm="sliding-log")

    assert caught.value.remedy == "did you mean algorithm?"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project_slug", ""),
        ("project_slug", "../escape"),
        ("project_slug", "Upper"),
        ("project_slug", "1st"),
        ("project_slug", "-"),
        ("project_slug", "x" * 61),
        ("project_name", "  "),
        ("project_name", 'says "hello"'),
        ("project_name", "{{ cookiecutter }}"),
        ("project_name", "two\nlines"),
        ("project_name", "!!!"),  # nothing of it is left for the slug
        ("algorithm", "leaky-bucket"),
        ("on_redis_outage", "OPEN"),
    ],
)
def test_values_that_cannot_be_used_are_refused_before_anything_is_written(
    key: str, value: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"project_|algorithm|on_redis_outage"):
        scaffold(None, **{key: value})

    assert list(tmp_path.iterdir()) == []


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        scaffold(Path("new"), algorithm="leaky-bucket", project_slug="A B")

    assert "algorithm: 'leaky-bucket' is none of token-bucket, sliding-log" in caught.value.message
    assert "project_slug: 'A B' is not" in caught.value.message
    assert caught.value.remedy == "give another, as in algorithm=VALUE; nothing was written"


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(UsageError, match=r"is not empty \(it has notes.txt\), and nothing is written over"):
        scaffold(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_it_refuses_an_occupied_target_before_it_asks(typed: list[str], tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()

    with pytest.raises(UsageError, match="not empty"):
        scaffold(tmp_path, interactive=True)

    assert typed == []


def test_a_file_of_that_name_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(UsageError, match="exists and is not a folder"):
        scaffold(tmp_path / "taken")


def test_a_repository_just_begun_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert (scaffold(tmp_path).folder / "lab.toml").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        scaffold(tmp_path / "new")


def test_the_home_directory_is_neither_read_nor_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".cookiecutterrc").write_text(
        "default_context:\n  algorithm: fixed-window\n  project_name: Not This\n", encoding="utf-8"
    )
    program = (
        "from pathlib import Path; from labkit.catalogue import find_lab as find;"
        "from labkit.scaffold import new_project as new; lab = find('rate-limiter');"
        "new(lab.slug, lab.template, Path('new'), {}, interactive=False)"
    )

    # In a process of its own: cookiecutter settles on its folders when it is imported.
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    assert [path.name for path in home.iterdir()] == [".cookiecutterrc"]
    assert options(tmp_path / "new")["algorithm"] == "token-bucket"
    assert (tmp_path / "new" / "README.md").read_text(encoding="utf-8").startswith("# Rate limiter\n")


def test_nothing_of_the_rendering_stays_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / "tmp"
    aside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(aside))

    scaffold(tmp_path / "new")

    assert list(aside.iterdir()) == []
