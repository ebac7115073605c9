"""`python -m app web` or `python -m app worker`: one process of that role, until SIGTERM ends it."""

from __future__ import annotations

import logging
import os
import sys

from app import web, worker
from app.settings import Settings

ROLES = {"web": web.run, "worker": worker.run}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    role = " ".join(sys.argv[1:])
    if role not in ROLES:
        sys.exit(f"cannot start: {role!r} is no role; there are {', '.join(ROLES)}")
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"cannot start: {error}")
    ROLES[role](settings)


if __name__ == "__main__":
    main()
