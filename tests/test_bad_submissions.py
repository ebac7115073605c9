"""What no submission should be like: each is told clearly what is wrong, soon, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from labkit.pulse import Pulse

BAD = Path(__file__).parent / "submissions" / "bad.py"
GRADE = "from labkit.cli import grade_main; grade_main()"
WITHIN_S = 20.0
MANIFEST = """
lab = "rate-limiter"

[processes]
web = "{command}"

[options]
algorithm = "token-bucket"
on_redis_outage = "open"
"""


@dataclass(frozen=True)
class Ended:
    """How `grade` ended.

    said     what it printed, on one line
    soon     within 20 seconds
    starved  the machine had no processor to spare: then it may take longer, and be in doubt
    left     processes that still work in the folder
    """

    code: int
    said: str
    soon: bool
    starved: bool
    left: list[str]


def grade(folder: Path, manifest: str) -> Ended:
    """Grade a submission with this lab.toml by the command itself."""
    (folder / "lab.toml").write_text(manifest)
    shutil.copy(BAD, folder)
    with Pulse.open(time.monotonic) as pulse:
        begin = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", GRADE, str(folder), "--services", "embedded", "--seed", "1"],
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        end = time.monotonic()
        took = end - begin - 2 * pulse.late_between(begin, end)
        starved = pulse.starved_between(begin, end)
    said = re.sub(r"\s+", " ", ended.stdout + ended.stderr)
    return Ended(ended.returncode, said, took < WITHIN_S, starved, leftovers(folder))


def leftovers(folder: Path) -> list[str]:
    """Processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.cmdline()}")
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("lab = ", "not valid TOML: "),
        (
            MANIFEST.format(command="x") + "[proceses]",
            "proceses: unknown key 'proceses'; allowed: lab, setup,",
        ),
        (
            MANIFEST.format(command="x").replace("web =", "wbe ="),
            "processes.wbe: unknown role 'wbe'; allowed: web",
        ),
        (MANIFEST.format(command="python 'app"), "processes.web: not a command: no closing quotation"),
        (
            MANIFEST.format(command="x").replace("open", "ajar"),
            "options.on_redis_outage: unknown value 'ajar'",
        ),
    ],
    ids=["broken TOML", "unknown key", "unknown role", "quoting", "unknown value"],
)
def test_a_manifest_that_cannot_be_used(tmp_path, manifest, words):
    ended = grade(tmp_path, manifest)

    assert ended.code == 3
    assert words in ended.said
    assert "lab.toml cannot be used" in ended.said
    assert ended.soon or ended.starved


def test_a_folder_without_a_manifest(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", GRADE, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 3
    assert re.sub(r"\s+", " ", ended.stderr).startswith(
        f"grade: {tmp_path} has no lab.toml `lab new LAB` makes"
    )


FAULTS = {
    "exits_at_once": [
        "ended by itself before it answered /healthz: exit code 3",
        "output cannot read config.yaml: no such file",
    ],
    "never_listens": [
        "did not answer GET /healthz with 200 within 15 s: connection refused",
        "output warming up",
        "hint it has to listen on HOST:PORT of its environment, here 127.0.0.1:",
    ],
    "listens_on_another_port": ["within 15 s: connection refused", "; it listens on port ", " instead"],
    "floods_its_output": ["was ended: it wrote more than 64 MiB of output", "hint log a line a request"],
    "leaves_stubborn_children": ["observed 500 as the status of GET /api/ping"],
    "fails_its_health": ["within 15 s: its status was 500", "hint GET /healthz has to work without any"],
    "never_answers_its_health": ["did not answer GET /healthz with 200 within 15 s: no answer within 1"],
    "drips_its_health": ["did not answer GET /healthz with 200 within 15 s: no answer within 1"],
    "answers_200_megabytes": ["observed an answer longer than 1 MiB"],
    "answers_never": ["expected an HTTP answer within 5 s", "observed no answer within 5 s"],
    "closes_every_connection": ["within 15 s: connection closed without an answer"],
    "speaks_no_http": ["within 15 s: an answer that is not HTTP"],
}


@pytest.fixture(scope="module")
def gradings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """All gradings of services that misbehave, several at a time: they are nearly all waiting."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield {
            fault: pool.submit(
                grade,
                tmp_path_factory.mktemp(fault),
                MANIFEST.format(command=f"{sys.executable} bad.py {fault}"),
            )
            for fault in FAULTS
        }


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_misbehaves(gradings, fault):
    ended = gradings[fault].result()

    assert ended.left == []
    if ended.starved and ended.code == 2:
        pytest.skip("the machine had no processor to spare: no verdict is the right one")
    assert ended.code == 1
    for words in FAULTS[fault]:
        assert words in ended.said
    assert "Traceback" not in ended.said
    assert "✗ failed contract/" in ended.said
    assert ended.soon or ended.starved


def test_a_command_that_is_not_there(tmp_path):
    ended = grade(tmp_path, MANIFEST.format(command="nothing-of-this-name --fast"))

    assert ended.code == 1
    assert "cannot be started: nothing-of-this-name: command not found" in ended.said
    assert "check the command in lab.toml: nothing-of-this-name --fast" in ended.said
    assert ended.soon or ended.starved
