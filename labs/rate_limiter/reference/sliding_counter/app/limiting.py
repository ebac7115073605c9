"""The limiter in front of everything under /api/, whether a route exists there or not."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from app.limiter import Decision, LimiterUnavailable, SlidingCounter
from app.problems import problem

MAX_KEY_CHARACTERS = 128


def rate_limiting(limiter: SlidingCounter, *, limit: int) -> Middleware:
    """Identifies the client by X-Api-Key alone and answers 400 and 429 itself."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        client = request.headers.get("X-Api-Key", "")
        if not 1 <= len(client) <= MAX_KEY_CHARACTERS:
            return problem(400, detail=f"X-Api-Key must have 1 to {MAX_KEY_CHARACTERS} characters")
        try:
            # Header values are bytes to HTTP; aiohttp keeps those that are no UTF-8 as surrogates.
            decision = await limiter.decide(client.encode("utf-8", "surrogateescape"))
        except LimiterUnavailable:
            return await handler(request)  # the declared policy, `open`
        headers = _headers(decision, limit=limit)
        if not decision.admitted:
            return problem(429, headers=headers)
        response = await handler(request)
        response.headers.update(headers)
        return response

    return middleware


def _headers(decision: Decision, *, limit: int) -> dict[str, str]:
    headers = {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(decision.remaining)}
    if not decision.admitted:
        headers["Retry-After"] = str(decision.retry_after_s)
    return headers
