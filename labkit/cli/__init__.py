"""The two commands, `grade` and `lab`.

Exit codes: 0 passed, 1 a check failed, 2 nothing failed but something is inconclusive, 3 wrong use,
the kit's own fault, or interrupted.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from labkit.cli.ending import exit_code
from labkit.cli.grade import grade
from labkit.cli.lab import lab


def grade_main() -> NoReturn:
    sys.exit(exit_code(grade, sys.argv[1:]))


def lab_main() -> NoReturn:
    sys.exit(exit_code(lab, sys.argv[1:]))
