"""A database file: its name, its connection, its tables, and its errors in words."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_url

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from provenet.engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreVersion
from provenet.engine.tables import SCHEMA_VERSION, TABLES


def database_path(url: str | Path) -> Path | None:
    """The file behind a database's name; ``None`` for one in memory."""
    text = str(url)
    if text in {":memory:", "sqlite://", "sqlite:///:memory:"}:
        return None
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif "://" in text:
        raise StoreError(
            f"{text.split('://')[0]!r} databases are not supported",
            where=text,
            hint="give a file name, or sqlite:///file.db",
        )
    path = Path(text)
    if path.is_dir():
        raise StoreError("this is a folder", where=str(path), hint="name a file in it, such as renewals.db")
    if not path.parent.is_dir():
        raise StoreError(
            "there is no such folder", where=str(path.parent), hint="create it, or name another file"
        )
    return path


def connect(path: Path | None, *, write: bool) -> sa.Engine:
    """A SQLAlchemy engine for a database file, or for a fresh database in memory."""
    if path is None:
        return sa.create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"check_same_thread": False, "isolation_level": None},
        )

    def create() -> sqlite3.Connection:
        mode = "rwc" if write else "ro"
        return sqlite3.connect(
            f"file:{quote_url(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=10,
        )

    return sa.create_engine("sqlite://", creator=create, poolclass=NullPool)


def translate(error: Exception, path: Path | None) -> StoreError:
    """A database error as one of ours, with a next step."""
    where = str(path or ":memory:")
    inner = getattr(error, "orig", None) or error
    code = getattr(inner, "sqlite_errorname", "") or ""
    text = str(inner)
    if (
        code.startswith("SQLITE_FULL")
        or "disk is full" in text
        or code in {"SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC"}
    ):
        return StoreFull(
            "there is no room left to write",
            where=where,
            hint="free some space and open the database again: every committed step is there, cases resume",
        )
    if (
        code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT"))
        or "malformed" in text
        or "not a database" in text
        or "decode" in text  # bytes that are no UTF-8, in a row or in the schema
    ):
        return StoreCorrupt(
            f"this is no database, or it is damaged: {text}",
            where=where,
            hint="keep the file; restore a copy, or try `sqlite3 FILE .recover` on it and `provenet audit`",
        )
    if code.startswith("SQLITE_READONLY") or "readonly" in text:
        return StoreError(
            "the database cannot be written",
            where=where,
            hint="check the permissions of the file and of its folder",
        )
    if code.startswith("SQLITE_BUSY") or "locked" in text:
        return StoreLocked(
            "another process is writing to this database",
            where=where,
            hint="wait until it ends, then try again",
        )
    if code.startswith("SQLITE_CANTOPEN") or "unable to open" in text:
        return StoreError(
            "the database cannot be opened", where=where, hint="check that the file exists and may be read"
        )
    return StoreError(f"the database refused: {text}", where=where, hint="run `provenet audit` on it")


def check_version(rows: Iterable[tuple[str, str]], path: Path | None) -> dict[str, str]:
    """The facts in ``provenet_meta``, where its schema version is ours.

    Raises:
        StoreVersion: It is not.
    """
    facts = dict(rows)
    if facts.get("schema") != str(SCHEMA_VERSION):
        raise StoreVersion(
            f"the database has schema version {facts.get('schema')}, "
            f"this Provenet reads version {SCHEMA_VERSION}",
            where=str(path or ":memory:"),
            hint="run the Provenet release that wrote it, or start a new database",
        )
    return facts


def prepare(engine: sa.Engine, driver: sqlite3.Connection, path: Path | None) -> str:
    """Set the pragmas that durability rests on, create or check the tables; the database's own id."""
    driver.execute("PRAGMA journal_mode = WAL")
    driver.execute("PRAGMA synchronous = FULL")
    driver.execute("PRAGMA wal_autocheckpoint = 4000")
    driver.execute("PRAGMA cache_size = -65536")
    driver.execute("PRAGMA temp_store = MEMORY")
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "provenet_meta" in tables:
        return check_version(driver.execute("SELECT name, value FROM provenet_meta").fetchall(), path)["uid"]
    if any(name.startswith("provenet_") for name in tables):
        raise StoreCorrupt(
            "some of the engine's tables are there and some are missing",
            where=str(path or ":memory:"),
            hint="keep the file; restore a copy",
        )
    uid = uuid.uuid4().hex
    driver.execute("BEGIN IMMEDIATE")
    try:
        for model in TABLES:
            table = table_of(model)
            driver.execute(str(sa.schema.CreateTable(table).compile(engine)))
            for index in sorted(table.indexes, key=lambda i: str(i.name)):
                driver.execute(str(sa.schema.CreateIndex(index).compile(engine)))
        driver.executemany(
            "INSERT INTO provenet_meta (name, value) VALUES (?, ?)",
            [("schema", str(SCHEMA_VERSION)), ("uid", uid)],
        )
        driver.execute("COMMIT")
    except BaseException:
        driver.execute("ROLLBACK")
        raise
    return uid


def table_of(model: Any) -> sa.Table:
    """The table behind a declaration."""
    found = model.__table__
    assert isinstance(found, sa.Table)
    return found
