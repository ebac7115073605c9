"""What arenas of one grading share: a server that takes long to start, where none of them breaks it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Self

from labkit.services import Provider, Service

# Provider -> the kinds that arenas keep apart by names of their own, and that take a processor for
# seconds to start, and again until they are warm.
_SHARED = {"containers": frozenset({"kafka"})}


class Common:
    """Opens services for arenas, of those that can be shared one for all. For many threads at once."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        self._shared: dict[str, Future[Service]] = {}
        self._stack = ExitStack()

    @classmethod
    @contextmanager
    def opened(cls, provider: Provider) -> Iterator[Self]:
        """Shared services are gone at the end of the block."""
        common = cls(provider)
        with common._stack:
            yield common

    def open(self, kind: str, *, broken: bool) -> AbstractContextManager[Service]:
        """A service for one arena, its own where it is `broken` there; raises ServiceError."""
        if broken or not is_shared(kind, self._provider.name):
            return self._provider.open(kind)
        return nullcontext(self._one_for_all(kind))

    def _one_for_all(self, kind: str) -> Service:
        """Opened by the first to come; the others wait, and meet with the same error."""
        with self._lock:
            is_first = kind not in self._shared
            future = self._shared.setdefault(kind, Future())
        if is_first:
            _settle(future, lambda: self._stack.enter_context(self._provider.open(kind)))
        return future.result()


def is_shared(kind: str, provider: str) -> bool:
    """Whether arenas share a service of the kind on the provider of that name, unless they break it."""
    return kind in _SHARED.get(provider, ())


def servers_needed(kind: str, provider: str, broken: Sequence[bool]) -> int:
    """How many servers of a kind arenas have at the same time; `broken` tells for each if it breaks them."""
    if not is_shared(kind, provider):
        return len(broken)
    return sum(broken) + (not all(broken))


def _settle(future: Future[Service], make: Callable[[], Service]) -> None:
    try:
        future.set_result(make())
    except BaseException as error:
        future.set_exception(error)
        raise
