"""The machine's own lateness is noticed, whatever its reason."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from labkit.pulse import Pulse

STOPPED = """
import sys, time
from labkit.pulse import Pulse
with Pulse.open(time.monotonic) as pulse:
    begin = time.monotonic()
    print("ready", flush=True)
    sys.stdin.readline()
    print(pulse.late_between(begin, time.monotonic()))
"""


def hold_the_interpreter(seconds: float) -> None:
    """What a thread that computes without letting others in does, without the heat."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_a_thread_that_lets_no_other_in_makes_the_pulse_late():
    with Pulse.open(time.monotonic) as pulse:
        time.sleep(0.1)
        begin = time.monotonic()
        hold_the_interpreter(0.5)
        end = time.monotonic()
        late = pulse.late_between(begin, end)

        assert 0.4 < late <= end - begin
        assert pulse.starved_between(begin, end)
        time.sleep(0.1)
        assert pulse.late_between(begin, end + 0.05) >= 0.4, "it stays known"


def test_a_process_that_was_stopped_knows_that_it_was_late():
    command = [sys.executable, "-c", STOPPED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(child.pid, signal.SIGCONT)
        late = float(child.communicate("\n")[0])

    assert late > 0.4


def test_lateness_adds_up_and_never_exceeds_the_time_itself():
    with Pulse.open(time.monotonic) as pulse:
        moments = [time.monotonic()]
        for _ in range(3):
            hold_the_interpreter(0.1)
            time.sleep(0.1)
            moments.append(time.monotonic())
        parts = [pulse.late_between(*pair) for pair in itertools.pairwise(moments)]
        whole = pulse.late_between(moments[0], moments[-1])

    assert whole == pytest.approx(sum(parts), abs=0.08)
    assert 0.15 < whole < moments[-1] - moments[0]


@pytest.mark.parametrize(("idle", "starved"), [(0.02, True), (1.0, False)])
def test_a_machine_without_a_processor_to_spare_is_starved(monkeypatch, idle, starved):
    processors = os.cpu_count() or 1
    times = SimpleNamespace
    monkeypatch.setattr(
        psutil, "cpu_times", lambda: times(idle=time.monotonic() * processors * idle), raising=True
    )
    deadline = time.monotonic() + 30
    with Pulse.open(time.monotonic) as pulse:
        while True:
            begin = time.monotonic()
            time.sleep(0.2)
            # on a machine that really is short of processors some stretch has to be quiet
            if pulse.starved_between(begin, time.monotonic()) is starved:
                return
            assert time.monotonic() < deadline


def test_starved_seconds_are_those_of_starved_stretches_and_of_what_is_not_known_yet(monkeypatch):
    """No processor to spare for half a second, in a second and a half."""
    processors, begun = os.cpu_count() or 1, time.monotonic()

    def idle() -> float:
        passed = time.monotonic() - begun
        return processors * (passed - min(max(passed - 0.5, 0.0), 0.5))

    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(idle=idle()), raising=True)
    with Pulse.open(time.monotonic) as pulse:
        time.sleep(1.8)
        around = pulse.starved_for(begun, begun + 1.7)
        within = pulse.starved_for(begun + 0.6, begun + 0.8)

    # Stretches are judged by 0.3 s, and the last 0.3 s may yet turn out to be one.
    assert 0.3 + 0.3 < around < 1.3
    assert within == pytest.approx(0.2)
