"""What a submission's containers are made from: an image built from its Dockerfile, or a runner image."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from labkit.errors import ServiceError, SubmissionError, UsageError
from labkit.isolation import limits
from labkit.isolation.container import INSTEAD, remove, talking
from labkit.services import engine
from labkit.services.images import image
from labkit.submission import Submission

DOCKERFILE = "Dockerfile"
# The network of a build's steps, as `docker build --network` takes it; the processes never have one.
BUILD_NETWORK = "LABKIT_BUILD_NETWORK"
BUILD_WITHIN_S = 600.0
_RUNNER_FOLDER = "/srv"
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
# Made on the machine for the machine, or none of the service's business: results of earlier gradings.
_NOT_COPIED = frozenset({".git", ".labkit", ".venv", "venv", "__pycache__"})
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_KEPT_LINES = 20


@dataclass(frozen=True)
class Basis:
    """What a submission's containers are made from.

    image     name of the image
    runner    the image that the porter runs in
    user      "UID:GID", not root
    folder    the working directory
    volumes   folders that the image declares as volumes
    preloads  glibc's loader is in it, so LD_PRELOAD works
    source    folder on this machine that is mounted as the working directory, if any
    origin    the submission's own folder
    """

    image: str
    runner: str
    user: str
    folder: str
    volumes: tuple[str, ...]
    preloads: bool
    source: Path | None
    origin: Path

    def spelled(self, argv: Sequence[str]) -> str:
        """`docker run` with the same limits."""
        mount = (
            f" -v {shlex.quote(str(self.origin))}:{self.folder}:ro -w {self.folder}" if self.source else ""
        )
        return (
            f"docker run --rm {limits.spelled()}{mount} --entrypoint {shlex.quote(argv[0])} "
            f"{self.image} {shlex.join(argv[1:])}"
        ).rstrip()


def has_dockerfile(submission: Submission) -> bool:
    return (submission.folder / DOCKERFILE).is_file()


def check_runner(client: docker.DockerClient) -> str:
    """The name of the runner image for Python, which every isolated grading needs. Raises ServiceError."""
    name = image("runner_python")
    with talking("look for images"):
        if engine.has_image(client, name):
            return name
    recipe = Path(__file__).parent / "runners" / "python"
    raise ServiceError(
        f"the Docker engine has no image {name}",
        remedy=f"docker build -t {name} {shlex.quote(str(recipe))}, {INSTEAD}",
    )


def check_runs_without_dockerfile(submission: Submission) -> None:
    """Raises UsageError where a runner image is not enough."""
    if submission.setup:
        raise UsageError(
            f"{submission.folder} has a setup command and no {DOCKERFILE}: isolated it could not be set up",
            remedy=f"give it a {DOCKERFILE} that does what the setup does, {INSTEAD}",
        )
    for role, argv in submission.commands.items():
        if not _PYTHON.fullmatch(argv[0]):
            raise UsageError(
                f"there is no runner image for {argv[0]}, which starts the process {role} of "
                f"{submission.folder}",
                remedy=f"give it a {DOCKERFILE}, or start it by python, {INSTEAD}",
            )


def built(client: docker.DockerClient, submission: Submission, labels: Mapping[str, str]) -> Basis:
    """Build the submission's Dockerfile. Raises SubmissionError with the last lines if that fails."""
    name = f"labkit-submission:{hashlib.sha256(str(submission.folder).encode()).hexdigest()[:12]}"
    with talking(f"build {submission.folder / DOCKERFILE}"):
        old = client.images.get(name).id if engine.has_image(client, name) else None
        _build(client, submission.folder, name)
        if old not in (None, client.images.get(name).id):
            _forget(client, old)
        config = client.images.get(name).attrs["Config"]
        return Basis(
            image=name,
            runner=image("runner_python"),
            user=_user(config.get("User") or ""),
            folder=config.get("WorkingDir") or "/",
            volumes=tuple(config.get("Volumes") or ()),
            preloads=_has_loader(client, name, labels),
            source=None,
            origin=submission.folder,
        )


def mounted(
    client: docker.DockerClient, submission: Submission, labels: Mapping[str, str], copy: Path
) -> Basis:
    """The runner image with a copy of the submission, made at `copy`, in which any user may read."""
    _copy(submission.folder, copy)
    name = image("runner_python")
    with talking(f"look into {name}"):
        preloads = _has_loader(client, name, labels)
    return Basis(
        image=name,
        runner=name,
        user=_user(""),
        folder=_RUNNER_FOLDER,
        volumes=(),
        preloads=preloads,
        source=copy,
        origin=submission.folder,
    )


def bare() -> Basis:
    """The runner image and no submission."""
    name = image("runner_python")
    return Basis(
        image=name,
        runner=name,
        user=_user(""),
        folder="/",
        volumes=(),
        preloads=False,
        source=None,
        origin=Path("/"),
    )


def _build(client: docker.DockerClient, folder: Path, name: str) -> None:
    """The engine keeps the layers, so that the next build of the folder takes only what has changed."""
    deadline = time.monotonic() + BUILD_WITHIN_S
    lines: list[str] = []
    try:
        events = client.api.build(
            path=str(folder),
            tag=name,
            decode=True,
            rm=True,
            forcerm=True,
            labels={"labkit": "1"},
            network_mode=os.environ.get(BUILD_NETWORK) or None,
            timeout=BUILD_WITHIN_S,
        )
        for event in events:
            lines += str(event.get("stream", "")).splitlines()
            if "error" in event:
                raise _build_failure(folder, str(event["error"]).strip(), lines)
            if time.monotonic() > deadline:
                raise _build_failure(folder, f"it takes more than {BUILD_WITHIN_S:g} s", lines)
    except APIError as error:
        if error.status_code != 400:
            raise
        raise _build_failure(folder, str(error.explanation), lines) from error


def _build_failure(folder: Path, reason: str, lines: Sequence[str]) -> ServiceError | SubmissionError:
    """The submission's fault, unless the image that it begins with is not to be had."""
    steps = [line for line in lines if line.startswith("Step ")]
    if steps and " : FROM " in steps[-1]:
        base = steps[-1].rpartition(" : FROM ")[2]
        return ServiceError(f"{base}, on which {folder / DOCKERFILE} builds, is not to be had: {reason}")
    return SubmissionError(
        f"its {DOCKERFILE} cannot be built: {reason}",
        remedy=f"docker build {shlex.quote(str(folder))}",
        output=[line for line in lines if line.strip()][-_KEPT_LINES:],
    )


def _forget(client: docker.DockerClient, old: str | None) -> None:
    """Remove the image of an earlier build, unless something still runs on it."""
    try:
        client.images.remove(old)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


def _user(configured: str) -> str:
    """The image's user if its number says that it is not root; a name can mean anybody."""
    user, _, group = configured.partition(":")
    if user.isdecimal() and int(user) and (not group or group.isdecimal()):
        return f"{user}:{group or user}"
    return f"{limits.USER}:{limits.USER}"


def _has_loader(client: docker.DockerClient, name: str, labels: Mapping[str, str]) -> bool:
    container = client.containers.create(name, entrypoint=["-"], network_mode="none", labels=dict(labels))
    try:
        return any(_holds(container, path) for path in _LOADERS)
    finally:
        remove(container)


def _holds(container: Any, path: str) -> bool:
    try:
        stream, _ = container.get_archive(path)
    except NotFound:
        return False
    stream.close()
    return True


def _copy(folder: Path, copy: Path) -> None:
    """Links stay links: followed, they would carry the grader's files into the container."""
    shutil.copytree(
        folder, copy, symlinks=True, ignore=_left_out, copy_function=_copy_file, dirs_exist_ok=True
    )
    for directory, _, _ in os.walk(copy):
        Path(directory).chmod(0o755)


def _left_out(directory: str, names: list[str]) -> set[str]:
    special = {
        name
        for name in names
        if not (path := Path(directory, name)).is_symlink() and not path.is_file() and not path.is_dir()
    }
    return special | _NOT_COPIED.intersection(names)


def _copy_file(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    shutil.copyfile(source, target, follow_symlinks=follow_symlinks)
    if not Path(target).is_symlink():
        Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)
