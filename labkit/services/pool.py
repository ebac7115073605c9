"""Where the keeper of warm services is written down, and whether that is still true."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import platformdirs
import psutil

from labkit import reaper
from labkit.errors import ServiceError
from labkit.services.loans import raise_if_error

# Nobody wants servers for ever that were forgotten: after so long without a loan the keeper ends.
IDLE_S = 8 * 3600.0
# Between a process' start as two readers compute it, where the clock is set in between.
_CLOCK_S = 2.0


@dataclass(frozen=True)
class Pool:
    """One keeper and how it is reached.

    pid, born  its process, and when that started (seconds of `time.time()`): numbers come again
    run, temp  the run that its servers belong to, and the folder with its temporary ones
    provider   "containers" or "embedded"
    kinds      what it has servers of
    engine     the Docker engine's address in the reaper's words
    socket     where it listens
    kit        version of the kit that started it
    """

    pid: int
    born: float
    run: str
    temp: str
    provider: str
    kinds: list[str]
    engine: str
    socket: str
    kit: str

    def process(self) -> psutil.Process | None:
        """The keeper's process, if it still is that."""
        try:
            process = psutil.Process(self.pid)
            ours = abs(process.create_time() - self.born) < _CLOCK_S
            return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def up_since(self) -> str:
        """The time of day, 14:02, after the date where that is not today's."""
        began = time.localtime(self.born)
        today = began[:3] == time.localtime()[:3]
        return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", began)

    @property
    def is_of_this_kit(self) -> bool:
        """Another kit may set servers up otherwise."""
        return self.kit == version("portfolio-labkit")


def state_folder() -> Path:
    """The user's folder for what labkit knows from one command to the next."""
    return platformdirs.user_state_path("labkit", appauthor=False)


def read_pool() -> Pool | None:
    """The pool that is written down, be it there or gone; None where none is."""
    try:
        return Pool(**json.loads(_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def written(pool: Pool) -> Iterator[None]:
    """Write the pool down for the length of the block."""
    unfinished = _file().with_suffix(f".{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(pool)), encoding="utf-8")
    unfinished.replace(_file())
    try:
        yield
    finally:
        forget(pool)


def forget(pool: Pool) -> None:
    """Strike the pool out, unless another one is written there by now."""
    if read_pool() == pool:
        _file().unlink(missing_ok=True)


def clear_after(pool: Pool) -> None:
    """Remove what a keeper left that did not end in order: with the machine, say, and its reaper too.

    Raises ServiceError where the Docker engine has to be asked and does not answer.
    """
    # In the order of the run's own end: servers first, then what they write into.
    places = [Path(pool.temp), Path(reaper.SHARED_MEMORY)]
    paths = [str(path) for place in places for path in place.glob(f"{reaper.PREFIX}{pool.run}*")]
    reaper.sweep(pool.run, paths, at_least=0)
    for path in paths:
        reaper.remove(path)
    if pool.provider == "containers":
        _clear_containers(pool)
    forget(pool)


def _clear_containers(pool: Pool) -> None:
    from labkit.services import engine

    with contextlib.closing(engine.connect(timeout=5)):
        reaper.remove_containers(pool.run, pool.engine)


def launch(provider: str, counts: Mapping[str, int]) -> None:
    """Start a keeper with so many services of each kind; it stays when we leave. Raises ServiceError."""
    lock_path()
    log = state_folder() / "services.log"
    order = json.dumps({"provider": provider, "counts": dict(counts)})
    with log.open("wb") as errors:
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "labkit.services.keeper", order],
            cwd="/",
            # The mark of an outer run must not be on it: that run would end it.
            env={name: value for name, value in os.environ.items() if name != reaper.TAG},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    try:
        assert keeper.stdout is not None
        said = keeper.stdout.readline()
    except BaseException:
        keeper.terminate()
        keeper.wait()
        raise
    if not said:
        lines = "".join(f"\n  {line}" for line in log.read_text(errors="replace").splitlines()[-5:])
        raise ServiceError(f"the keeper of the services ended with code {keeper.wait()}:{lines}")
    raise_if_error(json.loads(said))


def end(pool: Pool, process: psutil.Process, *, patience: float = 60.0) -> None:
    """Wait until a keeper that was asked to end is gone, then clear up; kill one that does not go."""
    try:
        process.wait(patience)
    except psutil.TimeoutExpired:
        process.kill()  # psutil looks whether the number is still that process'
        process.wait(5)
    except psutil.NoSuchProcess:
        pass
    if read_pool() == pool:
        clear_after(pool)


def _file() -> Path:
    return state_folder() / "services.json"


def lock_path() -> Path:
    """The file that a keeper holds locked while it lives; its folder is made. Raises ServiceError."""
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ServiceError(
            f"{folder} cannot be made: {error.strerror}", remedy="set XDG_STATE_HOME to a folder of yours"
        ) from error
    return folder / "services.lock"
