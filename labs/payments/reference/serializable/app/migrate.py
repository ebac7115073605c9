"""Makes the tables."""

from __future__ import annotations

import os
from pathlib import Path

from app.connections import connect

SCHEMA = Path(__file__).with_name("schema.sql")
# IF NOT EXISTS does not hold between two that look at the same time.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('payments: schema'))"


def main() -> None:
    line = connect(os.environ["DATABASE_URL"], within_s=10)
    try:
        line.say(f"BEGIN; {ONE_AT_A_TIME}; {SCHEMA.read_text()} COMMIT")
    finally:
        line.hang_up()
