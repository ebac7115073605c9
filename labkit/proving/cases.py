"""The submissions that a proof is made with: the template, the references, the mutants."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.catalogue import Lab
from labkit.errors import LabkitError, ManifestError, Problem, UnknownName, UsageError
from labkit.proving.judgement import Fault
from labkit.scaffold import new_project

_NEEDED = frozenset({"reference", "mistake"})
_ALLOWED = _NEEDED | {"disturbs"}


@dataclass(frozen=True)
class Mutant:
    """A reference with one mistake in it.

    reference  the name of the reference that the patch is for
    mistake    what is wrong, in a sentence
    disturbs   stages before that of the claiming checks in which the mistake may show as well
    patch      the file: a header of `key: value` lines, then a diff for `git apply -p1`
    """

    name: str
    reference: str
    mistake: str
    disturbs: tuple[str, ...]
    patch: Path


@dataclass(frozen=True)
class Case:
    """One submission. `source` is the template's folder or a reference's; `mutant` changes the latter."""

    lab: Lab
    kind: str
    name: str
    source: Path
    mutant: Mutant | None = None

    @property
    def title(self) -> str:
        return self.kind if self.kind == self.name else f"{self.kind} {self.name}"

    def make(self, folder: Path) -> None:
        """Write the submission into `folder`, which must not exist. Raises UsageError if it is unsound."""
        if self.kind == "template":
            new_project(self.lab.slug, self.source, folder, {}, interactive=False)
            return
        # What tools leave in a checkout is none of the submission, and may change while it is copied.
        shutil.copytree(self.source, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if self.mutant is not None:
            _apply(self.mutant.patch, folder)


def cases_of(lab: Lab) -> tuple[tuple[Case, ...], tuple[Fault, ...]]:
    """All cases of a lab, and a fault for each mutant that cannot be made into one."""
    cases = [Case(lab, "template", "template", lab.template)]
    cases += [Case(lab, "reference", name, folder) for name, folder in lab.references.items()]
    faults = []
    for name, path in lab.mutants.items():
        try:
            mutant = read_mutant(path)
            for stage in mutant.disturbs:
                lab.stage(stage)
            cases.append(Case(lab, "mutant", name, lab.reference(mutant.reference), mutant))
        except (ManifestError, UnknownName) as error:
            faults.append(Fault(name, f"{error.message}; {error.remedy}" if error.remedy else error.message))
    return tuple(cases), tuple(faults)


def read_mutant(path: Path) -> Mutant:
    """Read the header of `mutants/<name>.patch`. Raises ManifestError with all that is wrong in it."""
    entries = dict(_entries(path))
    problems = [Problem(key, "missing or empty") for key in sorted(_NEEDED) if not entries.get(key)]
    problems += [Problem(key, "unknown key") for key in sorted(entries) if key not in _ALLOWED]
    if problems:
        raise ManifestError(path.name, problems, remedy="a mutant begins with reference: and mistake:")
    disturbs = tuple(entries.get("disturbs", "").replace(",", " ").split())
    return Mutant(path.stem, entries["reference"], entries["mistake"], disturbs, path)


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """`key: value` lines up to the diff; an indented line goes on with the value before it."""
    key, value = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("diff ", "--- ")):
            break
        if line[:1].isspace() and line.strip():
            value = f"{value} {line.strip()}"
        elif line.strip():
            if key:
                yield key, value
            key, _, value = (part.strip() for part in line.partition(":"))
    if key:
        yield key, value


def _apply(patch: Path, folder: Path) -> None:
    # Within some repository, git would take the patch's paths as that repository's.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent.resolve())}
    command = ["git", "apply", "-p1", str(patch)]
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabkitError("mutants are made by git, which is not on PATH", remedy="install git") from None
    if done.returncode != 0:
        raise UsageError(f"{patch.name} does not apply: {done.stderr.strip()}")
