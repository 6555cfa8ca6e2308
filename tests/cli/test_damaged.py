"""Databases with values that the engine never writes: told as damage, with a next step, by every reader."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.engine.reader import Reader
from provenet.engine.store.tables import TABLES
from provenet.nets.errors import ProvenetError
from tests.cli.conftest import Cli

SURROGATE = "CAST(x'EDA080' AS TEXT)"
READERS = (("cases",), ("case", "bert"), ("log", "bert"), ("export",))
FOR_CASES, FOR_LOG, NOT_LOG = READERS, READERS[1:], (READERS[0], READERS[1], READERS[3])


def damage(folder: Path, table: str, column: str, value: str) -> None:
    with closing(sqlite3.connect(folder / "x.db")) as db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        db.execute(f"UPDATE provenet_{table} SET {column} = {value}")
        db.commit()


@pytest.mark.parametrize(
    ("table", "column", "value", "readers"),
    [
        ("case", "created", SURROGATE, FOR_CASES),
        ("case", "created", "'soon'", FOR_CASES),
        ("case", "created", "9223372036854775807", NOT_LOG),
        ("case", "status", "x'00ff'", FOR_CASES),
        ("case", "reason", SURROGATE, FOR_CASES),
        ("case", "outcome", "'{' || char(1)", NOT_LOG),
        ("case", "outcome", "'\"\\ud800\"'", NOT_LOG),
        ("case", "version", "1.5", FOR_CASES),
        ("event", "at", "'noon'", FOR_LOG),
        ("event", "data", "'\"' || char(1) || '\"'", FOR_LOG),
        ("event", "data", "'[]'", FOR_LOG),
        ("event", "hash", "'no bytes'", FOR_LOG),
        ("token", "value", "'{'", (("case", "bert"), ("export",))),
        ("task", "choices", "'7'", (("tasks",), ("case", "bert"))),
        ("net", "name", "x'00'", FOR_CASES[:2]),
    ],
)
def test_damage_is_no_bug(
    cli: Cli, ran: Path, table: str, column: str, value: str, readers: tuple[tuple[str, ...], ...]
) -> None:
    damage(ran, table, column, value)
    for words in readers:
        said = cli(*words, "--db", "x.db")
        assert said.code == 2, words
        assert "damaged" in said.err
        assert "provenet audit --db x.db" in said.err
        told = cli(*words, "--db", "x.db", *(["--json"] if words != ("export",) else []))
        if words != ("export",):
            assert told.json["error"]["code"] == "EN404"


COLUMNS = [
    (str(model.__tablename__).removeprefix("provenet_"), name)
    for model in TABLES
    for name, field in model.model_fields.items()
    if name not in {"no", "case_no", "id", "schema"} and type(None) not in get_args(field.annotation)
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.sampled_from(COLUMNS),
    value=st.sampled_from([SURROGATE, "x'ff'", "'['", "'\"\\udfff\"'", "'{}'", "1e300", "-1", "''"]),
)
def test_whatever_is_stored_is_read_or_refused(once: Path, where: tuple[str, str], value: str) -> None:
    """Nothing but the errors of ours leaves the read side, and what it gives can be printed."""
    source = (once / "x.db").read_bytes()
    copy = once / "copy.db"
    copy.write_bytes(source)
    table, column = where
    with closing(sqlite3.connect(copy)) as db:
        try:
            db.execute(
                f"UPDATE provenet_{table} SET {column} = {value} WHERE rowid IN"
                f" (SELECT rowid FROM provenet_{table} LIMIT 1)"
            )
        except sqlite3.OperationalError:
            db.execute(f"UPDATE OR IGNORE provenet_{table} SET {column} = {value}")
        db.commit()
    try:
        reader = Reader(copy)
    except ProvenetError:
        return
    for read in (reader.cases, reader.counts, reader.nets, reader.tasks, reader.kills, reader.spent):
        _read(lambda read=read: str(read()))
    _read(lambda: "\n".join(reader.export()))


def _read(read: object) -> None:
    assert callable(read)
    refusal = None
    try:
        read().encode()
    except ProvenetError as error:
        refusal = error
    assert refusal is None or refusal.code == "EN404" or "no case" in refusal.message


def test_the_audit_finds_a_status_that_is_none(cli: Cli, ran: Path) -> None:
    damage(ran, "case", "status", "x'00ff'")
    said = cli("audit", "--db", "x.db")
    assert said.code == 1
    assert "which is no status" in said.out
