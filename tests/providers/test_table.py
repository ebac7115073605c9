"""docs/providers.md is true: each cell of its tables is what was found by trying it on that provider.

`pytest tests/providers --record` writes the cells anew, of those providers that can be tried here.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from labkit.arena import side_by_side
from labkit.links import Link
from labkit.loop import Loop
from labkit.run import Run
from labkit.services import Provider, Service, engine
from labkit.services.choice import choose_provider
from labkit.services.containers import Containers
from labkit.services.embedded import Embedded
from labkit.services.external import External
from labkit.services.images import PINNED, image
from labkit.services.loans import Line
from labkit.services.pool import Pool, end, launch, read_pool

from .differences import DIFFERENCES, of
from .trials import KINDS, TRIALS, Ground, in_a_cell

DOCUMENT = Path(__file__).parents[2] / "docs" / "providers.md"
TABLES = {
    "servers": (("embedded", "containers", "external"), [kind.capitalize() for kind in KINDS]),
    "trials": (("embedded", "containers", "external"), list(TRIALS)),
    "differences": (("embedded", "containers"), list(DIFFERENCES)),
}
UNTRIED = "?"
CONTAINERS = pytest.param("containers", marks=pytest.mark.docker)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    name: str = request.param
    with ExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        run = stack.enter_context(Run.open())
        loop = stack.enter_context(Loop.open())
        for variable, value in stack.enter_context(outside(run, loop, needed=name == "external")).items():
            patched.setenv(variable, value)
        provider = provider_called(name, run)
        pool = stack.enter_context(kept("containers" if name == "containers" else "embedded"))
        warm = choose_provider(name, run=run, services=KINDS, tell=print).provider
        opened = side_by_side([partial(stack.enter_context, provider.open(kind)) for kind in KINDS])
        services: dict[str, Service] = dict(zip(KINDS, opened, strict=True))
        yield Ground(provider, loop, services, warm, lambda: settle(pool))


def provider_called(name: str, run: Run) -> Provider:
    providers: dict[str, type[Embedded | Containers | External]] = {
        "embedded": Embedded,
        "containers": Containers,
        "external": External,
    }
    return providers[name](run)


@contextmanager
def outside(run: Run, loop: Loop, *, needed: bool) -> Iterator[Mapping[str, str]]:
    """Servers that somebody else runs, and the variables that name them."""
    if not needed:
        yield {}
        return
    with ExitStack() as stack:
        theirs: dict[str, Service] = {kind: stack.enter_context(Embedded(run).open(kind)) for kind in KINDS}
        ways = {kind: stack.enter_context(way_to(theirs[kind], loop)) for kind in KINDS}
        admin = theirs["postgres"].admin  # type: ignore[attr-defined]
        yield {
            "LABKIT_REDIS_URL": f"redis://{ways['redis']}",
            "LABKIT_DATABASE_URL": f"postgresql://{admin.user}:{admin.password}@{ways['postgres']}/app",
            "LABKIT_KAFKA_BOOTSTRAP_SERVERS": ways["kafka"],
        }


@contextmanager
def way_to(service: Service, loop: Loop) -> Iterator[str]:
    """host:port of a server that may listen at a Unix socket."""
    with contextlib.closing(
        Link(loop, process="outside", service=service.kind, upstream=service.host.address)
    ) as link:
        link.open()
        yield str(link.address)


@contextmanager
def kept(provider: str) -> Iterator[Pool]:
    """What `lab services up` keeps, one of each kind."""
    launch(provider, dict.fromkeys(KINDS, 1))
    pool = read_pool()
    assert pool is not None
    process = pool.process()
    assert process is not None
    try:
        yield pool
    finally:
        process.terminate()
        end(pool, process)


def settle(pool: Pool, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    with contextlib.closing(Line(pool.socket)) as line:
        while {server["state"] for server in line.ask(want="status")["servers"]} != {"free"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Tables:
    """The tables of the document; `table -> row -> provider -> cell`."""

    def __init__(self, *, record: bool) -> None:
        self.text = DOCUMENT.read_text(encoding="utf-8")
        self.cells = {name: parsed(self.text, name) for name in TABLES}
        self._record = record

    def expect(self, table: str, row: str, provider: str, found: str) -> None:
        if self._record:
            self.cells[table].setdefault(row, {})[provider] = found
            self.text = written_anew(self.text, self.cells)
            DOCUMENT.write_text(self.text, encoding="utf-8")
        assert self.cells[table].get(row, {}).get(provider) == found


def parsed(text: str, table: str) -> dict[str, dict[str, str]]:
    columns, _ = TABLES[table]
    rows = [line.strip("| ").split(" | ") for line in between(text, table).splitlines()[2:]]
    return {row: dict(zip(columns, cells, strict=True)) for row, *cells in rows}


def written_anew(text: str, cells: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    for table, (columns, rows) in TABLES.items():
        known = cells[table]
        lines = [["", *(f"`{column}`" for column in columns)], ["---"] * (len(columns) + 1)]
        lines += [[row, *(known.get(row, {}).get(column, UNTRIED) for column in columns)] for row in rows]
        old, new = between(text, table), "".join(in_a_row(line) for line in lines)
        text = text.replace(marked(table, old), marked(table, new))
    return text


def in_a_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def marked(table: str, content: str) -> str:
    return f"<!-- {table} -->\n{content}<!-- end -->"


def between(text: str, table: str) -> str:
    """What stands between the table's two marks."""
    found = re.search(marked(table, "(.*?)"), text, re.DOTALL)
    assert found, f"{DOCUMENT.name} has no place for the table {table}"
    return found[1]


@pytest.fixture(scope="module")
def tables(request: pytest.FixtureRequest) -> Tables:
    return Tables(record=request.config.getoption("--record"))


@pytest.mark.parametrize("ground", ["embedded", CONTAINERS, "external"], indirect=True)
@pytest.mark.parametrize("row", TRIALS)
def test_what_a_grading_does_was_done(ground: Ground, row: str, tables: Tables) -> None:
    trial, kinds = TRIALS[row]

    found = side_by_side([partial(trial, ground, kind) for kind in kinds])

    tables.expect("trials", row, ground.provider.name, in_a_cell(dict(zip(kinds, found, strict=True))))


@pytest.mark.parametrize("ground", ["embedded", CONTAINERS], indirect=True)
@pytest.mark.parametrize("row", DIFFERENCES)
def test_where_servers_differ_was_found_by_asking_them(ground: Ground, row: str, tables: Tables) -> None:
    tables.expect("differences", row, ground.provider.name, of(ground, row))


@pytest.mark.parametrize("ground", ["embedded", CONTAINERS, "external"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_servers_are_those_that_are_named(ground: Ground, kind: str, tables: Tables) -> None:
    tables.expect("servers", kind.capitalize(), ground.provider.name, server(ground, kind))


def server(ground: Ground, kind: str) -> str:
    """The program and the version that tells what it can: a later release of that changes nothing here."""
    if ground.provider.name == "external":
        return "yours"
    if ground.provider.name == "containers":
        return f"`{image_of(ground, kind)}`"
    version = re.match(r"\w+ (0\.\d+|\d+)", ground.services[kind].version)
    assert version is not None
    return version[0]


def image_of(ground: Ground, kind: str) -> str:
    """The pinned image, if it is what runs, be it a mirror's."""
    port = ground.services[kind].host.address.port
    with contextlib.closing(engine.connect()) as client:
        running = [
            container.attrs["Config"]["Image"]
            for container in client.containers.list()
            if any(
                binding["HostPort"] == str(port)
                for bound in container.ports.values()
                for binding in bound or ()
            )
        ]
    assert running == [image(kind)]
    return PINNED[kind]


def test_the_tables_are_whole() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    for table, (_, rows) in TABLES.items():
        cells = parsed(text, table)
        assert list(cells) == rows
        assert UNTRIED not in [cell for row in cells.values() for cell in row.values()]
