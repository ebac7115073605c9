"""Connections to Postgres: few, kept, and hung up on when their time is over."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

Connection = AsyncConnection[tuple[object, ...]]


class Connections:
    """At most `size`, opened when needed, each statement in a transaction of its own.

    A pool that opens them in the background waits longer and longer between its tries while Postgres
    is down, and so notices late that it is back. Here the next request tries.
    """

    def __init__(self, url: str, *, size: int) -> None:
        self._url = url
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def lend(self, deadline_s: float) -> AsyncIterator[Connection]:
        """A connection for the block, which fails with psycopg.OperationalError once the time is over.

        Raises TimeoutError if there is none to be had by then.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        async with asyncio.timeout_at(ends_at):
            await self._turns.acquire()
        try:
            async with asyncio.timeout_at(ends_at):
                connection = await self._take()
            timer = loop.call_at(ends_at, _hang_up, connection.fileno())
            try:
                yield connection
            finally:
                timer.cancel()
                await self._give_back(connection)
        finally:
            self._turns.release()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if _is_alive(connection.fileno()):
                return connection
            await connection.close()
        return await AsyncConnection.connect(self._url, autocommit=True, prepare_threshold=None)

    async def _give_back(self, connection: Connection) -> None:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            await connection.close()

    async def close(self) -> None:
        for connection in self._idle:
            await connection.close()


def _is_alive(descriptor: int) -> bool:
    """Postgres says nothing on an idle connection but farewell."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


def _hang_up(descriptor: int) -> None:
    """End the conversation. To cancel the task instead would wait for Postgres to agree."""
    with socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)
