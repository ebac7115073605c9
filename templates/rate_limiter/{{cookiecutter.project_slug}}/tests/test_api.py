"""What a client within its budget is answered."""

from __future__ import annotations

import pytest

from tests.conftest import StartReplicas
from tests.replica import Replica


@pytest.fixture
def replica(start_replicas: StartReplicas) -> Replica:
    [replica] = start_replicas(1, limit=10, window_ms=60_000)
    return replica


def test_ping_says_which_replica_answered(replica: Replica, fresh_client: str) -> None:
    answer = replica.get("/api/ping", client=fresh_client)

    assert answer.status_code == 200
    assert answer.json() == {"pong": True, "instance": "web-1"}


@pytest.mark.parametrize("item", ["7", "left-Shoe", "A1-b2"])
def test_an_item_is_echoed(replica: Replica, fresh_client: str, item: str) -> None:
    answer = replica.get(f"/api/items/{item}", client=fresh_client)

    assert answer.status_code == 200
    assert answer.json() == {"id": item, "instance": "web-1"}
