"""The consumer group: made sure of before a check judges, and begun anew where the broker has lost it.

The embedded broker now and then leaves a group in a state that it never leaves: members join, and
nobody gets an assignment, or nobody may join at all. No worker can help that, so a check then begins
again with another group.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from kafka import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import InconsistentGroupProtocolError, KafkaError

from labkit import CheckFailed

from .jobs import Job
from .topics import PARTITIONS

if TYPE_CHECKING:
    from .bench import Bench

READY_WITHIN_S = 15.0
ROUNDS = 5
ASSIGNED_WITHIN_S = 6.0
FETCHED_LATELY_S = 3.0
# What clients in all languages call their ways to share out partitions.
ASSIGNORS = ("range", "roundrobin", "sticky", "cooperative-sticky", "RoundRobinAssigner", "uniform")


def ready(bench: Bench) -> None:
    """A fresh job of each partition is delivered: the group works, and nothing lies before the check."""
    stock = bench.stock
    with stock.readying:
        if stock.is_ready and not stock.needs_new_group:
            return
        if stock.needs_new_group:
            _begin_anew(bench)
        _probe(bench)
        stock.is_ready = not bench.arena.setup.exclusive
        bench.begun = bench.arena.clock()


def _probe(bench: Bench) -> None:
    """Write jobs to each partition, now and then a new one, until one of each has been delivered."""
    probes: dict[int, list[Job]] = {number: [] for number in range(PARTITIONS)}

    def silent() -> list[int]:
        return [number for number, jobs in probes.items() if len(bench.unsuccessful(jobs)) == len(jobs)]

    for _ in range(ROUNDS):
        for number in silent():
            probes[number] += bench.write(_probing(bench), partition=number)
        if bench.wait(lambda: not silent(), within=READY_WITHIN_S / ROUNDS):
            return
    late = silent()
    if not late:
        return
    bench.missed = True
    raise CheckFailed(
        expected=f"jobs of all {PARTITIONS} partitions delivered within {READY_WITHIN_S:g} s",
        observed=f"none of partition {', '.join(map(str, late))}",
        hint=_what_to_do_next(bench),
        evidence=bench.story([], jobs=[probes[late[0]][0]], output=True),
        reading="Deliveries",
    )


def _what_to_do_next(bench: Bench) -> str:
    links = [bench.arena.link(worker, "kafka") for worker in bench.workers]
    asked = {message.api for link in links for message in link.messages}
    if not asked:
        return "no worker has asked Kafka for anything: begin with a consumer of JOBS_TOPIC in JOBS_GROUP"
    if "Fetch" not in asked:
        return "the workers ask Kafka for no records: do they join JOBS_GROUP, and are given partitions?"
    return "the workers ask Kafka for records: each goes to SINK_URL next"


def _probing(bench: Bench) -> Job:
    """A job that nobody can find fault with: whether other ids are taken as well is another check's."""
    return replace(
        bench.new_job(bench.fresh_key("probe")), id=str(UUID(int=bench.chance.getrandbits(128), version=4))
    )


def group_is_stuck(bench: Bench) -> bool:
    """Whether the embedded broker gives nobody an assignment: no worker, nor a member of the grader's own."""
    if not bench.topics.stands_in or _somebody_fetches(bench):
        return False
    try:
        return not _gets_assignment(bench)
    except InconsistentGroupProtocolError:
        # A group may speak an assignor's name that nobody here has heard of, or refuse everybody for ever.
        return bench.arena.setup.exclusive and _is_refused_alone(bench)


def group_has_not_settled(bench: Bench) -> bool:
    """Whether members join it still: on a starved machine they miss their heartbeats, and begin again."""
    since = bench.arena.clock() - 2 * bench.session_s
    return bench.busy() and any(
        message.api == "JoinGroup" and message.at > since
        for worker in bench.workers
        for message in bench.arena.link(worker, "kafka").messages
    )


def _somebody_fetches(bench: Bench) -> bool:
    """Who has an assignment asks for records of it all the time."""
    since = bench.arena.clock() - FETCHED_LATELY_S
    return any(
        message.api == "Fetch" and message.at > since
        for worker in bench.workers
        for message in bench.arena.link(worker, "kafka").messages
    )


def _is_refused_alone(bench: Bench) -> bool:
    for worker in bench.workers:
        bench.arena.kill(worker)
    bench.arena.sleep(2 * bench.session_s)
    try:
        return not _gets_assignment(bench)
    except InconsistentGroupProtocolError:
        return True


def _gets_assignment(bench: Bench) -> bool:
    """Whether a consumer that joins the group is given partitions. Raises InconsistentGroupProtocolError."""
    consumer = KafkaConsumer(
        bench.topics.jobs.name,
        bootstrap_servers=bench.arena.services["kafka"].bootstrap,  # type: ignore[attr-defined]
        group_id=bench.topics.group,
        enable_auto_commit=False,
        session_timeout_ms=int(bench.session_s * 1000),
        heartbeat_interval_ms=300,
        max_poll_records=1,
        partition_assignment_strategy=[_assignor(name) for name in ASSIGNORS],
    )
    try:
        # Known before it joins: it loses a join that it begins when it learns of them.
        consumer.partitions_for_topic(bench.topics.jobs.name)
        return bench.wait(lambda: _assigned(consumer), within=ASSIGNED_WITHIN_S + 2 * bench.session_s)
    except InconsistentGroupProtocolError:
        raise
    except (KafkaError, OSError):
        return True
    finally:
        with suppress(KafkaError, OSError):
            consumer.close(autocommit=False)


def _assignor(name: str) -> type[RangePartitionAssignor]:
    """One that shares out as ranges, whatever it is called: members take what they are given."""
    return type(name, (RangePartitionAssignor,), {"name": name})


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
