"""What an arena has before any process of the submission runs: topics, and a backlog of jobs."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .jobs import Job
from .topics import PARTITIONS, Topics

_BACKLOG_EACH = 2


class Stock:
    """The topics of one arena, and the jobs that lay on them before the first worker started.

    readying         held by the one check that sees to the group
    is_ready         whether the group was seen to work, in an arena in which nothing breaks it
    needs_new_group  whether the embedded broker has left the group in a state that it will not leave
    """

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.backlog: Sequence[Job] = ()
        self.readying = threading.Lock()
        self.is_ready = False
        self.needs_new_group = False

    def close(self) -> None:
        self.topics.close()


def stocked(services: Mapping[str, Any], chance: random.Random, settings: Mapping[str, str]) -> Stock:
    """Topics with a few jobs in each partition."""
    topics = Topics(
        services["kafka"],
        jobs=settings["JOBS_TOPIC"],
        dead=settings["JOBS_DLQ_TOPIC"],
        group=settings["JOBS_GROUP"],
    )
    topics.create()
    stock = Stock(topics)
    stock.backlog = _written(topics, chance)
    return stock


def _written(topics: Topics, chance: random.Random) -> list[Job]:
    jobs = [
        Job(f"backlog-{chance.getrandbits(40):010x}", f"early-{chance.getrandbits(40):010x}", {"early": True})
        for _ in range(PARTITIONS * _BACKLOG_EACH)
    ]
    places = [number % PARTITIONS for number in range(len(jobs))]
    records = topics.write(
        (place, job.key.encode(), job.value) for place, job in zip(places, jobs, strict=True)
    )
    return [replace(job, record=record) for job, record in zip(jobs, records, strict=True)]
