"""The consumer group: made sure of before a check judges, and begun anew where the broker has lost it.

The embedded broker now and then leaves a group in a state that it never leaves: members join, and
nobody gets an assignment, or nobody may join at all. No worker can help that, so a check then begins
again with another group.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from kafka import KafkaConsumer
from kafka.errors import InconsistentGroupProtocolError, KafkaError

from .topics import PARTITIONS

if TYPE_CHECKING:
    from .bench import Bench

READY_WITHIN_S = 12.0
ASSIGNED_WITHIN_S = 6.0


def ready(bench: Bench) -> None:
    """A fresh job of each partition is delivered: the group works, and nothing lies before the check."""
    stock = bench.stock
    with stock.readying:
        if stock.is_ready and not stock.needs_new_group:
            return
        if stock.needs_new_group:
            _begin_anew(bench)
        probes = [bench.new_job(bench.fresh_key("probe")) for _ in range(PARTITIONS)]
        written = [bench.write(job, partition=number)[0] for number, job in enumerate(probes)]
        bench.succeed(written, within=READY_WITHIN_S, hint="no worker delivers what lies on the topic")
        stock.is_ready = not bench.arena.setup.exclusive
        bench.begun = bench.arena.clock()


def group_is_stuck(bench: Bench) -> bool:
    """Whether not even a consumer of the grader's own gets an assignment from the embedded broker."""
    if not bench.topics.stands_in:
        return False
    consumer = KafkaConsumer(
        bench.topics.jobs.name,
        bootstrap_servers=bench.arena.services["kafka"].bootstrap,  # type: ignore[attr-defined]
        group_id=bench.topics.group,
        enable_auto_commit=False,
        session_timeout_ms=int(bench.session_s * 1000),
        heartbeat_interval_ms=300,
        max_poll_records=1,
    )
    try:
        consumer.pause()
        return not bench.wait(lambda: _assigned(consumer), within=ASSIGNED_WITHIN_S + 2 * bench.session_s)
    except InconsistentGroupProtocolError:
        return True  # it does so to everybody, once it has come to that
    except (KafkaError, OSError):
        return False
    finally:
        with suppress(KafkaError, OSError):
            consumer.close(autocommit=False)


def _assigned(consumer: KafkaConsumer) -> bool:
    consumer.poll(timeout_ms=50)
    return bool(consumer.assignment())


def _begin_anew(bench: Bench) -> None:
    """All workers leave for another group that begins where this one is."""
    for worker in bench.workers:
        bench.arena.kill(worker)
    fresh = f"{bench.topics.group.partition('+')[0]}+{secrets.token_hex(2)}"
    bench.topics.move_to(fresh)
    bench.arena.change({"JOBS_GROUP": fresh})
    bench.arena.tell("grader", f"the workers begin anew as the group {fresh}")
    bench.arena.start_all(bench.workers)
    bench.stock.needs_new_group = False
