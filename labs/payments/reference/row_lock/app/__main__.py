"""`python -m app`: serve and publish until SIGTERM, then finish what was begun."""

from __future__ import annotations

import logging
import signal
import sys
import time
from types import FrameType

from waitress.server import TcpWSGIServer, create_server  # type: ignore[import-untyped]

from app.connections import Connections
from app.provider import Provider
from app.relay import Relay
from app.settings import Settings
from app.web import create_app

# A payment keeps a thread and a connection while the provider works on it; the relay has one of its own.
THREADS = 64
CONNECTIONS = 48
# Longer than any request, and than any publishing, so that only what froze or was cut off is ended.
IDLE_S = 10.0
RELAY_IDLE_S = 5.0
DRAIN_S = 1.0
RELAY_STOPS_WITHIN_S = 1.0


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a burst queues for a moment: no news
    settings = Settings.from_env()
    idle_s = max(settings.lock_s, IDLE_S)
    connections = Connections(settings.database_url, size=CONNECTIONS, idle_s=idle_s)
    server = create_server(
        create_app(connections, Provider(settings.psp_url)),
        host=settings.host,
        port=settings.port,
        threads=THREADS,
        connection_limit=2000,
        backlog=1024,
        asyncore_use_poll=True,
        ident=None,
    )
    relay = Relay(
        Connections(settings.database_url, size=1, idle_s=RELAY_IDLE_S),
        bootstrap_servers=settings.bootstrap_servers,
        topic=settings.topic,
    )
    relay.start()
    stop_on_sigterm(server)
    server.run()
    relay.stop(RELAY_STOPS_WITHIN_S)


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
