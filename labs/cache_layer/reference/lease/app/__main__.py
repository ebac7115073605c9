"""`python -m app`: serve until SIGTERM, then finish what was begun."""

from __future__ import annotations

import signal
import sys

import uvicorn

from app.settings import Settings
from app.web import create_app


def main() -> None:
    # After its graceful stop uvicorn raises the signal again for whoever handled it before;
    # the default handler would turn a clean stop into "killed by signal 15".
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=6,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    main()
