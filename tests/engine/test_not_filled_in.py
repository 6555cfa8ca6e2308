"""A handler that nobody has written yet parks its case, and the case goes on when it is there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from provenet import (
    Agent,
    Contract,
    Effect,
    NetBuilder,
    NotFilledIn,
    Request,
    Token,
    function,
    within,
)
from provenet.engine import audit
from tests.engine.kit import deployed, opened


class Ask(Token):
    id: str


class Answer(Token):
    ask: str


def _agent(*, propose: object, write: object) -> Agent:
    net = NetBuilder("to fill in")
    start, done, failed = net.entry("start", Ask), net.final("done", Answer), net.final("failed", Ask)
    net.add(
        Contract(
            "answer",
            takes=start,
            propose=function(propose),  # type: ignore[arg-type]
            returns=Answer,
            verify=within(Answer, lambda a: a.ask != "", name="says what it answers"),
            commit=Effect("desk.write", write, payload=Answer),  # type: ignore[arg-type]
            gives=done,
            otherwise=failed,
            on_failure=failed,
            fail_emit=lambda inputs: inputs,
        )
    )
    net.require("SDB")
    return Agent.of(net)


def nobody(payload: object) -> Answer:
    raise NotFilledIn("answer: nobody has written it")


def nothing(request: Request) -> None:
    raise NotFilledIn("desk.write: nobody has written it")


@pytest.mark.parametrize("empty", ["proposer", "effect"])
async def test_it_parks_says_why_and_goes_on(tmp_path: Path, empty: str) -> None:
    database = tmp_path / "a.db"
    written: list[str] = []

    def answer(payload: Ask) -> Answer:
        return Answer(ask=payload.id)

    def write(request: Request) -> None:
        written.append(request.key)

    unfilled = _agent(
        propose=nobody if empty == "proposer" else answer, write=nothing if empty == "effect" else write
    )
    async with opened(unfilled, database) as engine:
        deployed(engine, unfilled)
        await engine.start_case("to fill in", inputs={"start": Ask(id="a-1")}, case_id="c")
        await engine.run_until_idle()
        (found,) = engine.read.cases()
        assert found.status == "parked"
        assert "nobody has written it" in (found.reason or "")
    assert written == []
    assert audit(database).clean
    # The net is the same, so the code that was missing needs no new version.
    whole = _agent(propose=answer, write=write)
    async with opened(whole, database) as engine:
        await engine.resume("c")
        await engine.run_until_idle()
        (found,) = engine.read.cases()
        assert (found.status, found.outcome_place) == ("done", "done")
    assert len(written) == 1
    assert audit(database).clean
    with sqlite3.connect(database) as rows:
        assert rows.execute("SELECT count(*) FROM provenet_effect").fetchone() == (1,)
