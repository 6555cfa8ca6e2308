"""A database of each released schema becomes one of this release, and its cases run on."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from provenet.engine import Engine, Reader, VirtualClock, audit
from provenet.engine.errors import StoreCorrupt, StoreError, StoreLocked, StoreVersion
from provenet.engine.fork import fork
from provenet.engine.store.database import located, reading_engine
from provenet.engine.store.migrations import migrate
from provenet.engine.store.sqlite import connect
from provenet.engine.store.tables import SCHEMA_VERSION
from provenet.engine.store.upgrade import upgrade
from tests.engine.orders import START, orders, run
from tests.support.ledger import Ledger

DATA = Path(__file__).parent / "data"
CASES = 14


def restored(name: str, path: Path) -> Path:
    """A database from its dump, as SQLite text."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(gzip.decompress((DATA / name).read_bytes()).decode())
    return path


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """What the first release wrote: cases done, cases that wait for people, and three effects whose fate a
    crash left unknown; one of them was performed.
    """
    return restored("schema-1.sql.gz", tmp_path / "first.db")


def test_cases_of_the_first_release_run_on_to_the_same_effects(first: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreVersion) as refused:
        audit(first)
    assert f"provenet upgrade --db {first}" in refused.value.hint
    before = {c[0]: c[1] for c in _rows(first, "SELECT id, status FROM provenet_case")}
    assert {"done", "waiting", "running"} == set(before.values())
    assert len(before) == CASES

    found = upgrade(first)
    assert (found.before, found.after) == (1, SCHEMA_VERSION)
    assert len(found.steps) == SCHEMA_VERSION - 1
    assert found.copy is not None
    assert _rows(found.copy, "SELECT value FROM provenet_meta WHERE name = 'schema'") == [("1",)]
    assert audit(first).clean
    assert {c.id: c.status for c in Reader(first).cases()} == before

    ledger = Ledger(restored("schema-1-ledger.sql.gz", tmp_path / "ledger.db"))
    assert ledger.effects()
    asyncio.run(run(str(first), ledger, CASES))
    fresh = Ledger(tmp_path / "fresh-ledger.db")
    asyncio.run(run(str(tmp_path / "fresh.db"), fresh, CASES))
    assert ledger.effects() == fresh.effects()
    result = audit(first)
    assert result.clean, [str(p) for p in result.problems[:5]]
    assert _ends(first) == _ends(tmp_path / "fresh.db")


def test_a_dry_run_changes_nothing(first: Path) -> None:
    before = _rows(first, "SELECT type, name, sql FROM sqlite_master ORDER BY name")
    found = upgrade(first, dry_run="yes")
    assert found.steps
    assert found.copy is None
    assert _rows(first, "SELECT type, name, sql FROM sqlite_master ORDER BY name") == before
    assert _rows(first, "SELECT value FROM provenet_meta WHERE name = 'schema'") == [("1",)]
    assert sorted(p.name for p in first.parent.iterdir()) == ["first.db", "first.db.lock"]


def test_what_is_up_to_date_stays_as_it_is(first: Path) -> None:
    upgrade(first)
    names = sorted(p.name for p in first.parent.iterdir())
    assert upgrade(first).steps == ()
    assert sorted(p.name for p in first.parent.iterdir()) == names


def test_no_copy_is_written_over(first: Path) -> None:
    taken = first.with_name("first.db.schema-1")
    taken.write_text("mine")
    found = upgrade(first)
    assert found.copy == first.with_name("first.db.schema-1.2")
    assert taken.read_text() == "mine"


@pytest.mark.attack(
    "reading the copy of a database that one may not read", "a copy is as closed as its original"
)
def test_a_copy_is_no_more_open_than_the_database(first: Path) -> None:
    first.chmod(0o600)
    copy = upgrade(first).copy
    assert copy is not None
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    other = first.with_name("what-if.db")
    (case, *_) = Reader(first).cases()
    fork(first, case.id, 1, other)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_nothing_is_upgraded_under_a_running_engine(first: Path, tmp_path: Path) -> None:
    async def go() -> None:
        async with Engine.open(tmp_path / "busy.db", clock=VirtualClock(START)):
            with pytest.raises(StoreLocked):
                upgrade(tmp_path / "busy.db")

    asyncio.run(go())


def test_a_step_that_fails_leaves_everything_as_it_was(first: Path) -> None:
    with closing(sqlite3.connect(first)) as db:
        db.execute("CREATE TABLE provenet_request (mine INTEGER)")
        db.commit()
    with pytest.raises(StoreError):
        upgrade(first)
    assert _rows(first, "SELECT value FROM provenet_meta WHERE name = 'schema'") == [("1",)]
    columns = [name for _, name, *_ in _rows(first, "PRAGMA table_info(provenet_case)")]
    assert "owner" not in columns


@pytest.mark.parametrize("said", ["", "-1", "0", "two", "9" * 400])
def test_a_version_that_is_none_is_damage(first: Path, said: str) -> None:
    with closing(sqlite3.connect(first)) as db:
        db.execute("UPDATE provenet_meta SET value = ? WHERE name = 'schema'", (said,))
        db.commit()
    for use in (upgrade, audit):
        with pytest.raises(StoreCorrupt, match="which is none"):
            use(first)


def test_a_later_schema_is_refused_with_its_own_hint(first: Path) -> None:
    with closing(sqlite3.connect(first)) as db:
        db.execute("UPDATE provenet_meta SET value = '99' WHERE name = 'schema'")
        db.commit()
    for use in (upgrade, audit):
        with pytest.raises(StoreVersion, match="99") as refused:
            use(first)
        assert "pip install --upgrade" in refused.value.hint


@pytest.mark.parametrize("name", ["x.db", "text.db", "other.db", ":memory:"])
def test_what_is_no_database_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.db").write_text("customer,monthly\n" * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE mine (x INTEGER)")
        db.commit()
    with pytest.raises(StoreError) as refused:
        upgrade(name if name == ":memory:" else tmp_path / name)
    assert refused.value.hint
    assert not (tmp_path / "x.db").exists()


def test_migrated_tables_equal_fresh_ones_on_sqlite(first: Path, tmp_path: Path) -> None:
    async def make() -> None:
        async with Engine.open(tmp_path / "fresh.db", clock=VirtualClock(START)):
            pass

    asyncio.run(make())
    upgrade(first)
    made = tmp_path / "made.db"
    with connect(made, write=True).connect() as connection:
        migrate(connection, 0)
    fresh = _schema(reading_engine(located(tmp_path / "fresh.db")))
    assert _schema(reading_engine(located(first))) == fresh
    assert _schema(reading_engine(located(made))) == fresh


@pytest.mark.postgres
def test_migrated_tables_equal_fresh_ones_on_postgresql(postgres: str, server: Any) -> None:
    old = server.database()
    _make_first(old)
    found = upgrade(old, dry_run="yes")
    assert found.steps
    with pytest.raises(StoreVersion):
        Reader(old)
    assert upgrade(old).copy is None

    async def make() -> None:
        async with Engine.open(postgres, clock=VirtualClock(START)):
            with pytest.raises(StoreLocked):
                upgrade(postgres)

    asyncio.run(make())
    assert upgrade(postgres).steps == ()
    assert _schema(reading_engine(located(old))) == _schema(reading_engine(located(postgres)))
    assert audit(old).clean


@pytest.mark.postgres
def test_cases_run_on_a_migrated_postgresql_database(postgres: str, tmp_path: Path) -> None:
    _make_first(postgres)
    upgrade(postgres)
    ledger = Ledger(tmp_path / "ledger.db")
    asyncio.run(run(postgres, ledger, 3))
    assert ledger.effects()
    assert audit(postgres).clean


def _make_first(url: str) -> None:
    """The tables of schema 1 on a server."""
    import psycopg

    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        migrate(connection, 0, 1)
        connection.execute(sa.text("INSERT INTO provenet_meta VALUES ('schema', '1'), ('uid', 'abc')"))


def _schema(engine: sa.Engine) -> dict[str, Any]:
    """Tables, columns, keys and indexes, by name; the order of columns means nothing to us."""
    found = sa.inspect(engine)
    return {
        table: {
            "columns": {
                c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)
            },
            "key": found.get_pk_constraint(table),
            "unique": sorted((u["column_names"], u["name"]) for u in found.get_unique_constraints(table)),
            "indexes": [
                (
                    i["name"],
                    i["column_names"],
                    bool(i["unique"]),
                    {k: str(v) for k, v in i.get("dialect_options", {}).items()},
                )
                for i in sorted(found.get_indexes(table), key=lambda i: str(i["name"]))
            ],
            "options": found.get_table_options(table),
        }
        for table in found.get_table_names()
    }


def _rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def _ends(path: Path) -> dict[str, tuple[str, str | None]]:
    return {c.id: (c.status, c.outcome_place) for c in Reader(path).cases()}


def test_the_agent_is_the_one_that_the_first_release_ran(first: Path, tmp_path: Path) -> None:
    """Else the cases of the dump would be left alone, and the test above would hold nothing."""
    from provenet.nets.formats.canonical import content_hash

    net = orders(Ledger(tmp_path / "none.db")).net
    assert _rows(first, "SELECT DISTINCT net FROM provenet_case") == [(content_hash(net),)]
