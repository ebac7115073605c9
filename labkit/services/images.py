"""The images that containers run: pinned here and nowhere else, each replaceable for a mirror."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from labkit.errors import UnknownName

PINNED: Mapping[str, str] = MappingProxyType(
    {
        "redis": "redis:8.6.2",
        "postgres": "postgres:18.6",
        "kafka": "apache/kafka:4.2.1",
    }
)
# Built from labkit/isolation/runners, by whoever grades submissions that are not trusted.
RUNNERS: Mapping[str, str] = MappingProxyType({"runner_python": "labkit-runner-python:1"})


def variable(kind: str) -> str:
    """The environment variable that replaces the image of `kind`: LABKIT_IMAGE_REDIS and so on."""
    return f"LABKIT_IMAGE_{kind.upper()}"


def image(kind: str, settings: Mapping[str, str] = MappingProxyType({})) -> str:
    """The image for "redis", "postgres", "kafka" or a runner: from `settings` (kind -> image), else from
    the environment, else the pinned one.
    """
    known = {**PINNED, **RUNNERS}
    if kind not in known:
        raise UnknownName("image", kind, known)
    return settings.get(kind) or os.environ.get(variable(kind)) or known[kind]
