"""Which statements a process sends to Postgres, whatever its driver makes of them; and holding them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import asyncpg
import pg8000.native
import psycopg
import pytest

from labkit import Way
from labkit.links import Link
from labkit.loop import Loop
from labkit.pgwire import Dialogue, Statement, statements_in
from labkit.relay import Traffic
from labkit.run import Run
from labkit.services.embedded import Embedded
from labkit.services.postgres import Postgres
from labkit.traps import Trap

SELECT = "SELECT id, name FROM products WHERE id = %s"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with Run.open() as run, Embedded(run).open("postgres") as service:
        assert isinstance(service, Postgres)
        with service.connect() as connection:
            connection.execute("CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL)")
            connection.execute("INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 9) n")
            connection.execute(f'GRANT ALL ON products TO "{service.guest.user}"')
        yield service


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@pytest.fixture
def link(loop: Loop, database: Postgres) -> Iterator[Link]:
    link = Link(loop, process="web-1", service="postgres", upstream=database.host.address)
    link.open()
    with closing(link):
        yield link


@contextmanager
def connected(database: Postgres, link: Link, **options: object) -> Iterator[psycopg.Connection]:
    url = database.environment(link.address)["DATABASE_URL"]
    with psycopg.connect(url, **options) as connection:
        yield connection


def about_products(link: Link) -> list[Statement]:
    return [statement for statement in link.statements if statement.is_about("products")]


def through_psycopg(database: Postgres, link: Link) -> list[object]:
    with connected(database, link) as connection:
        return [connection.execute(SELECT, [id]).fetchone()[1] for id in range(1, 8)]


def through_prepared_statements(database: Postgres, link: Link) -> list[object]:
    with connected(database, link, prepare_threshold=0) as connection:
        return [connection.execute(SELECT, [id]).fetchone()[1] for id in range(1, 8)]


def through_a_pipeline(database: Postgres, link: Link) -> list[object]:
    with connected(database, link) as connection, connection.pipeline():
        cursors = [connection.execute(SELECT, [id]) for id in range(1, 8)]
        return [cursor.fetchone()[1] for cursor in cursors]


def through_a_client_side_cursor(database: Postgres, link: Link) -> list[object]:
    with connected(database, link, cursor_factory=psycopg.ClientCursor) as connection:
        return [connection.execute(SELECT, [id]).fetchone()[1] for id in range(1, 8)]


def through_asyncpg(database: Postgres, link: Link) -> list[object]:
    async def asked() -> list[object]:
        connection = await asyncpg.connect(database.environment(link.address)["DATABASE_URL"])
        try:
            query = SELECT.replace("%s", "$1")
            return [(await connection.fetchrow(query, id))["name"] for id in range(1, 8)]
        finally:
            await connection.close()

    return asyncio.run(asked())


def through_pg8000(database: Postgres, link: Link) -> list[object]:
    guest = database.guest
    connection = pg8000.native.Connection(
        guest.user, host=link.address.host, port=link.address.port, database=database.database,
        password=guest.password,
    )  # fmt: skip
    with closing(connection):
        return [connection.run(SELECT.replace("%s", ":id"), id=id)[0][1] for id in range(1, 8)]


def through_sql_prepare(database: Postgres, link: Link) -> list[object]:
    with connected(database, link) as connection:
        connection.execute(f"PREPARE one (bigint) AS {SELECT.replace('%s', '$1')}")
        return [connection.execute(f"EXECUTE one ({id})").fetchone()[1] for id in range(1, 8)]


DRIVERS = [
    through_psycopg,
    through_prepared_statements,
    through_a_pipeline,
    through_a_client_side_cursor,
    through_asyncpg,
    through_pg8000,
    through_sql_prepare,
]


@pytest.mark.parametrize("ask", DRIVERS, ids=lambda ask: ask.__name__)
def test_each_statement_is_counted_once_whatever_the_driver(database, link, ask):
    assert ask(database, link) == [f"product {id}" for id in range(1, 8)]
    assert len(about_products(link)) == 7


def test_rows_fetched_in_parts_are_one_statement(database, link):
    async def asked() -> int:
        connection = await asyncpg.connect(database.environment(link.address)["DATABASE_URL"])
        try:
            async with connection.transaction():
                return len([row async for row in connection.cursor("SELECT id FROM products", prefetch=2)])
        finally:
            await connection.close()

    assert asyncio.run(asked()) == 9
    assert len(about_products(link)) == 1


def test_a_statement_after_an_error_is_counted(database, link):
    with connected(database, link, autocommit=True) as connection:
        for _ in range(3):
            with pytest.raises(psycopg.Error):
                connection.execute("SELECT nothing FROM products WHERE id = %s", [1])
            connection.execute(SELECT, [1])

    assert len(about_products(link)) == 6


def test_what_is_written_in_a_transaction_is_committed_by_its_commit(database, link):
    with connected(database, link) as connection:
        connection.execute("UPDATE products SET name = name WHERE id = %s", [1])
        connection.commit()
        connection.autocommit = True
        connection.execute("UPDATE products SET name = name WHERE id = %s", [1])

    committing = [statement.text.split()[0] for statement in link.statements if statement.commits]
    assert committing == ["COMMIT", "UPDATE"]


def test_statements_tell_on_which_connection_they_were_sent(database, link):
    with connected(database, link) as one, connected(database, link) as other:
        for connection in (one, other, one):
            connection.execute(SELECT, [1])

    first, second, third = about_products(link)
    assert first.connection == third.connection != second.connection


def test_a_transaction_in_one_message_is_told_apart(database, link):
    with connected(database, link, autocommit=True) as connection:
        connection.execute("BEGIN; UPDATE products SET name = name WHERE id = 1; COMMIT")

    texts = [statement.text for statement in link.statements if statement.commits]
    assert texts == ["COMMIT"]


@pytest.mark.parametrize(
    ("query", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("INSERT INTO log VALUES ('UPDATE products; COMMIT')", ["INSERT INTO log VALUES ('')"]),
        (r"INSERT INTO log VALUES (E'it\'s; products')", ["INSERT INTO log VALUES ('')"]),
        ("INSERT INTO log VALUES ('it''s; products')", ["INSERT INTO log VALUES ('')"]),
        ("SELECT $a$ ; products $a$, 2", ["SELECT '', 2"]),
        ("SELECT 1 -- ; products\n, 2 /* ; products */", ["SELECT 1 , 2"]),
        ('SELECT * FROM "products"', ['SELECT * FROM "products"']),
        (" ; ", []),
    ],
)
def test_statements_are_told_apart_past_quotes_and_comments(query, statements):
    assert [" ".join(one.split()) for one in statements_in(query)] == statements


def test_what_is_no_conversation_with_postgres_passes_as_it_is():
    dialogue = Dialogue(lambda: 0.0)

    passed = b"".join(part.data for part in dialogue.sent(b"\x00\x00\x00\x00rest"))
    passed += b"".join(part.data for part in dialogue.sent(b"more"))

    assert passed == b"\x00\x00\x00\x00restmore"
    assert not dialogue.readable


def in_the_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_commit_on_its_way_is_held_until_it_is_released(database, link):
    with connected(database, link) as connection:
        connection.execute("UPDATE products SET name = 'held' WHERE id = 2")
        with link.trap(lambda statement: statement.commits, way=Way.THERE) as trap:
            committing = in_the_background(connection.commit)
            assert trap.caught.wait(PATIENCE_S)

            assert name_of(database, 2) == "product 2"
        committing.join(PATIENCE_S)

    assert name_of(database, 2) == "held"


def test_an_answer_on_its_way_back_is_held_though_the_server_is_done(database, link):
    with connected(database, link) as connection:
        connection.execute("UPDATE products SET name = 'done' WHERE id = 3")
        with link.trap(lambda statement: statement.commits, way=Way.BACK) as trap:
            committing = in_the_background(connection.commit)
            assert trap.caught.wait(PATIENCE_S)

            assert name_of(database, 3) == "done"
            assert committing.is_alive()
        committing.join(PATIENCE_S)
        assert not committing.is_alive()


def test_a_reader_gets_the_rows_that_were_there_when_it_asked(database, link):
    found: list[object] = []
    with connected(database, link, autocommit=True) as connection:
        with link.trap(lambda statement: statement.is_about("products"), way=Way.BACK) as trap:
            reading = in_the_background(lambda: found.extend(connection.execute(SELECT, [4]).fetchone()))
            assert trap.caught.wait(PATIENCE_S)
            with database.connect() as admin:
                admin.execute("UPDATE products SET name = 'newer' WHERE id = 4")
        reading.join(PATIENCE_S)

    assert found == [4, "product 4"]


def test_what_is_cut_off_on_its_way_never_arrives(database, link):
    with (
        connected(database, link, autocommit=True) as connection,
        link.trap(lambda statement: statement.commits, way=Way.THERE) as trap,
    ):
        in_the_background(lambda: trap.caught.wait(PATIENCE_S) and trap.cut())
        with pytest.raises(psycopg.OperationalError):
            connection.execute("UPDATE products SET name = 'lost' WHERE id = 5")

    assert name_of(database, 5) == "product 5"


def test_a_trap_lets_the_statements_beyond_its_number_pass(database, link):
    with connected(database, link, autocommit=True) as first, connected(database, link) as second:
        with link.trap(lambda statement: statement.is_about("products"), way=Way.BACK) as trap:
            held = in_the_background(lambda: first.execute(SELECT, [1]))
            assert trap.caught.wait(PATIENCE_S)

            assert second.execute(SELECT, [1]).fetchone() == (1, "product 1")
            assert trap.count == 2
            assert held.is_alive()
        held.join(PATIENCE_S)


def name_of(database: Postgres, id: int) -> str:
    with database.connect() as admin:
        return admin.execute("SELECT name FROM products WHERE id = %s", [id]).fetchone()[0]


def test_a_trap_laid_while_requests_pass_is_there_for_the_next(loop):
    traffic = Traffic("postgres", None)
    trap = Trap[Statement](loop, lambda statement: statement.commits, way=Way.THERE, most=1)
    commit = Statement(0.0, "COMMIT", in_transaction=False)

    lay = traffic.traps.append  # as the grader's thread takes it
    traffic.trap_for(commit)  # on the loop's thread, in between
    lay(trap)

    assert traffic.trap_for(commit) is trap
