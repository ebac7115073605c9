"""`lab new`: renders a lab's template into a folder of the learner's.

Only cookiecutter's renderer is used, not its command: that one reads the user's configuration and
keeps a copy of each answer in the home directory, and neither belongs to the making of a folder.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import Problem, UnknownName, UsageError

_CONTEXT = "cookiecutter.json"
# The slug becomes a folder, the name of a distribution and of a compose project.
_SLUG = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", re.ASCII)
_MAX_LENGTH = 60
_UNSAFE = frozenset('"\\{}`<>')
# What may stand in a folder that is otherwise new: a repository just begun.
_KEPT = frozenset({".git"})


@dataclass(frozen=True)
class Project:
    """A scaffold as it was written, and the two commands to type next, in order."""

    folder: Path
    next_commands: tuple[str, str]


def new_project(
    lab_slug: str,
    template: Path,
    target: Path | None,
    values: Mapping[str, str],
    *,
    interactive: bool,
) -> Project:
    """Render `template` into `target`, or into a folder named by the project's slug.

    `values` answers the template's questions; the rest is asked when `interactive`, else taken from
    the template. The target may be a new or an empty folder; nothing that exists is written over.
    Raises UnknownName for a question that the template does not have, UsageError for an answer or
    a target that cannot be used, before anything is written.
    """
    if target is not None:
        _refuse_occupied(target)
    answers = _answers(lab_slug, template, values, interactive=interactive)
    folder = target if target is not None else Path(answers["project_slug"])
    _refuse_occupied(folder)
    _write(template, answers, folder)
    return Project(folder, (f"cd {shlex.quote(str(folder))}", "grade"))


def _answers(
    lab_slug: str, template: Path, values: Mapping[str, str], *, interactive: bool
) -> dict[str, Any]:
    """The template's variables, all of them answered."""
    # Imported here: this takes longer than everything else that `lab` imports.
    from cookiecutter.generate import generate_context
    from cookiecutter.prompt import prompt_for_config

    questions = _questions(template)
    _refuse_unusable(lab_slug, questions, values)
    context = generate_context(context_file=str(template / _CONTEXT), extra_context=dict(values))
    answers = dict(prompt_for_config(context, no_input=not interactive))
    _refuse_unusable(lab_slug, questions, {name: answers[name] for name in questions})
    return answers


def _questions(template: Path) -> dict[str, Any]:
    """Variable -> its default, or the list of its choices."""
    context = json.loads((template / _CONTEXT).read_text(encoding="utf-8"))
    return {name: default for name, default in context.items() if not name.startswith("_")}


def _refuse_unusable(lab_slug: str, questions: Mapping[str, Any], answers: Mapping[str, str]) -> None:
    for name in answers:
        if name not in questions:
            raise UnknownName(f"setting of {lab_slug}'s scaffold", name, questions)
    problems = [
        Problem(name, fault)
        for name, answer in answers.items()
        if (fault := _fault(name, answer, questions[name])) is not None
    ]
    if problems:
        raise UsageError(
            "; ".join(str(problem) for problem in problems),
            remedy=f"give another, as in {problems[0].key}=VALUE; nothing was written",
        )


def _fault(name: str, answer: str, default: Any) -> str | None:
    """What is wrong with an answer, if anything."""
    if isinstance(default, list):
        return None if answer in default else f"{answer!r} is none of {', '.join(default)}"
    if len(answer) > _MAX_LENGTH:
        return f"longer than {_MAX_LENGTH} characters"
    if name.endswith("_slug"):
        if _SLUG.fullmatch(answer):
            return None
        return f"{answer!r} is not lower-case letters and digits, joined by - or _"
    # It is written into TOML strings, Markdown and Jinja templates; none of these has to escape it.
    if answer.strip() and answer.isprintable() and not set(answer) & _UNSAFE:
        return None
    return f"{answer!r} is empty or has a character that may not stand there ({' '.join(sorted(_UNSAFE))})"


def _refuse_occupied(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} exists and is not a folder", remedy="name another folder")
    occupants = sorted(entry.name for entry in folder.iterdir() if entry.name not in _KEPT)
    if occupants:
        named = ", ".join(occupants[:3]) + (" …" if len(occupants) > 3 else "")
        raise UsageError(
            f"{folder} is not empty (it has {named}), and nothing is written over",
            remedy="name a folder that is new or empty: lab new LAB DIR",
        )


def _write(template: Path, answers: Mapping[str, Any], folder: Path) -> None:
    """Render aside, then copy: a template that breaks half-way leaves no half of a folder."""
    from cookiecutter.generate import generate_files

    with tempfile.TemporaryDirectory(prefix="labkit-new-") as aside:
        context = {"cookiecutter": dict(answers)}
        rendered = generate_files(template, context, output_dir=aside, accept_hooks=False)
        try:
            shutil.copytree(rendered, folder, dirs_exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written: {error.strerror or error}", remedy="name another folder"
            ) from None
