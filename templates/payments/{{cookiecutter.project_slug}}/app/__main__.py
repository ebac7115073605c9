"""`python -m app`: one replica. It serves until SIGTERM, then finishes what it has begun."""

from __future__ import annotations

import logging
import os
import sys

from aiohttp import web

from app.api import create_app
from app.settings import Settings

# SIGTERM has to end the process within 8 s; requests under way get most of that.
SHUTDOWN_TIMEOUT_S = 6


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"cannot start: {error}")
    logging.info("%s listens on %s:%d", settings.instance, settings.host, settings.port)
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main()
