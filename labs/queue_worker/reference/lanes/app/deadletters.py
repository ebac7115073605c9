"""The dead-letter topic."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from app.producing import Producing


@dataclass(frozen=True)
class Letter:
    """A record that is given up: its key and value as they came, why, and after how many deliveries."""

    key: bytes | None
    value: bytes | None
    error: str
    attempts: int


class DeadLetters:
    """Posts letters one after another on a thread of its own, so that a stuck topic stops nobody else."""

    def __init__(self, producing: Producing, *, topic: str) -> None:
        self._producing = producing
        self._topic = topic
        self._thread = ThreadPoolExecutor(1, "dead-letters")

    def post(self, letter: Letter) -> Future[None]:
        """Done when Kafka has the letter, failed when it could not take it in time."""
        return self._thread.submit(self._write, letter)

    def _write(self, letter: Letter) -> None:
        headers = [("x-error", letter.error.encode()), ("x-attempts", str(letter.attempts).encode())]
        self._producing.write(self._topic, key=letter.key, value=letter.value, headers=headers)

    def close(self) -> None:
        """Give up what is not written: its records are not committed."""
        self._thread.shutdown(wait=False, cancel_futures=True)
