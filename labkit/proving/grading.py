"""One grading in a process of its own: `python -m labkit.proving.grading` with its arguments.

LAB and SUBMISSION are folders, then come PROVIDER and SEED; the result goes to FILE. The ids of checks
that follow are the only ones to run. Exit code 0 says that there is a result, whatever its verdict.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from labkit.catalogue import read_lab
from labkit.errors import LabkitError
from labkit.execution import Order, grade
from labkit.leaving import leave


def main(lab: str, submission: str, provider: str, seed: str, file: str, *only: str) -> int:
    # A proof that is given up ends its gradings by SIGTERM: they close in order, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    order = Order(
        lab=read_lab(Path(lab)),
        submission_folder=Path(submission),
        reference=True,
        provider=provider,
        seed=int(seed),
        only=only,
        keep_going=True,
    )
    try:
        result = grade(order)
    except LabkitError as error:
        print(f"{error.message}; {error.remedy}" if error.remedy else error.message, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 3
    result.write(Path(file))
    return 0


if __name__ == "__main__":
    leave(main(*sys.argv[1:]))
