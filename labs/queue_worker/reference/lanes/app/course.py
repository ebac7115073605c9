"""The course of one record: claim, deliver, book, and again, until it has ended."""

from __future__ import annotations

import logging
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass

from app.deadletters import DeadLetters, Letter
from app.jobs import InvalidJob, Job, parse_record
from app.ledger import Claimed, Ledger, LedgerUnavailable
from app.sink import Answer, Sink, Verdict

logger = logging.getLogger(__name__)

# How often to look again at what others decide: a claim, a dead letter on its way, Postgres.
CLAIM_POLL_S = 0.1
LETTER_POLL_S = 0.02
LETTER_PAUSE_S = 0.5
LEDGER_PAUSE_S = 0.3
# A process may be frozen between claiming and sending: what it sends late, it cannot book in time.
FRESH_S = 2.0


@dataclass(frozen=True)
class Tools:
    """What every course works with."""

    ledger: Ledger
    sink: Sink
    letters: DeadLetters
    max_attempts: int
    backoff_s: float


class Course:
    """One turn after another, each as long as a delivery at most. It waits between turns, never in one."""

    def __init__(self, tools: Tools, *, key: bytes | None, value: bytes | None) -> None:
        self._tools = tools
        self._key = key
        self._value = value
        self._job: Job | None = None
        self._claim = str(uuid.uuid4())
        self._attempt = 0
        self._answer: Answer | None = None  # one that is not booked yet
        self._letter: Letter | None = None  # set once the record is to be a dead letter
        self._posted: Future[None] | None = None

    @property
    def owes_booking(self) -> bool:
        """The sink has answered, and Postgres does not know yet."""
        return self._answer is not None

    def advance(self) -> float | None:
        """Do what can be done now: seconds until the next turn, or None when the record has ended."""
        try:
            if self._letter is not None:
                return self._send_letter()
            if self._answer is not None:
                return self._book(self._answer)
            return self._deliver()
        except LedgerUnavailable as error:
            logger.warning("Postgres does not answer: %s", error)
            return LEDGER_PAUSE_S

    def _deliver(self) -> float | None:
        try:
            self._job = job = self._job or parse_record(self._value)
        except InvalidJob as error:
            return self._doom(attempts=0, error=str(error))
        send_by = time.monotonic() + FRESH_S
        claimed = self._tools.ledger.claim(job, claim=self._claim)
        if isinstance(claimed, Claimed):
            self._attempt = claimed.attempts + 1
            answer = self._tools.sink.deliver(job, attempt=self._attempt, send_by=send_by)
            if answer.verdict is Verdict.UNSENT:
                return 0.0
            self._answer = answer
            return self._book(answer)
        if claimed.because == "ended":
            return None
        if claimed.because == "doomed":
            return self._doom(attempts=claimed.attempts, error=claimed.error)
        return min(claimed.again_s, CLAIM_POLL_S)

    def _book(self, answer: Answer) -> float | None:
        """Tried until it is done. If the claim was lost, the next turn finds out what became of the job."""
        assert self._job
        ledger, attempt = self._tools.ledger, self._attempt
        if answer.verdict is Verdict.DONE:
            booked = ledger.succeed(self._job, claim=self._claim, attempt=attempt)
            self._answer = None
            return None if booked else 0.0
        wait_s = self._wait_s(answer)
        booked = ledger.fail(self._job, claim=self._claim, attempt=attempt, error=answer.error, wait_s=wait_s)
        self._answer = None
        if not booked or wait_s is not None:
            return wait_s or 0.0
        return self._doom(attempts=attempt, error=answer.error)

    def _wait_s(self, answer: Answer) -> float | None:
        """The wait before the next attempt; None if there is none."""
        if answer.verdict is Verdict.REFUSED or self._attempt >= self._tools.max_attempts:
            return None
        return float(self._tools.backoff_s * 2 ** (self._attempt - 1))

    def _doom(self, *, attempts: int, error: str) -> float:
        self._letter = Letter(self._key, self._value, error=error, attempts=attempts)
        return 0.0

    def _send_letter(self) -> float | None:
        """The record has ended when the letter is safe, and not before."""
        assert self._letter
        if self._posted is None:
            self._posted = self._tools.letters.post(self._letter)
        if not self._posted.done():
            return LETTER_POLL_S
        if error := self._posted.exception():
            logger.warning("a dead letter could not be written: %s", error)
            self._posted = None
            return LETTER_PAUSE_S
        if self._job is not None:
            self._tools.ledger.bury(self._job)
        return None
