"""`python -m app`: serve until SIGTERM, then finish what was begun."""

from __future__ import annotations

import logging
import signal
import sys
import time
from types import FrameType

from waitress.server import TcpWSGIServer, create_server  # type: ignore[import-untyped]

from app.settings import Settings
from app.web import create_app

# Each request that waits for another's load, or for Postgres, keeps one.
THREADS = 64
DRAIN_S = 2.0


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a burst queues for a moment: no news
    settings = Settings.from_env()
    server = create_server(
        create_app(settings, threads=THREADS),
        host=settings.host,
        port=settings.port,
        threads=THREADS,
        connection_limit=2000,
        backlog=1024,
        asyncore_use_poll=True,
        ident=None,
    )
    stop_on_sigterm(server)
    server.run()


def stop_on_sigterm(server: TcpWSGIServer) -> None:
    """Waitress stops on SystemExit: requests at work are finished, but queued ones dropped. So let
    the queue run empty first; meanwhile nothing new is read, for the handler holds the reading thread.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        latest = time.monotonic() + DRAIN_S
        while server.task_dispatcher.queue and time.monotonic() < latest:
            time.sleep(0.01)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    main()
