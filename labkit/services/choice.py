"""Which provider a grading takes, and why."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import ServiceError, UnknownName
from labkit.run import Run
from labkit.services import Provider

if TYPE_CHECKING:
    from labkit.services.engine import PullProgress

PROVIDERS = ("auto", "containers", "embedded", "external")
_SOCKET = "/var/run/docker.sock"
_TELL_EVERY_S = 3.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Chosen:
    """A provider, with the reason in one line for the learner."""

    provider: Provider
    reason: str


def choose_provider(wanted: str, *, run: Run, services: Sequence[str], tell: Tell) -> Chosen:
    """The provider called `wanted`; "auto" takes containers where they can start at once, else embedded.

    Services that `lab services up` keeps of that kind are used first; "auto" takes the kind that is
    kept. Images that wanted containers lack are pulled, and `tell` hears how that goes; "auto" pulls
    nothing and never takes the user's own services. Raises UnknownName, and ServiceError where the
    wanted one cannot be used.
    """
    if wanted not in PROVIDERS:
        raise UnknownName("provider of services", wanted, PROVIDERS)
    if wanted == "external":
        from labkit.services.external import External

        return Chosen(External(run), "services: those at the addresses you gave")
    return _warm(wanted, run, services) or _own(wanted, run, services, tell)


def choose_kind(wanted: str, services: Sequence[str], tell: Tell) -> tuple[str, str]:
    """("containers" or "embedded", why), for services that are started now; see `choose_provider`."""
    if wanted == "embedded":
        return wanted, "embedded servers, as asked for"
    if wanted == "auto" and (problem := engine_is_absent()):
        return "embedded", f"embedded servers, since {problem}"
    from labkit.services.engine import docker_status

    status = docker_status(services)
    if wanted == "containers":
        if status.engine is None:
            raise ServiceError(status.problem or "no Docker engine answers", remedy=status.remedy)
        for name in status.missing:
            _pull(name, tell)
    if status.usable or wanted == "containers":
        return "containers", f"containers on {status.engine}"
    return "embedded", f"embedded servers, since {status.problem}"


def own_provider(kind: str, run: Run) -> Provider:
    """The provider that starts "containers" or "embedded" servers for one run."""
    if kind == "embedded":
        from labkit.services.embedded import Embedded

        return Embedded(run)
    from labkit.services.containers import Containers

    return Containers(run)


def engine_is_absent() -> str | None:
    """Why there can be no Docker engine, as files and variables tell; None where one has to be asked.

    To ask takes Docker's client, which is 0.2 s of imports.
    """
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    named = (
        os.environ.get("DOCKER_HOST")
        or os.environ.get("DOCKER_CONTEXT")
        or _has_context(config)
        or (Path.home() / ".testcontainers.properties").exists()
    )
    if named or Path(_SOCKET).exists():
        return None
    return f"there is no Docker engine: {_SOCKET} does not exist"


def _has_context(config: Path) -> bool:
    try:
        return bool(json.loads(config.read_text(encoding="utf-8")).get("currentContext"))
    except (OSError, ValueError, AttributeError):
        return False


def _warm(wanted: str, run: Run, services: Sequence[str]) -> Chosen | None:
    """The services that are kept running, if they are all that is wanted, and of this kit."""
    from labkit.services.pool import read_pool
    from labkit.services.warm import Warm

    pool = read_pool()
    if pool is None or wanted not in ("auto", pool.provider) or not set(services) <= set(pool.kinds):
        return None
    if not pool.is_of_this_kit or pool.process() is None:
        return None
    what = "containers" if pool.provider == "containers" else "embedded servers"
    provider = Warm(pool, partial(own_provider, pool.provider, run))
    return Chosen(provider, f"services: {what} that `lab services up` has kept since {pool.up_since}")


def _own(wanted: str, run: Run, services: Sequence[str], tell: Tell) -> Chosen:
    from labkit.services.pool import read_pool

    kind, why = choose_kind(wanted, services, tell)
    pool = read_pool()
    if pool is not None and pool.process() is None:
        why += f"; those kept since {pool.up_since} are gone, `lab services down` clears up"
    return Chosen(own_provider(kind, run), f"services: {why}")


def _pull(name: str, tell: Tell) -> None:
    from labkit.services import engine

    told = time.monotonic()

    def progress(pulled: PullProgress) -> None:
        nonlocal told
        if pulled.total and time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            tell(f"pulling {name}: {pulled.done / 1e6:.0f} of {pulled.total / 1e6:.0f} MB")

    tell(f"pulling {name}, which the Docker engine does not have yet")
    client = engine.connect()
    try:
        engine.pull(client, name, progress)
    finally:
        client.close()
    tell(f"pulled {name}")
