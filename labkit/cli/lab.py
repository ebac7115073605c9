"""`lab`: the labs, their briefs and scaffolds, what works here, and the proof of the graders."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from labkit.cli.ending import WRONG_USE
from labkit.cli.services import services
from labkit.errors import UsageError


@click.group(
    name="lab",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a fault of the kit.")
@click.pass_context
def lab(context: click.Context, *, verbose: bool) -> None:  # noqa: ARG001 - `ending` looks for the flag
    """Labs that teach backend engineering; `grade` grades what you build in them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


lab.add_command(services)


@lab.command(name="list")
def list_labs() -> None:
    """Show the labs, and how far you are in this folder."""
    from labkit.catalogue import labs
    from labkit.report import open_console
    from labkit.report.listing import show_labs

    show_labs(tuple(labs().values()), _standings(), open_console())


def _standings() -> dict[str, str]:
    """Lab -> the best kept result in this folder and those right in it."""
    from labkit.cli.kept import kept
    from labkit.report.listing import standing

    best: dict[str, tuple[int, str]] = {}
    for folder, result in kept(Path()):
        text = standing(
            score=result.score, max_score=result.max_score, verdict=result.verdict, where=str(folder)
        )
        best[result.lab] = max(best.get(result.lab, (-1, "")), (result.score, text))
    return {slug: text for slug, (_, text) in best.items()}


@lab.command()
@click.argument("lab", metavar="LAB")
@click.argument("heading", required=False, metavar="[HEADING]")
def brief(lab: str, heading: str | None) -> None:
    """Read a lab's brief, or one HEADING of it."""
    from labkit.catalogue import find_lab
    from labkit.report import open_console
    from labkit.report.brief import show_brief

    show_brief(find_lab(lab).brief.read_text(encoding="utf-8"), heading, open_console())


@lab.command()
@click.argument("lab", metavar="LAB")
@click.argument("words", nargs=-1, metavar="[DIR] [KEY=VALUE]...")
@click.option("--no-input", is_flag=True, help="Ask nothing, take the defaults (so off a terminal).")
def new(lab: str, words: tuple[str, ...], *, no_input: bool) -> None:
    """Start a lab in DIR (default: a folder named by your answers)."""
    from labkit.catalogue import find_lab
    from labkit.scaffold import new_project

    found = find_lab(lab)
    target, values = _target_and_values(words)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not no_input
    project = new_project(found.slug, found.template, target, values, interactive=interactive)
    click.echo(f"{found.title}: made {project.folder}\n")
    for command in project.next_commands:
        click.echo(f"  {command}")


def _target_and_values(words: tuple[str, ...]) -> tuple[Path | None, dict[str, str]]:
    """The folder, if one is named, and the answers to the template's questions."""
    folders = [word for word in words if "=" not in word]
    if len(folders) > 1:
        raise UsageError(
            f"one folder, please, not {len(folders)}: {', '.join(folders)}",
            remedy="answers to the template's questions are given as key=value",
        )
    values = dict(word.split("=", maxsplit=1) for word in words if "=" in word)
    return (Path(folders[0]) if folders else None), values


@lab.command()
def doctor() -> int:
    """Try what grading needs on this machine, each thing for real."""
    from labkit.catalogue import labs
    from labkit.doctor import examine, gradable
    from labkit.report import open_console
    from labkit.report.findings import show_findings

    known = tuple(labs().values())
    with open_console(sys.stderr).status("trying everything, this takes some seconds"):
        findings = examine()
    possible = gradable(findings, known)
    show_findings(findings, possible, known, open_console())
    return 0 if possible else WRONG_USE


@lab.command()
@click.argument("lab", required=False, metavar="[LAB]")
@click.option("--mutant", metavar="NAME", help="Grade one mutant only.")
@click.option("--whole", is_flag=True, help="Grade mutants by all checks, not only by those that claim them.")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Grade each case N times.",
    metavar="N",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Gradings side by side (default: by the number of cores).",
)
def prove(lab: str | None, *, mutant: str | None, whole: bool, repeat: int, jobs: int | None) -> int:
    """Prove the graders on known submissions.

    The template must fail, references pass, and each mutant fall to the checks that claim it; with
    --whole, to none of a stage before.
    """
    from labkit.catalogue import find_lab, labs
    from labkit.proving import prove_command

    slugs = (find_lab(lab).slug,) if lab else tuple(labs())
    return prove_command(slugs, mutant=mutant, whole=whole, repeat=repeat, jobs=jobs)
