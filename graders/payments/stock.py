"""What the checks of one arena share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .survey import Survey
from .topic import Topic, topic_for


@dataclass(frozen=True)
class Stock:
    """The topic of events, and what was found of each kind of wish; see survey."""

    topic: Topic
    surveys: dict[str, Survey] = field(default_factory=dict)


def stocked(topic: str) -> Callable[[Mapping[str, Any], random.Random], Stock]:
    """What makes an arena's stock before its processes start."""
    make = topic_for(topic)
    return lambda services, chance: Stock(make(services, chance))
