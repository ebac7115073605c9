"""A worker: takes jobs from Kafka and delivers them to the sink.

It delivers nothing yet. It starts, waits for SIGTERM and ends as it should; what belongs in between is
the lab.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from app.settings import Settings

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Work until SIGTERM, then finish what has begun."""
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    logger.info(
        "%s is up as a member of nothing: no job of %s is delivered to %s yet",
        settings.instance,
        settings.jobs_topic,
        settings.sink_url,
    )
    # Between here and the end: join the group, deliver, book, commit. When stopping is set, no new
    # delivery begins, and those that have begun end, are booked and committed.
    await stopping.wait()
