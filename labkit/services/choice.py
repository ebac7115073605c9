"""Which provider a grading takes, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.errors import UnknownName
from labkit.run import Run
from labkit.services import Provider

PROVIDERS = ("auto", "containers", "embedded", "external")


@dataclass(frozen=True)
class Chosen:
    """A provider, with the reason in one line for the learner."""

    provider: Provider
    reason: str


def choose_provider(wanted: str, *, run: Run, services: Sequence[str]) -> Chosen:
    """The provider called `wanted`; "auto" takes containers where they can start at once, else embedded.

    Raises UnknownName, and ServiceError where the wanted one cannot be used.
    """
    if wanted not in PROVIDERS:
        raise UnknownName("provider of services", wanted, PROVIDERS)
    if wanted == "external":
        from labkit.services.external import External

        return Chosen(External(run), "services: those at the addresses you gave")
    if wanted == "embedded":
        return Chosen(_embedded(run), "services: embedded servers, as asked for")
    from labkit.services.containers import Containers
    from labkit.services.engine import docker_status

    status = docker_status(services)
    if status.usable or wanted == "containers":
        return Chosen(Containers(run), f"services: containers on {status.engine}")
    return Chosen(_embedded(run), f"services: embedded servers, since {status.problem}")


def _embedded(run: Run) -> Provider:
    from labkit.services.embedded import Embedded

    return Embedded(run)
