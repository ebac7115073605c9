"""The two commands, `grade` and `lab`.

Exit codes: 0 passed, 1 a check failed, 2 nothing failed but something is inconclusive, 3 wrong use,
the kit's own fault, or interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from labkit.cli.ending import exit_code
from labkit.cli.grade import grade
from labkit.cli.lab import lab
from labkit.leaving import leave


def grade_main() -> NoReturn:
    _main(grade)


def lab_main() -> NoReturn:
    _main(lab)


def _main(command: click.Command) -> NoReturn:
    # CI systems end a job by SIGTERM: everything is closed in order then, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    leave(exit_code(command, sys.argv[1:]))
