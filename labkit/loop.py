"""One asyncio loop in a thread of its own, for everything that must not wait for a check.

Links and the HTTP client live on it; checks are plain functions in threads and call in.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """A running event loop. Open it with `Loop.open()`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="labkit-loop", daemon=True)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Loop]:
        loop = cls()
        loop._thread.start()
        try:
            yield loop
        finally:
            loop._close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on the loop, from another thread."""
        return self.begin(work).result()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a plain function on the loop's thread and wait for what it returns."""

        async def calling() -> T:
            return function(*arguments)

        return self.run(calling())

    def _close(self) -> None:
        # What is cut off now has nobody left to tell.
        self._loop.call_soon_threadsafe(self._loop.set_exception_handler, lambda *_: None)
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
