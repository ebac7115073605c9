"""The HTTP surface."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

import uvicorn
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app import table
from app.jobs import MOST_BODY_BYTES, Job, parse_request
from app.problems import HANDLERS, problem
from app.producer import KafkaWriter
from app.settings import Settings
from app.table import Table

CONNECTIONS = 10
# With a statement of 2.5 s at most before it, less than the 5 s within which a request has its answer.
WRITTEN_S = 2.2


class Anything(Convertor[str]):
    """An id as others choose it, slashes and line breaks included."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class Desk:
    """Takes jobs and tells how they stand."""

    def __init__(self, jobs: Table, writer: KafkaWriter, *, topic: str) -> None:
        self._jobs = jobs
        self._writer = writer
        self._topic = topic

    async def post(self, request: Request) -> JSONResponse:
        """First known, then on its way: a worker may have the job before this returns."""
        key, payload = parse_request(await _body(request))
        job = Job(str(uuid.uuid4()), key, payload)
        await self._jobs.enqueue(job)
        await self._writer.write(self._topic, key=key.encode(), value=job.record())
        return JSONResponse({"id": job.id, "status": "queued"}, 202, {"Location": f"/jobs/{job.id}"})

    async def get(self, request: Request) -> JSONResponse:
        job_id = request.path_params["job_id"]
        standing = await self._jobs.find(job_id)
        return JSONResponse({"id": job_id, **asdict(standing)}) if standing else problem(404)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise HTTPException(413)
    return bytes(body)


async def _healthz(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def create_app(settings: Settings) -> Starlette:
    """The whole service. It starts whether Postgres and Kafka are there or not."""

    register_url_convertor("anything", Anything())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with (
            table.connect(settings.database_url, size=CONNECTIONS) as pool,
            KafkaWriter(settings.kafka, within_s=WRITTEN_S) as writer,
        ):
            desk = Desk(Table(pool), writer, topic=settings.topic)
            app.add_route("/jobs", desk.post, methods=["POST"])
            app.add_route("/jobs/{job_id:anything}", desk.get, methods=["GET"])
            yield

    app = Starlette(routes=[Route("/healthz", _healthz)], lifespan=lifespan, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    return app


def serve() -> None:
    """Serve until SIGTERM, then finish what was begun."""
    # After its graceful stop uvicorn raises the signal again for whoever handled it before;
    # the default handler would turn a clean stop into "killed by signal 15".
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=6,
        timeout_keep_alive=30,
    )
