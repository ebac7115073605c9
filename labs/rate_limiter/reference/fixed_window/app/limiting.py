"""The limiter in front of everything under /api/, whether a route exists there or not."""

from __future__ import annotations

from flask import Flask, Response, g, request

from app.limiter import Decision, FixedWindow, LimiterUnavailable
from app.problems import problem

MAX_KEY_CHARACTERS = 128
RETRY_AFTER_OUTAGE_S = 1


def install(app: Flask, limiter: FixedWindow, *, limit: int) -> None:
    """Identify the client by X-Api-Key alone; answer 400, 429 and 503 before any route is asked."""

    @app.before_request
    def admit() -> Response | None:
        if not request.path.startswith("/api/"):
            return None
        client = request.headers.get("X-Api-Key", "")
        if not 1 <= len(client) <= MAX_KEY_CHARACTERS:
            return problem(400, detail=f"X-Api-Key must have 1 to {MAX_KEY_CHARACTERS} characters")
        try:
            decision = limiter.decide(client)
        except LimiterUnavailable:
            return _outage()
        g.rate_limit_headers = _headers(decision, limit=limit)
        return None if decision.admitted else problem(429)

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers.update(g.get("rate_limit_headers", {}))
        return response


def _headers(decision: Decision, *, limit: int) -> dict[str, str]:
    headers = {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(decision.remaining)}
    if not decision.admitted:
        headers["Retry-After"] = str(decision.retry_after_s)
    return headers


def _outage() -> Response:
    """The declared policy, `closed`: without a count nobody passes."""
    return problem(
        503, detail="the request budget cannot be checked", headers={"Retry-After": str(RETRY_AFTER_OUTAGE_S)}
    )
