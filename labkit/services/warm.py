"""Services that `lab services up` has running already, as a grading sees them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from labkit.errors import ServiceError
from labkit.services import Provider, Service
from labkit.services.images import PINNED, image
from labkit.services.loans import LentHost, Line, address_in, service_on
from labkit.services.pool import Pool


class Warm:
    """Borrows services from a pool, each one whole; opens its own where the pool has none left.

    Nobody else has a server while it is lent, and the keeper makes it as new, or replaces it, before
    the next has it: a check may break it, and it has the first database, as every REDIS_URL promises.
    `otherwise` makes the provider of the same kind for the rest.
    """

    def __init__(self, pool: Pool, otherwise: Callable[[], Provider]) -> None:
        self.name = pool.provider
        self._pool = pool
        self._otherwise = otherwise

    @contextmanager
    def open(self, kind: str) -> Iterator[Service]:
        """Borrow or start one service; raises ServiceError."""
        with ExitStack() as stack:
            service = self._borrow(kind, stack)
            yield service or stack.enter_context(self._otherwise().open(kind))

    def _borrow(self, kind: str, stack: ExitStack) -> Service | None:
        """A service of the pool until the stack is left; None where there is none, or no keeper."""
        if kind not in PINNED:
            return None
        with contextlib.suppress(OSError, ServiceError):
            line = Line(self._pool.socket)
            stack.callback(line.close)
            facts = line.ask(want="loan", kind=kind, image=wanted_image(kind, self.name), **_borrower())
            if facts.get("kind"):
                return service_on(LentHost(line, address_in(facts)), facts)
        return None


def wanted_image(kind: str, provider: str) -> str | None:
    """The image that a service of the provider has to be of; None where it is of none."""
    return image(kind) if provider == "containers" else None


def _borrower() -> dict[str, str | int]:
    """Who we are, for `lab services status`: the command without the path of its program."""
    return {"pid": os.getpid(), "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}
