"""Products: read through the cache, written to the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.cache import Cache, CacheUnavailable
from app.flights import Flights
from app.table import Table, TableUnavailable, Written


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
        self._flights = Flights()

    async def get(self, product_id: int) -> Found:
        """From the cache, else from the table.

        A load is shared under its lease only. Whoever is told the same lease after a write has ended
        knows that the write ended the one before, and that the load began after it.
        """
        try:
            look = await self._cache.look(product_id)
        except CacheUnavailable:
            return Found(await self._table.load(product_id), hit=False)
        if look.entry is not None:
            return Found(look.entry.product, hit=True)
        key = (product_id, look.lease)
        product = await self._flights.join(key, lambda: self._load(product_id, lease=look.lease))
        return Found(product, hit=False)

    async def list(self, product_ids: Sequence[int]) -> list[str]:
        """Those that there are, in the order asked."""
        try:
            entries = await self._cache.look_all(product_ids)
        except CacheUnavailable:
            entries = {}
        products = {product_id: entry.product for product_id, entry in entries.items()}
        missing = [product_id for product_id in product_ids if product_id not in products]
        if missing:
            products.update(await self._table.load_all(missing))
        found = (products.get(product_id) for product_id in product_ids)
        return [product for product in found if product is not None]

    async def put(self, product_id: int, body: str) -> Written:
        """Create or replace. Raises Unstorable."""
        try:
            written = await self._table.put(product_id, body)
        except TableUnavailable:
            await self._cache.drop(product_id)  # it may have been done
            raise
        await self._cache.drop(product_id)
        return written

    async def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        try:
            deleted = await self._table.delete(product_id)
        finally:
            await self._cache.drop(product_id)
        return deleted

    async def _load(self, product_id: int, *, lease: bytes) -> str | None:
        product = await self._table.load(product_id)
        with suppress(CacheUnavailable):
            await self._cache.fill(product_id, product, lease=lease)
        return product
