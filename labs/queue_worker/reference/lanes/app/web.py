"""The HTTP surface."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
import uuid
from dataclasses import asdict
from types import FrameType

from flask import Flask, Response, request
from waitress.server import TcpWSGIServer, create_server  # type: ignore[import-untyped]
from werkzeug.routing import BaseConverter

from app import problems
from app.connections import Connections
from app.jobs import MOST_BODY_BYTES, Job, parse_request
from app.ledger import Ledger
from app.problems import problem
from app.producing import Producing
from app.settings import Settings

THREADS = 32
CONNECTIONS = 10
DRAIN_S = 2.0


class Desk:
    """Takes jobs and tells how they stand."""

    def __init__(self, ledger: Ledger, producing: Producing, *, topic: str) -> None:
        self._ledger = ledger
        self._producing = producing
        self._topic = topic

    def take(self, key: str, payload: str) -> Job:
        """First known, then on its way: a worker may have it before this returns.

        Raises LedgerUnavailable or NotWritten; the job may be delivered all the same.
        """
        job = Job(str(uuid.uuid4()), key, payload)
        self._ledger.enqueue(job)
        self._producing.write(self._topic, key=key.encode(), value=job.record())
        return job


class Anything(BaseConverter):
    """An id as others choose it, slashes included."""

    regex = r"[\s\S]+"
    part_isolating = False


def create_app(desk: Desk, ledger: Ledger) -> Flask:
    """The whole service. Neither Postgres nor Kafka is spoken to before a request needs them."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = Anything
    problems.install(app)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/jobs")
    def post() -> Response:
        job = desk.take(*parse_request(request.get_data()))
        return _json({"id": job.id, "status": "queued"}, status=202, location=f"/jobs/{job.id}")

    @app.get("/jobs/<anything:job_id>")
    def get(job_id: str) -> Response:
        standing = ledger.find(job_id)
        return _json({"id": job_id, **asdict(standing)}) if standing else problem(404)

    return app


def _json(document: dict[str, object], *, status: int = 200, location: str | None = None) -> Response:
    headers = {"Location": location} if location else None
    return Response(json.dumps(document), status, headers, content_type="application/json")


def serve() -> None:
    """Serve until SIGTERM, then finish what was begun."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a burst queues for a moment: no news
    settings = Settings.from_env()
    ledger = Ledger(Connections(settings.database_url, size=CONNECTIONS))
    producing = Producing(settings.kafka)
    server = create_server(
        create_app(Desk(ledger, producing, topic=settings.topic), ledger),
        host=settings.host,
        port=settings.port,
        threads=THREADS,
        connection_limit=2000,
        backlog=1024,
        asyncore_use_poll=True,
        ident=None,
    )
    stop_on_sigterm(server)
    server.run()
    producing.close()


def stop_on_sigterm(server: TcpWSGIServer) -> None:
    """Waitress stops on SystemExit: requests at work are finished, but queued ones dropped. So let
    the queue run empty first; meanwhile nothing new is read, for the handler holds the reading thread.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        latest = time.monotonic() + DRAIN_S
        while server.task_dispatcher.queue and time.monotonic() < latest:
            time.sleep(0.01)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
