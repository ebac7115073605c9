"""`python -m app web`, `relay` or `migrate`. Each loads only what it needs."""

from __future__ import annotations

import logging
import sys


def main(role: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # an outage is known without its every try
    if role == "web":
        from app.web import main as run
    elif role == "relay":
        from app.worker import main as run
    elif role == "migrate":
        from app.migrate import main as run
    else:
        sys.exit(f"unknown role {role!r}: it is web, relay or migrate")
    run()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "web")
