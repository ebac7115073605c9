"""What arenas of one grading share: a server that takes long to start, where none of them breaks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Self

from labkit.services import Provider, Service

# Provider -> the kinds that arenas keep apart by names of their own, and that take a processor for
# seconds to start, and again until they are warm.
_SHARED = {"containers": frozenset({"kafka"})}


class Common:
    """Opens services for arenas, of those that can be shared one for all. For many threads at once.

    provider  the name of the provider that opens them
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider.name
        self._open = provider.open
        self._lock = threading.Lock()
        self._shared: dict[str, Future[Service]] = {}
        self._opener = ThreadPoolExecutor(thread_name_prefix="shared")
        self._stack = ExitStack()

    @classmethod
    @contextmanager
    def opened(cls, provider: Provider) -> Iterator[Self]:
        """Shared services are gone at the end of the block."""
        common = cls(provider)
        with common._stack, common._opener:
            yield common

    @contextmanager
    def open(self, kind: str, *, broken: bool) -> Iterator[Service]:
        """A service for one arena, its own where it is `broken` there; raises ServiceError."""
        if broken or not is_shared(kind, self.provider):
            with self._open(kind) as service:
                yield service
        else:
            yield self._one_for_all(kind)

    def _one_for_all(self, kind: str) -> Service:
        """Opened for the first to come; the others wait, and meet with the same error."""
        with self._lock:
            if kind not in self._shared:
                self._shared[kind] = self._opener.submit(self._stack.enter_context, self._open(kind))
        return self._shared[kind].result()


def is_shared(kind: str, provider: str) -> bool:
    """Whether arenas share a service of the kind on the provider of that name, unless they break it."""
    return kind in _SHARED.get(provider, ())


def servers_needed(kind: str, provider: str, broken: Sequence[bool]) -> int:
    """How many servers of a kind arenas have at the same time; `broken` tells for each if it breaks them."""
    if not is_shared(kind, provider):
        return len(broken)
    return sum(broken) + (not all(broken))
