"""`lab services`: keeps services running between gradings."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from labkit.errors import ServiceError, UsageError

if TYPE_CHECKING:
    import psutil
    from rich.table import Table

    from labkit.catalogue import Lab
    from labkit.services.pool import Pool

_CHOICES = ("auto", "containers", "embedded")


@click.group()
def services() -> None:
    """Keep Redis, Postgres and Kafka running between gradings: `grade` then need not start them."""


@services.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option(
    "--services",
    "wanted",
    type=click.Choice(_CHOICES),
    default="auto",
    show_default=True,
    metavar="WHERE",
    help="Run them as: auto, containers or embedded.",
)
def up(labs: tuple[str, ...], *, wanted: str) -> None:
    """Start what a grading of LAB (default: of any lab) needs, and leave it running."""
    from labkit.catalogue import find_lab
    from labkit.catalogue import labs as all_labs
    from labkit.services.choice import choose_kind
    from labkit.services.pool import IDLE_S, clear_after, launch, read_pool

    pool = read_pool()
    if pool is not None:
        if pool.process() is not None:
            raise UsageError(
                f"services are up already, since {pool.up_since}",
                remedy="see `lab services status`, or begin with `lab services down`",
            )
        click.echo(f"{_gone(pool)}: clearing up after them")
        clear_after(pool)
    chosen = [find_lab(slug) for slug in labs] or list(all_labs().values())
    kinds = sorted({kind for lab in chosen for kind in lab.services})
    provider, why = choose_kind(wanted, kinds, lambda text: click.echo(text, err=True))
    click.echo(f"services: {why}")
    counts = _needed(chosen, provider)
    began = time.monotonic()
    launch(provider, counts)
    ready = ", ".join(f"{count} {kind.capitalize()}" for kind, count in counts.items())
    click.echo(f"ready in {time.monotonic() - began:.1f} s: {ready}")
    click.echo(f"`lab services down` ends them, and so do {IDLE_S / 3600:.0f} hours without a grading")


def _needed(labs: Sequence[Lab], provider: str) -> dict[str, int]:
    """Kind of service -> the most that a grading of one of the labs has at the same time."""
    from labkit.execution import servers_of

    counts: dict[str, int] = {}
    for lab in labs:
        for kind, count in servers_of(lab, provider).items():
            counts[kind] = max(counts.get(kind, 0), count)
    return counts


@services.command()
def status() -> None:
    """Show what runs, since when, in how much memory, and who uses it."""
    from labkit.report import open_console
    from labkit.services.loans import Line
    from labkit.services.pool import read_pool

    pool = read_pool()
    if pool is None:
        click.echo("no services are kept running; `lab services up` starts some")
        return
    if pool.process() is None:
        click.echo(f"{_gone(pool)}; `lab services down` clears up after them")
        return
    standing = _asked(Line, pool, want="status")
    what = "containers" if pool.provider == "containers" else "embedded servers"
    version = "" if pool.is_of_this_kit else f", by labkit {pool.kit}: this one does not use them"
    click.echo(f"{what}, up since {pool.up_since}, process {pool.pid}{version}\n")
    open_console(sys.stdout).print(_table(standing["servers"]))
    total = sum(server["memory"] or 0 for server in standing["servers"])
    click.echo(f"\nmemory: {_megabytes(total)}, and {_megabytes(standing['memory'])} to keep them")


@services.command()
@click.option("--force", is_flag=True, help="Also while a grading uses them: it ends without a verdict.")
def down(*, force: bool) -> None:
    """End all that `up` has started."""
    from labkit.services.pool import clear_after, end, read_pool

    pool = read_pool()
    if pool is None:
        click.echo("no services are kept running")
        return
    process = pool.process()
    if process is None:
        clear_after(pool)
        click.echo(f"{_gone(pool)}; nothing is left of them now")
        return
    _ask_to_end(pool, process, force=force)
    end(pool, process)
    click.echo("the services have been ended, and nothing is left of them")


def _ask_to_end(pool: Pool, process: psutil.Process, *, force: bool) -> None:
    from labkit.services.loans import Line

    try:
        borrowers = _asked(Line, pool, want="end", force=force)["borrowers"]
    except ServiceError:
        process.terminate()  # it cannot say who uses them
        return
    if borrowers and not force:
        users = "; ".join(sorted({_user(borrower) for borrower in borrowers}))
        raise UsageError(f"the services are in use by {users}", remedy="wait for it, or add --force")


def _asked(line: Any, pool: Pool, **question: Any) -> dict[str, Any]:
    try:
        connection = line(pool.socket, patience=10.0)
    except OSError as error:
        raise ServiceError(
            f"process {pool.pid}, which keeps the services, does not answer: {error}",
            remedy="`lab services down` ends it",
        ) from error
    try:
        answer: dict[str, Any] = connection.ask(**question)
        return answer
    finally:
        connection.close()


def _table(servers: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from labkit.report.untrusted import one_line

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="label")
    for title in ("server", "memory", "since", "used by"):
        table.add_column(title, justify="right" if title == "memory" else "left", overflow="fold")
    for server in servers:
        memory = "" if server["memory"] is None else _megabytes(server["memory"])
        since = time.strftime("%H:%M:%S", time.localtime(server["since"]))
        use = _user(server["borrower"]) if server["borrower"] else server["problem"] or server["state"]
        name = server["version"] or server["kind"].capitalize()
        table.add_row(*(Text(one_line(text)) for text in (name, memory, since, use)))
    return table


def _user(borrower: dict[str, Any]) -> str:
    return f"`{borrower['command']}` (process {borrower['pid']})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _gone(pool: Pool) -> str:
    return (
        f"the services kept since {pool.up_since} are gone: process {pool.pid} ended without"
        " `lab services down` (killed, or the machine was restarted)"
    )
