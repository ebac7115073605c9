"""How processes start, stay healthy and stop, with Kafka and Postgres down all the while."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from app.settings import Settings
from tests.service import ROOT, Web, Worker


def test_it_is_healthy_without_kafka_and_postgres(lonely_web: Web) -> None:
    assert lonely_web.get("/healthz").status_code == 200


def test_a_job_that_cannot_be_taken_is_503_and_healthz_is_not(lonely_web: Web) -> None:
    answer = lonely_web.post("/jobs", b'{"key": "k", "payload": {}}')

    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert lonely_web.get("/healthz").status_code == 200


def test_sigterm_ends_a_web_process_with_code_0(lonely_settings: dict[str, str]) -> None:
    with Web(instance="web-1", settings=lonely_settings) as web:
        assert web.stop() == 0


def test_a_worker_waits_for_kafka_and_sigterm_ends_it_with_code_0(lonely_settings: dict[str, str]) -> None:
    with Worker(instance="worker-1", settings=lonely_settings) as worker:
        time.sleep(2)
        assert not worker.ended
        assert worker.stop() == 0


@pytest.mark.parametrize("arguments", [[], ["wrker"], ["web", "worker"]])
def test_a_role_that_there_is_not_is_said_so(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "app", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("is no role; there are web, worker")


def test_missing_settings_are_named_all_at_once() -> None:
    with pytest.raises(ValueError, match="INSTANCE, KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL, JOBS_TOPIC, "):
        Settings.from_environment({"HOST": "127.0.0.1", "PORT": "8000"})


def test_a_worker_needs_no_address(lonely_settings: dict[str, str]) -> None:
    assert Settings.from_environment({**lonely_settings, "INSTANCE": "worker-1"}).instance == "worker-1"


@pytest.mark.parametrize("name", ["MAX_ATTEMPTS", "BACKOFF_MS", "WORKER_CONCURRENCY", "SESSION_TIMEOUT_MS"])
@pytest.mark.parametrize("number", ["0", "-1", "ten", "1.5"])
def test_a_number_that_is_no_positive_integer_is_refused(
    lonely_settings: dict[str, str], name: str, number: str
) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.from_environment({**lonely_settings, "INSTANCE": "web-1", name: number})
