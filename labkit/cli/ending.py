"""How a command ends: with one of the four exit codes and, if it went wrong, a few plain lines."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from labkit.errors import LabkitError, SubmissionError

WRONG_USE = 3
_LAST_LINES = 20


def exit_code(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command to its end; every fault is said on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without the character gets a "?" instead of a crash of ours.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = command.main(list(arguments), prog_name=command.name, standalone_mode=False)
    except click.Abort:
        _say(
            "interrupted",
            name=command.name,
            remedy="everything that was started has been stopped; there is no verdict",
        )
        return WRONG_USE
    except click.ClickException as error:
        return _end_wrong_use(error)
    except LabkitError as error:
        return _end_with(error, command)
    except Exception as error:  # noqa: BLE001 - the last place where a fault of ours can be said well
        return _end_own_fault(error, command, arguments)
    return code if isinstance(code, int) else 0


def _end_wrong_use(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else None
    _say(error.format_message(), name=path, remedy=f"see {path} --help" if path else None)
    return WRONG_USE


def _end_with(error: LabkitError, command: click.Command) -> int:
    output = error.output if isinstance(error, SubmissionError) else ()
    _say(error.message, name=command.name, remedy=error.remedy, output=output)
    return error.exit_code


def _end_own_fault(error: Exception, command: click.Command, arguments: Sequence[str]) -> int:
    again = " ".join((str(command.name), "-v", *arguments))
    if {"-v", "--verbose"} & set(arguments):
        traceback.print_exception(error)
        remedy = "please report the lines above, with what `lab doctor` prints"
    else:
        remedy = f"run `{again}` and report what it prints, with what `lab doctor` prints"
    fault = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    _say(f"labkit itself failed, your work is not to blame: {fault}", name=command.name, remedy=remedy)
    return WRONG_USE


def _say(
    message: str, *, name: str | None = None, remedy: str | None = None, output: Sequence[str] = ()
) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from labkit.report.console import open_console
    from labkit.report.untrusted import lines, one_line

    console = open_console(sys.stderr)
    console.print(Text.assemble((f"{name}: " if name else "", "failed"), lines(message)), soft_wrap=True)
    if output:
        console.print(Text("  its last lines:", "label"))
        for line in output[-_LAST_LINES:]:
            console.print(Text(f"  {console.symbols.bar} {one_line(line)}", "faint"))
    if remedy:
        console.print(Padding(Text(lines(remedy)), (0, 0, 0, 2), expand=False))
