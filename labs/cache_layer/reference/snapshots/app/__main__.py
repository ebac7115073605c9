"""`python -m app`: serve until SIGTERM, then finish what was begun."""

from __future__ import annotations

import logging

from aiohttp import web

from app.settings import Settings
from app.web import create_app


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    settings = Settings.from_env()
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=None,
        print=None,
        backlog=1024,
        shutdown_timeout=6,
    )


if __name__ == "__main__":
    main()
