"""How the process starts, stays healthy and stops, with everything else down all the while."""

from __future__ import annotations

import pytest

from app.settings import Settings
from tests.replica import Replica

ENVIRONMENT = {
    "HOST": "127.0.0.1",
    "PORT": "8000",
    "INSTANCE": "web-1",
    "DATABASE_URL": "postgresql://payments:payments@127.0.0.1:5432/payments",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "PSP_URL": "http://127.0.0.1:9100/",
    "EVENTS_TOPIC": "payment-events",
    "IDEMPOTENCY_LOCK_SECONDS": "10",
}


def test_it_is_healthy_without_postgres_and_kafka(lonely_replica: Replica) -> None:
    assert lonely_replica.get("/healthz").status_code == 200


def test_without_postgres_a_payment_is_503_and_healthz_is_not(lonely_replica: Replica) -> None:
    answer = lonely_replica.get("/payments/1")

    assert answer.status_code == 503
    assert answer.json() == {"status": 503, "title": "Service Unavailable"}
    assert lonely_replica.get("/healthz").status_code == 200


def test_sigterm_ends_it_with_code_0(lonely_replica: Replica) -> None:
    assert lonely_replica.stop() == 0


def test_what_it_does_not_know_is_a_problem_document(lonely_replica: Replica) -> None:
    answer = lonely_replica.get("/nowhere")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json() == {"status": 404, "title": "Not Found"}


def test_missing_settings_are_named_all_at_once() -> None:
    with pytest.raises(
        ValueError, match="INSTANCE, KAFKA_BOOTSTRAP_SERVERS, PSP_URL, EVENTS_TOPIC, IDEMPOTENCY_LOCK_SECONDS"
    ):
        Settings.from_environment({name: ENVIRONMENT[name] for name in ("HOST", "PORT", "DATABASE_URL")})


@pytest.mark.parametrize("lock", ["0", "-1", "ten", "1.5"])
def test_a_lock_that_is_no_positive_integer_is_refused(lock: str) -> None:
    with pytest.raises(ValueError, match="IDEMPOTENCY_LOCK_SECONDS"):
        Settings.from_environment({**ENVIRONMENT, "IDEMPOTENCY_LOCK_SECONDS": lock})


def test_a_slash_at_the_end_of_an_address_is_no_part_of_a_path() -> None:
    assert Settings.from_environment(ENVIRONMENT).psp_url == "http://127.0.0.1:9100"
