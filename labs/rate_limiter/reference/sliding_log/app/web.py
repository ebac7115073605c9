"""The HTTP surface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Path

from app import problems
from app.limiter import SlidingLog, connect
from app.middleware import RateLimitMiddleware
from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The whole service. Redis is not spoken to before the first request under /api/."""
    limiter = SlidingLog(connect(settings.redis_url), limit=settings.limit, window_ms=settings.window_ms)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await limiter.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.add_middleware(RateLimitMiddleware, limiter=limiter, limit=settings.limit)
    problems.install(app)
    _add_routes(app, instance=settings.instance)
    return app


def _add_routes(app: FastAPI, *, instance: str) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/ping")
    async def ping() -> dict[str, object]:
        return {"pong": True, "instance": instance}

    @app.get("/api/items/{item_id}")
    async def item(item_id: Annotated[str, Path(pattern=r"\A[A-Za-z0-9-]+\z")]) -> dict[str, str]:
        return {"id": item_id, "instance": instance}
