"""Reads a submission: its lab.toml, and a digest of what is in the folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from labkit.catalogue import Lab, find_lab
from labkit.errors import ManifestError, Problem, UnknownName, UsageError, did_you_mean

MANIFEST = "lab.toml"
MIGRATE = "migrate"
# Made by tools, not by the learner; they change without the submission changing.
_NOT_DIGESTED = frozenset({".git", ".labkit", ".venv", "venv", "node_modules", "__pycache__", "target"})


@dataclass(frozen=True)
class Submission:
    """A folder that can be graded.

    setup      command to run once before anything else, split into words, or empty
    commands   role -> command, split into words
    options    the choices that it declares
    """

    folder: Path
    lab: Lab
    setup: tuple[str, ...]
    commands: Mapping[str, tuple[str, ...]]
    options: Mapping[str, str]

    def digest(self) -> str:
        """sha256 of all paths and contents, "sha256:<hex>"."""
        digest = hashlib.sha256()
        for path in _files(self.folder):
            # A file that a process of the submission has just removed is none.
            with suppress(OSError), path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
                digest.update(os.fsencode(path.relative_to(self.folder)) + b"\0" + content)
        return f"sha256:{digest.hexdigest()}"


class _Setup(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    command: str


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    lab: str
    setup: _Setup | None = None
    processes: dict[str, str]
    options: dict[str, str] = {}


def read_submission(folder: Path, *, lab: Lab | None = None) -> Submission:
    """Read and check the lab.toml in `folder`; `lab` is the one that is asked for, if any.

    Raises ManifestError with everything that is wrong, UsageError where there is no folder.
    """
    manifest, problems = _shaped(_parse(folder / MANIFEST), folder / MANIFEST)
    actual = lab if lab and lab.slug == manifest.lab else _lab_of(manifest, folder / MANIFEST, problems)
    if lab is not None and lab.slug != actual.slug:
        raise UsageError(
            f"{folder} is a submission to {actual.slug}, not to {lab.slug}",
            remedy=f'grade {actual.slug} {folder}, or set lab = "{lab.slug}" in its {MANIFEST}',
        )
    faulty = {problem.key for problem in problems}
    for problem in (*_role_problems(manifest, actual), *_option_problems(manifest, actual)):
        if not faulty & {problem.key, problem.key.partition(".")[0]}:
            problems.append(problem)
    setup, commands = _split_all(manifest, problems)
    if problems:
        raise ManifestError(str(folder / MANIFEST), problems)
    return Submission(folder.resolve(), actual, setup, commands, manifest.options)


def _parse(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", remedy="give the folder that has a lab.toml")
    if not path.is_file():
        raise UsageError(
            f"{path.parent} has no {MANIFEST}",
            remedy="`lab new LAB` makes a folder that has one; or name the submission's folder",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(str(path), [Problem("", f"not valid TOML: {error}")]) from None


def _shaped(entries: dict[str, Any], path: Path) -> tuple[_Manifest, list[Problem]]:
    """The manifest and what is wrong with its shape; the faulty entries are left out of it.

    Raises ManifestError where it does not name a lab, without which no more can be said.
    """
    try:
        return _Manifest.model_validate(entries), []
    except ValidationError as error:
        faults = error.errors()
    problems = [_problem(fault) for fault in faults]
    if any(fault["loc"] == ("lab",) for fault in faults):
        raise ManifestError(str(path), problems)
    return _Manifest.model_validate(_without(entries, [fault["loc"] for fault in faults])), problems


def _without(entries: dict[str, Any], places: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """The entries without those at `places`; half a set-up is none."""
    sound = dict(entries)
    for first, *rest in places:
        if rest and first != "setup":
            sound[first] = {key: value for key, value in sound[first].items() if key != rest[0]}
        else:
            sound.pop(first, None)
    return {"processes": {}, **sound}


def _problem(entry: Any) -> Problem:
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        model = _Setup if key.startswith("setup.") else _Manifest
        return Problem(key, _unknown("key", key.rpartition(".")[2], list(model.model_fields)))
    if entry["type"] == "missing":
        return Problem(key, "missing")
    return Problem(key, f"{entry['msg'].lower()}, not {entry['input']!r}")


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    question = did_you_mean(name, known)
    words = f"unknown {kind} {name!r}; allowed: {', '.join(known) or 'none'}"
    return f"{words}; {question}" if question else words


def _lab_of(manifest: _Manifest, path: Path, problems: Sequence[Problem]) -> Lab:
    try:
        return find_lab(manifest.lab)
    except UnknownName as error:
        raise ManifestError(
            str(path), [Problem("lab", error.message), *problems], remedy=error.remedy
        ) from None


def _role_problems(manifest: _Manifest, lab: Lab) -> Iterator[Problem]:
    allowed = [*lab.roles, MIGRATE]
    for name in manifest.processes:
        if name not in allowed:
            yield Problem(f"processes.{name}", _unknown("role", name, allowed))
    for name, role in lab.roles.items():
        if role.required and name not in manifest.processes:
            yield Problem(f"processes.{name}", "missing: how is this process started?")


def _option_problems(manifest: _Manifest, lab: Lab) -> Iterator[Problem]:
    known = {option.name: option.values for option in lab.options}
    for name, value in manifest.options.items():
        if name not in known:
            yield Problem(f"options.{name}", _unknown("option", name, list(known)))
        elif value not in known[name]:
            yield Problem(f"options.{name}", _unknown("value", value, known[name]))
    for name, values in known.items():
        if name not in manifest.options:
            yield Problem(f"options.{name}", f"missing: declare one of {', '.join(values)}")


def _split_all(
    manifest: _Manifest, problems: list[Problem]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    setup: tuple[str, ...] = ()
    if manifest.setup is not None:
        setup = _split("setup.command", manifest.setup.command, problems)
    commands = {
        role: _split(f"processes.{role}", command, problems) for role, command in manifest.processes.items()
    }
    return setup, commands


def _split(key: str, command: str, problems: list[Problem]) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        words, reason = (), str(error).lower()
    else:
        reason = "empty"
    if not words:
        problems.append(Problem(key, f"not a command: {reason}"))
    return words


def _files(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _NOT_DIGESTED)
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path
