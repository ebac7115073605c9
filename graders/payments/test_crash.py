"""Stage crash: a payment's process is killed at every boundary, started again, and the key retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import Way, check

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"


@check(
    points=3,
    kills=["payment-and-key-in-two-transactions", "lock-never-expires"],
    arena="statements",
    needs=TAKEN,
)
def test_killed_before_any_statement(bench: Bench) -> None:
    """Killed before any statement of a payment comes to Postgres: its key ends 201, with one charge."""
    sweep = bench.sweep(bench.lone_order)
    sweep.at_statements(Way.THERE)

    sweep.expect_conserved()


@check(
    points=3,
    kills=["event-written-after-the-commit", "takes-up-without-looking"],
    arena="statements",
    needs=TAKEN,
)
def test_killed_after_any_statement(bench: Bench) -> None:
    """Killed after any statement of a payment, before its answer comes: its key ends 201, with one charge."""
    sweep = bench.sweep(bench.lone_order)
    sweep.at_statements(Way.BACK)

    sweep.expect_conserved()


@check(points=2, kills=["provider-key-made-in-memory", "lock-never-expires"], arena="outside", needs=TAKEN)
def test_killed_at_the_provider(bench: Bench) -> None:
    """Killed while the provider sees, does or answers a charge: its key ends 201, with one charge."""
    sweep = bench.sweep(bench.lone_order)
    sweep.at_provider()

    sweep.expect_conserved()


@check(points=2, kills=["a-fresh-provider-key-for-each-refund"], arena="outside", needs=REFUNDS)
def test_a_refund_killed_at_the_provider(bench: Bench) -> None:
    """Killed while the provider sees, does or answers a refund: its key ends, with one refund at most."""
    sweep = bench.sweep(bench.lone_refund)
    sweep.at_provider()

    sweep.expect_conserved()


@check(
    points=2,
    kills=["refund-event-in-a-second-transaction", "reserves-before-it-begins"],
    arena="commits",
    needs=REFUNDS,
)
def test_a_refund_killed_after_any_statement(bench: Bench) -> None:
    """Killed after any of the last statements of a refund: its key ends, and it is announced if taken."""
    sweep = bench.sweep(bench.lone_refund)
    sweep.at_last_statements(Way.BACK)
    sweep.expect_the_rests()

    sweep.expect_conserved()


@check(points=2, kills=["publishes-after-the-commit-without-an-outbox"], arena="outside", needs=TAKEN)
def test_killed_while_publishing(bench: Bench) -> None:
    """Whoever publishes is killed at each of its steps, that of the record too: the event comes."""
    sweep = bench.sweep(bench.lone_order)
    sweep.while_publishing()

    sweep.expect_conserved()
