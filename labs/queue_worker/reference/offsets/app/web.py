"""The HTTP surface."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict

from aiohttp import web

from app import database
from app.desk import Desk
from app.jobs import MOST_BODY_BYTES, Job, parse_request
from app.kafka import KafkaWriter
from app.outbox import Relay
from app.problems import as_problems, problem
from app.settings import Settings

CONNECTIONS = 10
DESK = web.AppKey("DESK", Desk)
RELAY = web.AppKey("RELAY", Relay)
# What is in the outbox then is another replica's, or ours when we run again.
FAREWELL_S = 1.5


async def healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def post(request: web.Request) -> web.Response:
    """Promised when Postgres has it; Kafka gets it as soon as it can."""
    key, payload = parse_request(await request.read())
    job = Job(str(uuid.uuid4()), key, payload)
    await request.app[DESK].take(job)
    request.app[RELAY].wake()
    body = {"id": job.id, "status": "queued"}
    return web.json_response(body, status=202, headers={"Location": f"/jobs/{job.id}"})


async def get(request: web.Request) -> web.Response:
    job_id = request.match_info["job_id"]
    standing = await request.app[DESK].find(job_id)
    return web.json_response({"id": job_id, **asdict(standing)}) if standing else problem(404)


def create_app(settings: Settings) -> web.Application:
    """The whole service. It starts whether Postgres and Kafka are there or not."""

    async def connected(app: web.Application) -> AsyncIterator[None]:
        writer = KafkaWriter(settings.kafka)
        async with database.connect(settings.database_url, size=CONNECTIONS) as postgres:
            app[DESK] = Desk(postgres)
            app[RELAY] = relay = Relay(postgres, writer, topic=settings.topic)
            running = asyncio.create_task(relay.run())
            yield
            relay.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(running, FAREWELL_S)
            await writer.close()

    app = web.Application(middlewares=[as_problems], client_max_size=MOST_BODY_BYTES)
    app.cleanup_ctx.append(connected)
    app.router.add_get("/healthz", healthz)
    app.router.add_post("/jobs", post)
    app.router.add_get(r"/jobs/{job_id:[\s\S]+}", get)
    return app


def serve() -> None:
    """Serve until SIGTERM, then finish what was begun."""
    settings = Settings.from_env()
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=None,
        print=None,
        shutdown_timeout=5,
    )
