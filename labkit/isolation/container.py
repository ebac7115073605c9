"""A container of a submission as the child of a place."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from docker.errors import APIError

from labkit.errors import ServiceError
from labkit.isolation import limits
from labkit.services import engine

INSTEAD = "or grade without --isolate, if you trust the submission"
KILLED_WITHIN_S = 20.0
_SIGNALLED = 128
_GONE, _CONFLICT = 404, 409


def talking(action: str) -> contextlib.AbstractContextManager[None]:
    """What the engine throws becomes a ServiceError that names the action."""
    return engine.translated(action, otherwise=INSTEAD)


def remove(container: Any) -> None:
    """Kill and remove a container with its volumes, unless somebody else does or did."""
    try:
        container.remove(force=True, v=True)
    except APIError as error:
        if error.status_code not in (_GONE, _CONFLICT):
            raise


class Contained:
    """The child in a created container: starts it, and removes it when it has ended."""

    def __init__(self, container: Any, *, name: str, listening: Callable[[], list[int]]) -> None:
        self.listening = listening
        self._name = name
        self._container = container
        self._paused = False
        self._state: Mapping[str, Any] = {}
        self._fault: ServiceError | None = None
        self._ended = threading.Event()
        with talking(f"start {name}"):
            attach = container.client.api.attach
            self._stream = attach(container.id, stdout=True, stderr=True, stream=True, logs=False)
            container.start()
        threading.Thread(target=self._watch, name=f"watch-{name}", daemon=True).start()

    @property
    def code(self) -> int | None:
        return self._ending_code() if self._ended.is_set() else None

    @property
    def ending(self) -> str:
        code = self._ending_code()
        if self._state.get("OOMKilled"):
            return f"killed, since it needed more than its {limits.MEMORY_MIB} MiB of memory"
        with contextlib.suppress(ValueError):
            return f"exit code {code}, that of {signal.Signals(code - _SIGNALLED).name}"
        return f"exit code {code}"

    def output(self) -> Generator[bytes]:
        with contextlib.suppress(OSError), contextlib.closing(self._stream):
            yield from self._stream

    def wait(self, timeout_s: float) -> int | None:
        self._ended.wait(timeout_s)
        return self.code

    def terminate(self) -> None:
        self._signal("SIGTERM")

    def kill(self) -> None:
        if self._paused:
            self.resume()  # engines kill none that is frozen
        self._signal("SIGKILL")
        if not self._ended.wait(KILLED_WITHIN_S):
            raise ServiceError(f"the container of {self._name} was killed but does not end")

    def pause(self) -> None:
        with talking(f"pause {self._name}"), _unless_ended():
            self._container.pause()
            self._paused = True

    @property
    def frozen(self) -> bool:
        return self._paused

    def resume(self) -> None:
        self._paused = False
        with talking(f"resume {self._name}"), _unless_ended():
            self._container.unpause()

    def _signal(self, name: str) -> None:
        if not self._ended.is_set():
            with talking(f"signal {self._name}"), _unless_ended():
                self._container.kill(signal=name)

    def _watch(self) -> None:
        try:
            with talking(f"watch {self._name}"):
                self._container.wait(timeout=None)
                self._container.reload()
                self._state = self._container.attrs["State"]
        except ServiceError as error:
            self._fault = error
        self._ended.set()
        with contextlib.suppress(ServiceError), talking(f"remove {self._name}"):
            remove(self._container)

    def _ending_code(self) -> int:
        if self._fault is not None:
            raise self._fault
        return int(self._state["ExitCode"])


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """To signal a container that has just ended by itself does nothing, as with a process."""
    try:
        yield
    except APIError as error:
        if error.status_code not in (_GONE, _CONFLICT):
            raise
