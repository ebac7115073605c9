"""How the process starts, stays healthy and stops, with Redis and Postgres down all the while."""

from __future__ import annotations

import pytest

from app.settings import Settings
from tests.replica import Replica

ENVIRONMENT = {
    "HOST": "127.0.0.1",
    "PORT": "8000",
    "INSTANCE": "web-1",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "DATABASE_URL": "postgresql://products:products@127.0.0.1:5432/products",
    "CACHE_TTL_SECONDS": "60",
    "CACHE_NEGATIVE_TTL_SECONDS": "10",
}


def test_it_is_healthy_without_redis_and_postgres(lonely_replica: Replica) -> None:
    assert lonely_replica.get("/healthz").status_code == 200


def test_without_postgres_a_product_is_503_and_healthz_is_not(lonely_replica: Replica) -> None:
    answer = lonely_replica.get("/products/1")

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
        ValueError, match="INSTANCE, REDIS_URL, DATABASE_URL, CACHE_TTL_SECONDS, CACHE_NEGATIVE_TTL_SECONDS"
    ):
        Settings.from_environment({"HOST": "127.0.0.1", "PORT": "8000"})


@pytest.mark.parametrize("name", ["CACHE_TTL_SECONDS", "CACHE_NEGATIVE_TTL_SECONDS"])
@pytest.mark.parametrize("life", ["0", "-1", "ten", "1.5"])
def test_a_life_that_is_no_positive_integer_is_refused(name: str, life: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.from_environment({**ENVIRONMENT, name: life})
