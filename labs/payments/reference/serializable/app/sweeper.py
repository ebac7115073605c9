"""Ends what a process began and did not end, whether or not its client comes back."""

from __future__ import annotations

import logging
import threading
import time

from app.cashier import Cashier
from app.database import Database, DatabaseUnavailable
from app.intents import COLUMNS, Intent
from app.provider import PATIENCE_S, ProviderFailed

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
SETTLE_WITHIN_S = 8.0

# Whoever takes some marks them, so that sweepers do not all take the same.
TAKE = f"""
UPDATE intents SET tried_at = now()
WHERE id IN (
  SELECT id FROM intents
  WHERE begun_at > now() - interval '7 days' AND begun_at < now() - make_interval(secs => :age)
    AND tried_at < now() - make_interval(secs => :age) AND status IS NULL
  ORDER BY begun_at LIMIT 5 FOR UPDATE SKIP LOCKED)
RETURNING {COLUMNS}
"""  # noqa: S608


class Sweeper:
    def __init__(self, database: Database, cashier: Cashier, *, lock_s: float) -> None:
        self._database = database
        self._cashier = cashier
        # Younger ones are most likely at work; to settle one of these would be right, but no use.
        self._age_s = lock_s + PATIENCE_S

    def run(self, stopped: threading.Event) -> None:
        while not stopped.wait(LOOK_EVERY_S):
            try:
                self._sweep(stopped)
            except DatabaseUnavailable:
                continue
            except Exception:
                logger.exception("a bug")

    def _sweep(self, stopped: threading.Event) -> None:
        until = time.monotonic() + SETTLE_WITHIN_S
        for row in self._database.run(TAKE, age=self._age_s, until=until):
            if stopped.is_set():
                return
            now = time.monotonic()
            try:
                self._cashier.settle(
                    Intent(*row),
                    provider_until=now + PATIENCE_S,
                    until=now + SETTLE_WITHIN_S,
                )
            except ProviderFailed:
                continue  # it comes up again when it has aged
