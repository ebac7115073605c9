"""The API: its routes and what they answer.

Nothing is queued yet. What comes is checked, and then refused in all honesty: a 202 promises that the
job ends, and nothing here could keep that promise.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import web

from app.jobs import BadJob, read_job
from app.problems import problem, problems_as_json
from app.settings import Settings

SETTINGS = web.AppKey("settings", Settings)

# A payload of 64 KiB, however its client spells it.
MAX_BODY_BYTES = 1 << 20
# SIGTERM has to end the process within 8 s; requests under way get most of that.
SHUTDOWN_TIMEOUT_S = 5

logger = logging.getLogger(__name__)
routes = web.RouteTableDef()


def run(settings: Settings) -> None:
    """Serve until SIGTERM, then finish what has begun."""
    logger.info("%s listens on %s:%d", settings.instance, settings.host, settings.port)
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        access_log=None,
        print=None,
    )


def create_app(settings: Settings) -> web.Application:
    app = web.Application(middlewares=[problems_as_json], client_max_size=MAX_BODY_BYTES)
    app[SETTINGS] = settings
    app.add_routes(routes)
    return app


@routes.get("/healthz")
async def healthz(_request: web.Request) -> web.Response:
    """Says that this process takes traffic; it must depend neither on Kafka nor on Postgres."""
    return web.json_response({"status": "ok"})


@routes.post("/jobs")
async def post_job(request: web.Request) -> web.Response:
    read_job(await _body(request))
    # When the job is safe: 202, {"id": ..., "status": "queued"} and Location. Until then this is true.
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "jobs cannot be taken yet: nothing here would keep or deliver them"
    )


@routes.get("/jobs/{id}")
async def get_job(_request: web.Request) -> web.Response:
    """No job was ever taken, so there is none."""
    return problem(HTTPStatus.NOT_FOUND)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadJob(f"the body is larger than {MAX_BODY_BYTES} bytes") from None
