"""Hints are earned: a service that does the same to every request is not told what it does not do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from labkit.catalogue import find_lab
from labkit.execution import Order, grade

ALWAYS = Path(__file__).parent / "submissions" / "always.py"
MANIFEST = """
lab = "rate-limiter"

[processes]
web = "{python} always.py {status}"

[options]
algorithm = "token-bucket"
on_redis_outage = "open"
"""


SEE_OUTPUT = "see the process's own output for what broke"
# status -> what the first stage says of a service that gives it to every request
SAID: dict[int, dict[str, str | None]] = {
    404: {
        "ping-names-the-instance": None,
        "items-echo-their-id": None,
        "a-request-without-a-valid-key-is-refused": None,
        "a-client-far-over-its-limit-is-rejected": None,
        "headers-tell-what-is-left": None,
    },
    500: {
        "ping-names-the-instance": SEE_OUTPUT,
        "items-echo-their-id": SEE_OUTPUT,
        "a-request-without-a-valid-key-is-refused": SEE_OUTPUT,
        "a-client-far-over-its-limit-is-rejected": SEE_OUTPUT,
        "headers-tell-what-is-left": SEE_OUTPUT,
    },
    429: {
        "ping-names-the-instance": None,
        "items-echo-their-id": None,
        "a-request-without-a-valid-key-is-refused": (
            "who sends no key is no client: there is no budget to take from"
        ),
        "over-budget-is-429-with-retry-after": "the client has to be told when to come back",
        "headers-tell-what-is-left": None,
        "only-the-key-names-the-client": None,
    },
}
# The same of checks of later stages, whose hints are for other mistakes.
LATER: dict[tuple[int, str], str | None] = {
    (500, "sigterm-finishes-what-was-begun"): SEE_OUTPUT,
    (503, "sigterm-finishes-what-was-begun"): "Redis was up: 503 is for when it cannot be asked",
    (429, "an-even-pace-is-never-rejected"): None,
    (429, "flushed-keys-start-afresh"): None,
    (429, "limits-return-after-an-outage"): None,
}


def hints(folder: Path, status: int, **part: str) -> dict[str, str | None]:
    """Check -> hint, of those that failed a service which gives this status to every request."""
    manifest = MANIFEST.format(python=sys.executable, status=status)
    (folder / "lab.toml").write_text(manifest, encoding="utf-8")
    shutil.copy(ALWAYS, folder)
    order = Order(find_lab("rate-limiter"), folder, provider="embedded", seed=7, **part)
    return {check.id: check.hint for check in grade(order).checks if check.verdict == "failed"}


@pytest.mark.parametrize("status", SAID)
def test_every_hint_is_for_what_was_seen(tmp_path: Path, status: int) -> None:
    assert hints(tmp_path, status, stage="contract") == SAID[status]


@pytest.mark.parametrize(("status", "check"), LATER)
def test_no_hint_is_for_another_mistake(tmp_path: Path, status: int, check: str) -> None:
    assert hints(tmp_path, status, only=(check,)) == {check: LATER[status, check]}
