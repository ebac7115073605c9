"""`python -m app ROLE`: migrate, web or worker. Each imports no more than it runs."""

from __future__ import annotations

import logging
import sys


def main(arguments: list[str]) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    match arguments:
        case ["migrate"]:
            from app.ledger import migrate as run
        case ["web"]:
            from app.web import serve as run
        case ["worker"]:
            from app.worker import work as run
        case _:
            sys.exit("usage: python -m app migrate|web|worker")
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
