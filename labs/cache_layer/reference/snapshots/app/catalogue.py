"""Products: read through the cache, written to the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.cache import Cache, CacheUnavailable, Look
from app.flights import Flights
from app.table import Put, Table, TableUnavailable


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

        A load is shared under its guard only. Each write changes the guard, so whoever looks after a
        write joins no load that began before it.
        """
        try:
            look = await self._look(product_id)
        except CacheUnavailable:
            loaded = await self._table.load([product_id])
            return Found(loaded.products[product_id], hit=False)
        if product_id in look.entries:
            return Found(look.entries[product_id].product, hit=True)
        key = (product_id, look.guards[product_id])
        product = await self._flights.join(key, lambda: self._load_one(product_id, look))
        return Found(product, hit=False)

    async def list(self, product_ids: Sequence[int]) -> list[str]:
        """Those that there are, in the order asked. What had to be loaded is kept for others."""
        unique = list(dict.fromkeys(product_ids))
        try:
            look = await self._cache.look(unique)
        except CacheUnavailable:
            look = Look(entries={}, guards={}, at_ms=0)
        products = {product_id: entry.product for product_id, entry in look.entries.items()}
        missing = [product_id for product_id in unique if product_id not in products]
        if missing:
            products.update(await self._load(missing, look))
        found = (products[product_id] for product_id in product_ids)
        return [product for product in found if product is not None]

    async def put(self, product_id: int, body: str) -> Put:
        """Create or replace. Raises Unstorable."""
        try:
            put = await self._table.put(product_id, body)
        except TableUnavailable as error:
            await self._note_unknown(product_id, error)
            raise
        await self._cache.note(product_id, transaction=put.transaction)
        return put

    async def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        try:
            deleted = await self._table.delete(product_id)
        except TableUnavailable as error:
            await self._note_unknown(product_id, error)
            raise
        await self._cache.note(product_id, transaction=deleted.transaction)
        return deleted.found

    async def _note_unknown(self, product_id: int, error: TableUnavailable) -> None:
        """It may be committed, now or in a moment: until it has ended, no snapshot passes its guard."""
        if error.transaction is not None:
            await self._cache.note(product_id, transaction=error.transaction)

    async def _look(self, product_id: int) -> Look:
        look = await self._cache.look([product_id])
        if product_id in look.entries or product_id in look.guards:
            return look
        return await self._cache.look([product_id], past_entries=True)  # rubbish: to be replaced

    async def _load_one(self, product_id: int, look: Look) -> str | None:
        return (await self._load([product_id], look))[product_id]

    async def _load(self, product_ids: Sequence[int], look: Look) -> dict[int, str | None]:
        loaded = await self._table.load(product_ids)
        guarded = {id_: product for id_, product in loaded.products.items() if id_ in look.guards}
        if guarded:
            with suppress(CacheUnavailable):
                await self._cache.fill(guarded, look=look, horizon=loaded.horizon)
        return loaded.products
