"""How the process starts, stays healthy and stops, with Redis down all the while."""

from __future__ import annotations

import pytest

from app.settings import Settings
from tests.replica import Replica


def test_it_is_healthy_without_redis(lonely_replica: Replica) -> None:
    assert lonely_replica.get("/healthz").status_code == 200


def test_sigterm_ends_it_with_code_0(lonely_replica: Replica) -> None:
    assert lonely_replica.stop() == 0


def test_what_it_does_not_know_is_a_problem_document(lonely_replica: Replica) -> None:
    answer = lonely_replica.get("/nowhere")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json() == {"status": 404, "title": "Not Found"}


def test_missing_settings_are_named_all_at_once() -> None:
    with pytest.raises(ValueError, match="INSTANCE, REDIS_URL, RATE_LIMIT, RATE_WINDOW_MS"):
        Settings.from_environment({"HOST": "127.0.0.1", "PORT": "8000"})


@pytest.mark.parametrize("limit", ["0", "-1", "ten", "1.5"])
def test_a_limit_that_is_no_positive_integer_is_refused(limit: str) -> None:
    environment = {
        "HOST": "127.0.0.1",
        "PORT": "8000",
        "INSTANCE": "web-1",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "RATE_LIMIT": limit,
        "RATE_WINDOW_MS": "1000",
    }

    with pytest.raises(ValueError, match="RATE_LIMIT"):
        Settings.from_environment(environment)
