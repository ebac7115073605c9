"""Products: read through the cache, written to the table."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.cache import Cache, CacheUnavailable, Claim, Opening
from app.flights import Flights
from app.table import Table, TableUnavailable, Written

# How long one replica waits for another's load before it loads for itself.
PATIENCE_S = 0.4
LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Found:
    """product: JSON text, or None if there is none; hit: the cache said so."""

    product: str | None
    hit: bool


class Catalogue:
    """Every method raises TableUnavailable where Postgres is needed and does not answer."""

    def __init__(self, cache: Cache, table: Table) -> None:
        self._cache = cache
        self._table = table
        self._flights = Flights[Found]()

    def get(self, product_id: int) -> Found:
        """From the cache, else from the table.

        Threads share a load within a generation only: after a write there is another, so whoever
        comes then joins no load that began before.
        """
        try:
            entry = self._cache.find(product_id)
            if entry is not None:
                return Found(entry.product, hit=True)
            opening = self._cache.open(product_id)
        except CacheUnavailable:
            return Found(self._table.load(product_id), hit=False)
        key = (product_id, opening.generation)
        return self._flights.join(key, lambda: self._fetch(product_id, opening))

    def list(self, product_ids: Sequence[int]) -> list[str]:
        """Those that there are, in the order asked."""
        try:
            entries = self._cache.find_all(product_ids)
        except CacheUnavailable:
            entries = {}
        products = {product_id: entry.product for product_id, entry in entries.items()}
        missing = [product_id for product_id in product_ids if product_id not in products]
        if missing:
            products.update(self._table.load_all(missing))
        found = (products.get(product_id) for product_id in product_ids)
        return [product for product in found if product is not None]

    def put(self, product_id: int, body: str) -> Written:
        """Create or replace. Raises Unstorable."""
        try:
            written = self._table.put(product_id, body)
        except TableUnavailable:
            self._cache.forget(product_id)  # it may have been done
            raise
        self._cache.forget(product_id)
        return written

    def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        try:
            deleted = self._table.delete(product_id)
        finally:
            self._cache.forget(product_id)
        return deleted

    def _fetch(self, product_id: int, opening: Opening) -> Found:
        """What another has filled meanwhile, else a load under the lock, or without it for want of patience.

        The lock only saves work. Whoever loads may fill: it is the generation that keeps old rows out.
        """
        owner = secrets.token_hex(8).encode()
        claim = self._wait(product_id, owner)
        try:
            if claim.entry is not None:
                return Found(claim.entry.product, hit=True)
            product = self._table.load(product_id)
            with suppress(CacheUnavailable):
                self._cache.fill(product_id, product, opening)
            return Found(product, hit=False)
        finally:
            if claim.granted:
                with suppress(CacheUnavailable):
                    self._cache.release(product_id, owner)

    def _wait(self, product_id: int, owner: bytes) -> Claim:
        """Until the entry is there, the lock is ours, or it has taken too long."""
        latest = time.monotonic() + PATIENCE_S
        with suppress(CacheUnavailable):
            while True:
                claim = self._cache.claim(product_id, owner)
                if claim.entry is not None or claim.granted or time.monotonic() > latest:
                    return claim
                time.sleep(LOOK_EVERY_S)
        return Claim(None, granted=False)
