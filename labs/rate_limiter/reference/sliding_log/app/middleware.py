"""The limiter in front of everything under /api/, whether a route exists there or not."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limiter import Decision, LimiterUnavailable, SlidingLog
from app.problems import problem

MAX_KEY_CHARACTERS = 128
RETRY_AFTER_OUTAGE_S = 1


class RateLimitMiddleware:
    """Identifies the client by X-Api-Key alone and answers 400, 429 and 503 itself."""

    def __init__(self, app: ASGIApp, *, limiter: SlidingLog, limit: int) -> None:
        self._app = app
        self._limiter = limiter
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        client = Headers(scope=scope).get("x-api-key", "")
        if not 1 <= len(client) <= MAX_KEY_CHARACTERS:
            refusal = problem(400, detail=f"X-Api-Key must have 1 to {MAX_KEY_CHARACTERS} characters")
            await refusal(scope, receive, send)
            return
        await self._answer(client, scope, receive, send)

    async def _answer(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            decision = await self._limiter.decide(client)
        except LimiterUnavailable:
            await _outage()(scope, receive, send)
            return
        headers = self._headers(decision)
        if not decision.admitted:
            await problem(429, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, decision: Decision) -> dict[str, str]:
        headers = {
            "X-RateLimit-Limit": str(self._limit),
            "X-RateLimit-Remaining": str(decision.remaining),
        }
        if not decision.admitted:
            headers["Retry-After"] = str(decision.retry_after_s)
        return headers


def _outage() -> Response:
    """The declared policy, `closed`: without a count nobody passes."""
    return problem(
        503, detail="the request budget cannot be checked", headers={"Retry-After": str(RETRY_AFTER_OUTAGE_S)}
    )
