"""The HTTP surface."""

from __future__ import annotations

import re

from flask import Flask, Response

from app import limiting, problems
from app.limiter import FixedWindow, connect
from app.problems import problem
from app.settings import Settings

ITEM_ID = re.compile(r"[A-Za-z0-9-]+")


def create_app(settings: Settings, *, threads: int) -> Flask:
    """The whole service. Redis is not spoken to before the first request under /api/."""
    redis = connect(settings.redis_url, connections=threads)
    limiter = FixedWindow(redis, limit=settings.limit, window_ms=settings.window_ms)
    app = Flask(__name__, static_folder=None)
    limiting.install(app, limiter, limit=settings.limit)
    problems.install(app)
    _add_routes(app, instance=settings.instance)
    return app


def _add_routes(app: Flask, *, instance: str) -> None:
    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/ping")
    def ping() -> dict[str, object]:
        return {"pong": True, "instance": instance}

    @app.get("/api/items/<item_id>")
    def item(item_id: str) -> dict[str, str] | Response:
        if not ITEM_ID.fullmatch(item_id):
            return problem(400, detail="an item's id has letters, digits and - only")
        return {"id": item_id, "instance": instance}
