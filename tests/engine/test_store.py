"""The database in trouble: damaged, of another version, full, held by another: clear errors, nothing lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.engine import Engine, Reader, audit
from provenet.engine.codec import decoder, encoder, quote
from provenet.engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreVersion
from provenet.engine.store.database import located, open_to_post
from provenet.nets.errors import ProvenetError
from provenet.nets.schema import StrType, to_json
from tests.engine.kit import deployed, opened
from tests.engine.orders import Order, orders, run
from tests.engine.test_control import started, waiting
from tests.nets.strategies import types, values
from tests.support.ledger import Ledger


@given(types().flatmap(lambda t: st.tuples(st.just(t), values(t))))
def test_the_text_of_a_value_is_its_json_and_comes_back(pair) -> None:  # type: ignore[no-untyped-def]
    import json

    of, value = pair
    text = encoder(of)(value)
    assert json.loads(text) == to_json(value, of)
    assert decoder(of)(text) == value


@given(st.text(), st.sampled_from([1, 50, 200]))
def test_long_texts_are_quoted_as_short_ones_are(text: str, times: int) -> None:
    assert encoder(StrType())(text * times) == quote(text * times)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with one waiting case."""

    async def make() -> None:
        agent = waiting()
        async with opened(agent, tmp_path / "x.db") as engine:
            await started(engine, agent)

    asyncio.run(make())
    return tmp_path / "x.db"


async def _open(path: Path) -> None:
    async with opened(waiting(), path):
        pass


def refused(path: Path, kind: type[ProvenetError]) -> ProvenetError:
    """The error that opening, reading and auditing a database gives."""
    found = None
    for use in (lambda: Reader(path), lambda: audit(path), lambda: asyncio.run(_open(path))):
        with pytest.raises(kind) as error:
            use()
        found = error.value
        assert found.hint, "an error names the next step"
        assert found.where
    assert found is not None
    return found


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("customer,monthly\n" * 100)
    refused(tmp_path / "x.db", StoreCorrupt)
    assert (tmp_path / "x.db").read_text().startswith("customer")


def test_a_damaged_file_is_refused_or_the_damage_named(database: Path) -> None:
    size = database.stat().st_size
    with database.open("r+b") as file:
        for at in range(4096, size, 4096):
            file.seek(at)
            file.write(os.urandom(2048))
    for use in (lambda: audit(database), lambda: asyncio.run(_open(database))):
        with pytest.raises(StoreError) as error:
            use()
        assert error.value.hint


def test_another_schema_version_is_refused(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("UPDATE provenet_meta SET value = '99' WHERE name = 'schema'")
        db.commit()
    assert "99" in refused(database, StoreVersion).message


@pytest.mark.attack("forged net", "not run: a net is known by the hash of its content")
def test_a_net_that_was_changed_in_the_database_is_not_run(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("UPDATE provenet_net SET content = replace(content, 'pricing', 'anybody')")
        db.commit()
    with pytest.raises(StoreCorrupt, match="not the one that was deployed"):
        asyncio.run(_open(database))


@pytest.mark.attack("forged marking", "not run where it does not fit; found by the audit where it does")
def test_a_token_that_was_changed_in_the_database_is_not_run(database: Path) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("UPDATE provenet_token SET value = '{\"id\": 5}'")
        db.commit()
    with pytest.raises(StoreCorrupt, match="does not fit place"):
        asyncio.run(_open(database))


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "folder"), ("nowhere/x.db", "no such folder"), ("mysql://host/db", "not supported")],
)
def test_a_name_that_is_no_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    target = name if "://" in name else str(tmp_path / name)
    with pytest.raises(StoreError, match=message):
        asyncio.run(_open(target))  # type: ignore[arg-type]  # a name, as the command line has it


def test_reading_what_is_not_there_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such database"):
        Reader(tmp_path / "x.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to anything")
def test_a_read_only_database_is_refused(database: Path) -> None:
    database.chmod(0o444)
    with pytest.raises(StoreError, match="cannot be written"):
        asyncio.run(_open(database))


async def test_a_second_engine_is_refused_and_readers_are_not(database: Path) -> None:
    async with opened(waiting(), database) as engine:
        with pytest.raises(StoreLocked, match="another process runs cases"):
            await _open(database)
        other = [sys.executable, "-c", _SECOND, str(database)]
        process = await asyncio.create_subprocess_exec(*other, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        assert b"EN403" in said
        assert Reader(database).counts() == {"waiting": 1}
        await engine.approve("c", "look", "dana@pricing")
        assert audit(database).clean
    await _open(database)


_SECOND = """
import asyncio, sys
from provenet.engine import Engine
from provenet.engine.errors import StoreLocked
async def main():
    async with Engine.open(sys.argv[1]):
        print("opened")
try:
    asyncio.run(main())
except StoreLocked as error:
    print(error)
"""


async def test_a_full_disk_stops_the_engine_and_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    agent = orders(ledger)
    database = tmp_path / "x.db"
    cases = [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(40)]
    async with opened(agent, database) as engine:
        deployed(engine, agent)
        await engine.start_cases("orders", cases)
        pages = engine._store.rows("PRAGMA page_count")[0][0]
        engine._store.rows(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(StoreFull) as full:
            await engine.run_until_idle()
        assert "free some space" in full.value.hint
        with pytest.raises(StoreFull):
            await engine.start_case("orders", inputs=cases[0][1], case_id="one more")
    assert audit(database).clean
    # With room again, everything goes on, and the outside has seen every effect once.
    await run(str(database), ledger, 40)
    undisturbed = Ledger(tmp_path / "undisturbed.db")
    await run(":memory:", undisturbed, 40)
    assert ledger.effects() == undisturbed.effects()
    assert audit(database).clean


async def test_a_transaction_that_the_database_gave_up_is_not_gone_on_with(database: Path) -> None:
    # SQLite rolls back by itself where, say, the disk is full, also if only one statement of many failed.
    async with opened(waiting(), database) as engine:
        engine._store.begin()
        engine._store.database.run("ROLLBACK")  # stands for SQLite's own
        with pytest.raises(StoreFull):
            await engine.approve("c", "look", "dana@pricing")
        with pytest.raises(StoreFull):
            await engine.start_case("waiting", case_id="one more")
    assert Reader(database).tasks()[0].status == "open"
    assert [case.id for case in Reader(database).cases()] == ["c"]
    assert audit(database).clean


async def test_a_query_that_finds_no_room_says_so(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "x.db") as engine:
        rows = engine._store.rows
        pages = rows("PRAGMA page_count")[0][0]
        rows(f"PRAGMA max_page_count = {pages}")
        filling = "INSERT INTO provenet_meta VALUES ('long', hex(zeroblob(100000))) RETURNING name"
        with pytest.raises(StoreFull, match="no room left"):
            rows(filling)


async def test_a_case_that_was_changed_behind_the_engines_back_stops_it(database: Path) -> None:
    async with opened(waiting(), database) as engine:
        with closing(sqlite3.connect(database)) as db:
            db.execute("UPDATE provenet_case SET version = version + 1")
            db.commit()
        with pytest.raises(StoreError, match="behind the engine's back"):
            await engine.approve("c", "look", "dana@pricing")
    assert Reader(database).tasks()[0].status == "open"


async def test_exports_are_json_lines(database: Path) -> None:
    import json

    lines = [json.loads(line) for line in Reader(database).export()]
    assert [line["case"]["id"] for line in lines] == ["c"]
    assert lines[0]["marking"] == {"start": [{"id": "a", "n": 1}]}
    assert lines[0]["log"][0]["kind"] == "start"


@pytest.mark.attack("password in the URL of a database", "shown as ***, also where it was not escaped")
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@h/db",
        "postgresql://u:s3cret/x@h/db",
        "postgresql://u:s3cret?#x@h/db",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:s3cret%zz@h/db",
        "postgresql://h/db?user=u&password=s3cret&sslpassword=s3cret#s",
        "postgres://:s3cret@h/db",
    ],
)
def test_no_message_shows_the_password(url: str) -> None:
    where = located(url)
    assert "s3cret" not in str(where)
    assert "***" in str(where)
    pytest.importorskip("psycopg")
    if "//u" in url:
        with pytest.raises(StoreError) as refused, open_to_post(where):
            pass
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://u:x@s3cret@h/db", "mysql://u:s3cret@h/db"])
def test_nor_does_that_of_a_url_that_is_refused(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        located(url)
    assert "s3cret" not in str(refused.value)
