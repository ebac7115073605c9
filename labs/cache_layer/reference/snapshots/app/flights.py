"""One load for all who want the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

# For those who looked before the load was filled and come to join after it has ended.
KEPT_S = 1.0

Load = Callable[[], Awaitable[str | None]]


class Flights:
    """Loads under way, by a key that names their moment as well as their product."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[str | None]] = {}

    async def join(self, key: Hashable, load: Load) -> str | None:
        """What the load of this key brings; begin it if nobody has. Raises what it raises."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.ensure_future(load())
            task.add_done_callback(lambda ended: self._keep_for_a_moment(key, ended))
        return await asyncio.shield(task)  # a caller who leaves takes nobody's load along

    def _keep_for_a_moment(self, key: Hashable, task: asyncio.Task[str | None]) -> None:
        failed = task.cancelled() or task.exception() is not None
        task.get_loop().call_later(0 if failed else KEPT_S, self._tasks.pop, key)
