"""The verbs of the greeter's checks."""

from __future__ import annotations

import random

from labkit import Arena, Exchange, Request, Setup

ARENAS = {"only": Setup(replicas={"web": 1}, settings={"GREETING": "moin"})}


class Bench:
    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self.arena = arena
        self.name = f"n{chance.randrange(1000)}"

    def greeting(self) -> Exchange:
        return self.arena.send(Request(process="web-1", path=f"/{self.name}"))

    def words(self) -> list[str]:
        return (self.greeting().body or b"").decode().split(", ")
