"""Kafka, or a broker that speaks its protocol."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from labkit.errors import ServiceDown
from labkit.services import Host, TcpAddress

if TYPE_CHECKING:
    from labkit.kafkawire import Mend


class Kafka:
    """One Kafka broker; `version` is told by whoever opened it, as the protocol has no word for it.

    `mends` says that it is Tansu, and that links are to put right what that gets wrong.
    """

    kind = "kafka"

    def __init__(self, host: Host, *, version: str = "Kafka", mends: bool = False) -> None:
        self.host = host
        self._mends = mends
        self._version = version

    @cached_property
    def mend(self) -> Mend | None:
        """What Tansu is asked in place of each request of any process; Kafka is asked what they ask."""
        if not self._mends:
            return None
        from labkit.tansu import Tansu

        address = self.host.address
        assert isinstance(address, TcpAddress)
        return Tansu(address).mended

    @property
    def version(self) -> str:
        return self._version

    @cached_property
    def bootstrap(self) -> str:
        """host:port for the grader's own clients, past every link."""
        return str(self.host.address)

    def environment(self, at: TcpAddress) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": str(at)}

    def ping(self, timeout: float = 1.0) -> None:
        self.cluster_id(timeout)

    def cluster_id(self, timeout: float = 1.0) -> str | None:
        """Ask the broker what cluster it is of; raises ServiceDown."""
        cluster: str | None = self._describe(timeout)["cluster_id"]
        return cluster

    def brokers(self, timeout: float = 1.0) -> int:
        """Ask how many brokers the cluster has; raises ServiceDown."""
        return len(self._describe(timeout)["brokers"])

    def _describe(self, timeout: float) -> dict[str, Any]:
        half = int(timeout * 500)  # two waits in a row: for the bootstrap, then for the answer
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self.bootstrap,
                bootstrap_timeout_ms=half,
                request_timeout_ms=half,
                reconnect_backoff_ms=2,
                reconnect_backoff_max_ms=20,
            )
            try:
                described: dict[str, Any] = admin.describe_cluster()
            finally:
                admin.close()
        except (KafkaError, OSError) as error:
            raise ServiceDown(f"Kafka at {self.host.address} does not answer: {error}") from error
        return described
