"""`grade`: parse, grade, print, exit code."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labkit.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from labkit.catalogue import Lab
    from labkit.execution import Order
    from labkit.result import Result

PROVIDERS = ("auto", "containers", "embedded", "external")
_FIRST_REFERENCE = ""
_MANIFEST = "lab.toml"


@dataclass(frozen=True)
class Target:
    """What is graded: a folder, the user's own or one of the kit's, and the arguments that name it."""

    lab: Lab
    folder: Path
    own: bool
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Outputs:
    """Files that the result is written to; "-" is stdout, and the report then goes to stderr."""

    json: str | None
    junit: str | None

    @property
    def take_stdout(self) -> bool:
        return "-" in (self.json, self.junit)


@click.command(
    name="grade",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 passed, 1 a check failed, 2 nothing failed but something is inconclusive, "
    "3 wrong use, interrupted, or a fault of the kit.",
)
@click.argument("lab", required=False, metavar="[LAB]")
@click.argument("path", required=False, metavar="[PATH]")
@click.option(
    "--reference",
    is_flag=False,
    flag_value=_FIRST_REFERENCE,
    metavar="[NAME]",
    help="Grade one of the kit's own solutions instead (default: the first).",
)
@click.option("--only", metavar="ID", help="Run one check.")
@click.option("--stage", metavar="NAME", help="Run the checks of one stage.")
@click.option("--list", "list_only", is_flag=True, help="List the checks and their points, run nothing.")
@click.option("--seed", type=int, metavar="N", help="Repeat the run that had this seed.")
@click.option(
    "--services",
    type=click.Choice(PROVIDERS),
    default="auto",
    show_default=True,
    metavar="WHERE",
    help="Run Redis, Postgres and Kafka as: auto, containers, embedded or external.",
)
@click.option(
    "--isolate",
    is_flag=True,
    help="Run the submission in containers, from its Dockerfile or the kit's runner image, that reach "
    "nothing but their services and the grader.",
)
@click.option("--json", metavar="FILE", help="Write the result as JSON ('-' is stdout).")
@click.option("--junit", metavar="FILE", help="Write the result as JUnit XML ('-' is stdout).")
@click.option("-v", "--verbose", is_flag=True, help="Show also what passed, and all evidence.")
@click.option(
    "--keep-going",
    is_flag=True,
    help="Run all stages. On a terminal a run otherwise ends after the first stage with a failure.",
)
def grade(
    *,
    lab: str | None,
    path: str | None,
    reference: str | None,
    only: str | None,
    stage: str | None,
    list_only: bool,
    seed: int | None,
    services: str,
    isolate: bool,
    json: str | None,
    junit: str | None,
    verbose: bool,
    keep_going: bool,
) -> int:
    """Grade the submission in PATH (default: here) as a black box.

    LAB may be left out where PATH has a lab.toml.
    """
    if list_only:
        return _list(_lab_alone(lab, path, reference), only=(only,) if only else (), stage=stage)
    outputs = Outputs(json, junit)
    target = _target(lab, path, reference)
    from labkit.execution import Order, new_seed

    order = Order(
        lab=target.lab,
        submission_folder=target.folder,
        reference=not target.own,
        provider=services,
        seed=new_seed() if seed is None else seed,
        only=(only,) if only else (),
        stage=stage,
        keep_going=keep_going or bool(json or junit) or not sys.stdout.isatty(),
        isolate=isolate,
    )
    return _run(order, target, outputs, verbose=verbose)


def _run(order: Order, target: Target, outputs: Outputs, *, verbose: bool) -> int:
    from labkit.cli.kept import keep
    from labkit.execution import grade as execute
    from labkit.progress import watching
    from labkit.report import open_console

    with watching(open_console(sys.stderr), seed=order.seed) as watcher:
        result = execute(order, watcher)
    if target.own and not (order.only or order.stage):
        keep(result, target.folder)
    _show(result, order, target, verbose=verbose, to_stderr=outputs.take_stdout)
    _write(result, outputs)
    return result.exit_code


def _show(result: Result, order: Order, target: Target, *, verbose: bool, to_stderr: bool) -> None:
    from labkit.report import Manner, open_console, show_result

    arguments = list(target.arguments)
    if order.provider != "auto":
        arguments += ["--services", order.provider]
    if order.isolate:
        arguments.append("--isolate")
    manner = Manner(
        verbose=verbose,
        options=shlex.join(arguments),
        own=target.own,
        partial=bool(order.only or order.stage),
    )
    show_result(result, target.lab, open_console(sys.stderr if to_stderr else sys.stdout), manner)


def _write(result: Result, outputs: Outputs) -> None:
    from labkit.report import to_junit

    if outputs.json:
        _write_text(result.to_json(), outputs.json)
    if outputs.junit:
        _write_text(to_junit(result), outputs.junit)


def _write_text(text: str, file: str) -> None:
    if file == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {file}: {error.strerror}", remedy="name a file in a folder that exists"
        ) from None


def _list(lab: Lab, *, only: tuple[str, ...], stage: str | None) -> int:
    from labkit.execution import planned_checks
    from labkit.report import open_console
    from labkit.report.listing import show_checks

    show_checks(planned_checks(lab, only=only, stage=stage), lab, open_console())
    return 0


def _target(lab: str | None, path: str | None, reference: str | None) -> Target:
    from labkit.submission import read_submission

    if reference is not None:
        return _reference(lab, path, reference)
    slug, folder = _told_apart(lab, path)
    known = _find(slug) if slug else None
    _look_beside(folder, slug)
    submission = read_submission(folder, lab=known)
    return Target(
        lab=submission.lab,
        folder=submission.folder,
        own=not submission.folder.is_relative_to(submission.lab.folder),
        arguments=() if path is None and folder == Path() else (str(folder),),
    )


def _reference(lab: str | None, path: str | None, reference: str) -> Target:
    from labkit.catalogue import labs

    if lab is None and reference in labs():
        # `grade --reference rate-limiter`: the value is the lab
        lab, reference = reference, _FIRST_REFERENCE
    if lab is None:
        raise UsageError(
            "which lab's reference?", remedy="grade LAB --reference [NAME]; `lab list` shows the labs"
        )
    if path is not None:
        raise UsageError(
            "a reference has its own folder", remedy=f"leave out {path}, or leave out --reference"
        )
    found = _find(lab)
    folder = found.reference(reference or None)
    return Target(
        lab=found, folder=folder, own=False, arguments=("--reference", folder.name.replace("_", "-"))
    )


def _told_apart(lab: str | None, path: str | None) -> tuple[str | None, Path]:
    """LAB and PATH as they are meant: a single argument may be either."""
    from labkit.catalogue import labs

    if lab is None or path is not None:
        return lab, Path(path or ".")
    looks_like_path = os.sep in lab or lab.startswith(".") or Path(lab).is_dir()
    if lab not in labs() and looks_like_path:
        return None, Path(lab)
    return lab, Path()


def _find(slug: str) -> Lab:
    from labkit.catalogue import find_lab

    return find_lab(slug)


def _look_beside(folder: Path, slug: str | None) -> None:
    """`grade rate-limiter` beside the folder rate-limiter, instead of in it, is a likely slip."""
    if slug and not (folder / _MANIFEST).exists() and (folder / slug / _MANIFEST).exists():
        raise UsageError(f"{folder.absolute()} has no {_MANIFEST}", remedy=f"did you mean grade ./{slug}?")


def _lab_alone(lab: str | None, path: str | None, reference: str | None) -> Lab:
    """The lab whose checks are listed: no submission is needed where it is named."""
    from labkit.catalogue import labs

    if lab is None and reference in labs():
        lab = reference
    slug, folder = _told_apart(lab, path)
    if slug:
        return _find(slug)
    if not (folder / _MANIFEST).exists():
        raise (
            UnknownName("lab", str(folder), labs())
            if lab
            else UsageError("which lab's checks?", remedy="grade LAB --list; `lab list` shows the labs")
        )
    from labkit.submission import read_submission

    return read_submission(folder).lab
