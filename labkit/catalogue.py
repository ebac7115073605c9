"""Finds labs, their templates and graders. The only module that knows where they lie.

In a checkout `labs/`, `templates/` and `graders/` stand beside the package; in an installed wheel
they lie within it, under `content/`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labkit.errors import UnknownName


@dataclass(frozen=True)
class Stage:
    """A step of a lab; the checks of `graders/<lab>/test_<name>.py`, where a `-` is a `_`."""

    name: str
    title: str


@dataclass(frozen=True)
class Option:
    """A choice that a submission declares in its lab.toml."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """A kind of process that a submission has.

    required  whether a submission must have it
    listens   whether it answers GET /healthz on HOST:PORT; others are up as soon as they run
    """

    required: bool
    listens: bool = True


@dataclass(frozen=True)
class Lab:
    """What `labs/<name>/lab.toml` says of a lab, and where its parts lie.

    roles       kinds of processes by name
    settings    environment variable -> what it means
    minutes     how long the lab takes a learner
    """

    slug: str
    name: str
    title: str
    summary: str
    level: str
    minutes: int
    skills: tuple[str, ...]
    services: tuple[str, ...]
    stages: tuple[Stage, ...]
    roles: Mapping[str, Role]
    settings: Mapping[str, str]
    options: tuple[Option, ...]
    folder: Path
    template: Path
    grader: Path

    @property
    def brief(self) -> Path:
        return self.folder / "BRIEF.md"

    @property
    def references(self) -> dict[str, Path]:
        """Complete solutions by name ("sliding-log")."""
        folders = (self.folder / "reference").glob("*/lab.toml")
        return {path.parent.name.replace("_", "-"): path.parent for path in sorted(folders)}

    @property
    def mutants(self) -> dict[str, Path]:
        """Patches by name: each makes one mistake in a reference."""
        return {path.stem: path for path in sorted((self.folder / "mutants").glob("*.patch"))}

    def stage(self, name: str) -> Stage:
        """Raises UnknownName."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UnknownName(f"stage of {self.slug}", name, [stage.name for stage in self.stages])

    def reference(self, name: str | None) -> Path:
        """The folder of a reference; without a name the first. Raises UnknownName."""
        references = self.references
        if name is None:
            return next(iter(references.values()))
        wanted = name.replace("_", "-")
        if wanted not in references:
            raise UnknownName(f"reference of {self.slug}", name, references)
        return references[wanted]


@cache
def labs() -> Mapping[str, Lab]:
    """All labs by slug."""
    found = (read_lab(path.parent) for path in sorted((_content() / "labs").glob("*/lab.toml")))
    return {lab.slug: lab for lab in found}


def find_lab(slug: str) -> Lab:
    """Raises UnknownName."""
    known = labs()
    if slug not in known:
        raise UnknownName("lab", slug, known)
    return known[slug]


def _content() -> Path:
    package = Path(__file__).resolve().parent
    installed = package / "content"
    return installed if installed.is_dir() else package.parent


def read_lab(folder: Path) -> Lab:
    """The lab in `<root>/labs/<name>`; its template and grader lie in the same root."""
    facts = tomllib.loads((folder / "lab.toml").read_text(encoding="utf-8"))
    root, name = folder.parent.parent, folder.name
    return Lab(
        slug=facts["slug"],
        name=name,
        title=facts["title"],
        summary=facts["summary"],
        level=facts["level"],
        minutes=facts["minutes"],
        skills=tuple(facts["skills"]),
        services=tuple(facts["services"]),
        stages=tuple(Stage(stage["name"], stage["title"]) for stage in facts["stages"]),
        roles={name: Role(**role) for name, role in facts["roles"].items()},
        settings=facts["settings"],
        options=tuple(Option(key, tuple(entry["values"])) for key, entry in facts["options"].items()),
        folder=folder,
        template=root / "templates" / name,
        grader=root / "graders" / name,
    )
