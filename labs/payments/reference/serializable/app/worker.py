"""The relay's process: publishes events, and brings to their ends payments whose process died."""

from __future__ import annotations

import signal
import threading

from app.cashier import Cashier
from app.database import Database
from app.provider import Provider
from app.relay import Relay
from app.settings import RelaySettings
from app.sweeper import Sweeper

STOPS_WITHIN_S = 6.0


def main() -> None:
    """Until SIGTERM. What is in hand is finished first."""
    settings = RelaySettings.from_env()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    database = Database(settings.database_url)
    sweeper = Sweeper(database, Cashier(database, Provider(settings.psp_url)), lock_s=settings.lock_s)
    relay = Relay(settings.database_url, settings.bootstrap_servers, settings.topic)
    threads = [
        threading.Thread(target=work, args=(stopped,), name=name, daemon=True)
        for name, work in (("relay", relay.run), ("sweeper", sweeper.run))
    ]
    for thread in threads:
        thread.start()
    stopped.wait()
    for thread in threads:
        thread.join(STOPS_WITHIN_S / len(threads))
