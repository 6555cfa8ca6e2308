"""Personal data: ciphertext wherever they are stored, gone when their key is; chains stay whole."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.engine import Decision, Reader, RealClock, Task, audit, faults
from provenet.engine.codec import plain
from provenet.engine.errors import (
    CaseExists,
    ErasureRefused,
    InputRefused,
    MigrationRefused,
    NoKeys,
    SignalRefused,
    StoreCorrupt,
)
from provenet.engine.exports import check_export
from provenet.engine.faults import FaultInjected
from provenet.engine.fork import WhatIf, fork
from provenet.engine.keys import Keys
from provenet.engine.marking_map import MarkingMap
from provenet.engine.personal import DATA_KEY, Seal
from provenet.engine.requests import ask
from provenet.engine.requests import post as post_request
from provenet.engine.retention import Retention
from provenet.engine.store.database import located, reading_engine
from provenet.engine.store.tables import TABLES
from provenet.engine.testing import Bench
from provenet.engine.vault import rotate
from provenet.nets.build import NetBuilder
from provenet.nets.erased import Erased
from provenet.nets.expr.build import make
from provenet.nets.models import Personal, Token, schema_of, to_value
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.human import Human
from tests.engine import fleets
from tests.engine.chaos import Shifted
from tests.engine.kit import Answers, deployed, looked_at, opened

NAME, MAIL, WORD = "Jane Q. Ultramarine", "jane@ultramarine.example", "CONFIDENTIAL-remark"
KEYS = Keys.generate()


class Applicant(Token):
    id: str
    name: Annotated[str, Personal]
    age: Annotated[int, Personal]


class Letter(Token):
    to: str
    name: Annotated[str, Personal]
    mail: Annotated[str | None, Personal]
    cents: int


class Sent(Token):
    number: str
    to: Annotated[str, Personal]


class Known(Token):
    id: str
    name: Annotated[str, Personal]


class Word(Token):
    said: Annotated[str, Personal]


def writing(send: Any, *, cents: int = 50, says: Any = None) -> Agent:
    """A model writes a letter, a policy looks at name and amount, a service sends it; or a person decides.

    An answer to the letter ends the case.
    """
    net = NetBuilder("writes")
    inbox, review = net.entry("inbox", Applicant), net.place("review", Applicant)
    sent = net.place("sent", Letter)
    refused, heard = net.final("refused", Applicant), net.final("heard", Word)
    answers = says or Answers(
        lambda r: Proposal(
            (r.payload.id, r.payload.name, MAIL, cents), model="m-1", prompt_hash="p" * 64, tokens_in=9
        )
    )
    looked_at(
        net,
        "letter",
        (inbox, review, sent, refused),
        propose=answers,
        returns=Letter,
        field="name",
        length=60,
        commit=Effect("post.send", send, payload=Letter, receipt=Sent, tries=1),
    )
    net.event("answered", event="answered", takes={"l": sent}, brings={"w": Word}, puts={heard: "w"})
    net.require("DATA-2")
    return Agent.of(net)


def post(request: Request) -> Sent:
    """A service that knows whom it writes to."""
    assert request.payload.name == NAME
    assert request.payload.mail == MAIL
    return Sent(number="s-1", to=request.payload.mail)


def applicant(case: str = "a") -> dict[str, Any]:
    return {"inbox": Applicant(id=case, name=NAME, age=47)}


def everything(database: str | Path) -> str:
    """All that lies in a database: a file's bytes and those of its log, or all rows of a server's tables."""
    where = located(database)
    if where.path is not None:
        parts = [where.path, where.path.with_name(where.path.name + "-wal")]
        return "".join(p.read_bytes().decode("latin-1") for p in parts if p.exists())
    found = ""
    with reading_engine(where).connect() as c:
        for table in TABLES:
            found += repr([tuple(r) for r in c.execute(sa.text(f"SELECT * FROM {table.__tablename__}"))])
    return found


async def asked(database: str | Path, command: dict[str, Any], *agents: Agent) -> dict[str, Any]:
    """What a command of another process gives."""
    return await asyncio.to_thread(ask, database, command, agents)


def nothing_readable(database: str | Path) -> None:
    text = everything(database)
    for said in (NAME, MAIL, WORD, "Ultramarine", '"age":47'):
        assert said not in text, said
        assert said.encode().hex() not in text


async def audits_clean(database: str | Path) -> None:
    """Nothing can be read, and all of it replays with the keys; and without them, once the case is erased."""
    nothing_readable(database)
    found = audit(database, keys=KEYS)
    assert ([str(p) for p in found.problems], found.followed) == ([], 0)
    await asked(database, {"do": "erase", "case": "a", "who": "dana", "reason": ""})
    assert [str(p) for p in audit(database).problems] == []


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database of each kind."""
    if request.param == "file":
        return tmp_path / "x.db"
    found: str = request.getfixturevalue("postgres")
    return found


async def written(agent: Agent, database: str | Path, case: str = "a", **options: Any) -> None:
    """Run one case until it waits for an answer, and answer."""
    async with opened(agent, database, keys=KEYS) as engine:
        if not engine.read.nets():
            deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(case), case_id=case, **options)
        await engine.run_until_idle(until=engine.clock.now())
        with pytest.raises(Exception, match="payload does not fit"):
            await engine.signal(case, "answered", {"said": 5, "more": WORD})
        await engine.signal(case, "answered", {"said": WORD}, key="k-1")
        await engine.run_until_idle(until=engine.clock.now())


@pytest.mark.attack(
    "personal data read off the database", "not there: ciphertext in every table, log and request"
)
async def test_nothing_stored_is_readable_and_handlers_see_it_all(database: str | Path) -> None:
    await written(writing(post), database)
    nothing_readable(database)
    found = audit(database, keys=KEYS)
    assert [str(p) for p in found.problems] == []
    assert (found.followed, found.erased) == (0, 0)
    assert Reader(database).case("a").case.outcome == {"said": "***"}
    hidden = json.dumps(Reader(database).case("a").to_json())
    shown = json.dumps(Reader(database, personal="shown", keys=KEYS).case("a").to_json())
    for said in (NAME, MAIL, WORD):
        assert said not in hidden
        assert said in shown
    assert "$personal" not in hidden + shown


@pytest.mark.attack(
    "personal data read after they were erased",
    "nobody can, with the master key neither; every hash chain holds",
)
async def test_after_erasure_the_chain_holds_and_nobody_reads_anything(database: str | Path) -> None:
    agent = writing(post)
    await written(agent, database)
    with reading_engine(located(database)).connect() as c:
        (wrapped,) = [w for (w,) in c.execute(sa.text("SELECT wrapped FROM provenet_key"))]
    assert wrapped in everything(database)
    async with opened(agent, database, keys=KEYS) as engine:
        found = await engine.erase(case="a", who="dana@privacy", reason="she asked")
        assert found.cases == ("a",)
        with pytest.raises(ErasureRefused, match="no personal data to erase"):
            await engine.erase(case="a", who="dana@privacy", reason="again")
    if located(database).path is not None:
        assert wrapped not in everything(database)
    last = Reader(database).log("a")[-1]
    assert (last.kind, last.data["by"], last.data["reason"]) == ("erase", "dana@privacy", "she asked")
    for reader in (Reader(database), Reader(database, personal="shown", keys=KEYS)):
        seen = reader.case("a")
        assert seen.case.outcome == {"said": "[erased]"}
        assert NAME not in json.dumps(seen.to_json())
        assert reader.case_at("a", 2).marking
        assert "erased by dana@privacy" in reader.log("a")[-1].text
    result = audit(database, keys=KEYS)
    assert [str(p) for p in result.problems] == []
    assert result.erased == 1
    assert 0 < result.followed < result.events


async def test_without_keys_a_log_is_followed_as_after_an_erasure(tmp_path: Path) -> None:
    await written(writing(post), tmp_path / "x.db")
    found = audit(tmp_path / "x.db")
    assert [str(p) for p in found.problems] == []
    assert (found.erased, found.followed > 0) == (0, True)
    other = audit(tmp_path / "x.db", keys=Keys.generate())
    assert (other.clean, other.followed) == (True, found.followed)


async def test_the_cases_of_a_subject_are_erased_at_once_and_it_may_come_again(
    database: str | Path,
) -> None:
    agent = writing(post)
    await written(agent, database, "a-1", subject="customer-7")
    await written(agent, database, "a-2", subject="customer-7")
    await written(agent, database, "b-1", subject="customer-8")
    with pytest.raises(Exception, match="erase the subject"):
        await asked(database, {"do": "erase", "case": "a-1", "who": "dana", "reason": ""})
    told = await asked(database, {"do": "erase", "subject": "customer-7", "who": "dana", "reason": "art. 17"})
    assert told == {"done": "personal data of 'customer-7' are erased: 2 cases"}
    shown = Reader(database, personal="shown", keys=KEYS)
    assert [shown.case(c).case.outcome["said"] for c in ("a-1", "a-2", "b-1")] == [
        "[erased]",
        "[erased]",
        WORD,
    ]
    with pytest.raises(Exception, match="no personal data to erase"):
        await asked(database, {"do": "erase", "subject": "customer-7", "who": "dana", "reason": "again"})
    await written(agent, database, "a-3", subject="customer-7")
    assert shown.case("a-3").case.outcome == {"said": WORD}
    assert shown.data_keys() == {KEYS.current: 2, "": 1}
    found = audit(database, keys=KEYS)
    assert ([str(p) for p in found.problems], found.erased) == ([], 2)


async def test_a_case_that_runs_is_erased_only_once_it_was_stopped(database: str | Path) -> None:
    agent = writing(post)
    async with opened(agent, database, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
        with pytest.raises(ErasureRefused, match="case has not ended: 'a'"):
            await engine.erase(case="a", who="dana", reason="")
        assert engine.read.unfinished(case="a") == ["a"]
        await engine.kill("case", "a", who="dana", reason="to be erased")
        await engine.erase(case="a", who="dana", reason="")
    assert Reader(database).unfinished(case="a") == []
    assert audit(database).clean


async def test_no_keys_and_wrong_keys_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    monkeypatch.delenv("PROVENET_KEYS", raising=False)
    async with opened(agent, path) as engine:
        deployed(engine, agent)
        with pytest.raises(NoKeys, match="the net has personal fields, and no master key") as told:
            await engine.start_case("writes", inputs=applicant(), case_id="a")
        assert "provenet keys new" in (told.value.hint or "")
        assert not engine.has_case("a")
    async with opened(agent, path, keys=KEYS) as engine:
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
    for wrong, why in ((None, "no master key was given"), (Keys.generate(), "wrapped by master key")):
        with pytest.raises(NoKeys, match=why):
            async with opened(agent, path, keys=wrong):
                pass
    with pytest.raises(NoKeys, match="cannot be shown"):
        Reader(path, personal="shown")
    monkeypatch.setenv("PROVENET_KEYS", KEYS.to_text())
    async with opened(agent, path) as engine:
        await engine.signal("a", "answered", {"said": WORD})
    assert Reader(path, personal="shown").case("a").case.outcome == {"said": WORD}
    monkeypatch.setenv("PROVENET_KEYS", "not a key")
    with pytest.raises(NoKeys, match="no base64"):
        audit(path)


async def test_a_master_key_is_changed_beside_a_running_engine(database: str | Path) -> None:
    agent = writing(post)
    newer = KEYS.newer()
    async with opened(agent, database, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
        assert rotate(database, newer) == 1
        assert rotate(database, newer) == 0
        await engine.signal("a", "answered", {"said": WORD})
    only = Keys.of_text(newer.to_text().splitlines()[0])
    with pytest.raises(NoKeys, match="wrapped by master key"):
        rotate(database, Keys.generate())
    assert Reader(database, personal="shown", keys=only).case("a").case.outcome == {"said": WORD}
    assert audit(database, keys=only).followed == 0
    assert audit(database, keys=KEYS).followed > 0


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
@pytest.mark.attack("a crash in the midst of an erasure", "all of it is done, or nothing: one transaction")
async def test_a_crash_while_data_are_erased_leaves_all_of_it_or_nothing(tmp_path: Path, point: str) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    await written(agent, path, "a-1", subject="s")
    await written(agent, path, "a-2", subject="s")
    engine = opened(agent, path, keys=KEYS)
    await engine.__aenter__()
    faults.plan(f"{point}:raise:1")
    try:
        with pytest.raises(FaultInjected):
            await engine.erase(subject="s", who="dana", reason="")
    finally:
        faults.plan(None)
    await engine.crash()
    reader = Reader(path, personal="shown", keys=KEYS)
    said = [reader.case(c).case.outcome["said"] for c in ("a-1", "a-2")]
    kinds = [reader.log(c)[-1].kind for c in ("a-1", "a-2")]
    assert (said, kinds) == (
        (["[erased]"] * 2, ["erase"] * 2) if point == "after-commit" else ([WORD] * 2, ["fire"] * 2)
    )
    assert audit(path, keys=KEYS).clean


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE provenet_event SET data = replace(data, 'letter', 'better') WHERE seq = 2",
        "UPDATE provenet_event SET at = at - 1 WHERE seq = 3",
        "DELETE FROM provenet_event WHERE kind = 'erase'",
        "UPDATE provenet_token SET place = 'refused'",
        "UPDATE provenet_token SET value = replace(value, '$personal\":\"', '$personal\":\"AA')",
        "DELETE FROM provenet_token",
        "UPDATE provenet_case SET outcome = '{}'",
        "UPDATE provenet_case SET data_key = ''",
        'UPDATE provenet_effect SET receipt = \'{"number":"s-2"}\'',
        "UPDATE provenet_effect SET state = 'intended'",
        "UPDATE provenet_key SET wrapped = 'AAAA', master = 'x'",
        "UPDATE provenet_key SET reason = 'never asked'",
        "DELETE FROM provenet_key",
    ],
)
@pytest.mark.attack(
    "tampering with a case whose data are erased", "found by the audit, which needs no key for that"
)
async def test_what_is_changed_after_an_erasure_is_found(tmp_path: Path, change: str) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    await written(agent, path)
    await asked(path, {"do": "erase", "case": "a", "who": "dana", "reason": ""})
    assert audit(path).clean
    with sqlite3.connect(path) as db:
        assert db.execute(change).rowcount > 0
    db.close()
    assert not audit(path).clean, change


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE provenet_key SET wrapped = NULL, erased = 1, who = 'nobody'",
        "UPDATE provenet_key SET wrapped = 'AAAA' || wrapped",
        "DELETE FROM provenet_key",
    ],
)
@pytest.mark.attack("data keys removed or exchanged; an erasure that no log speaks of", "found by the audit")
async def test_a_key_that_goes_or_changes_is_found(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.db"
    await written(writing(post), path)
    assert audit(path, keys=KEYS).clean
    with sqlite3.connect(path) as db:
        assert db.execute(change).rowcount == 1
    db.close()
    assert not audit(path, keys=KEYS).clean


async def test_the_kill_switch_needs_no_key(tmp_path: Path) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
    with pytest.raises(NoKeys):
        await asked(path, {"do": "signal", "case": "a", "event": "answered", "payload": {"said": WORD}})
    await asked(path, {"do": "kill", "scope": "all", "target": "", "who": "dana"}, agent)
    async with opened(agent, path, keys=KEYS) as engine:
        await engine.run_until_idle(until=engine.clock.now())
        assert engine.read.case("a").case.status == "killed"


async def test_what_people_said_and_what_came_early_is_followed_too(tmp_path: Path) -> None:
    net = NetBuilder("looks")
    inbox, review = net.entry("inbox", Applicant), net.place("review", Applicant)
    yes, no = net.final("yes", Word), net.final("no", Applicant)
    older = lambda p: make(Applicant, id=p.id, name=p.name, age=p.age + 1)  # noqa: E731
    net.route("age", takes={"p": inbox}, when=lambda p: p.age < 200, puts={review: older})
    seen = net.place("seen", Applicant)
    net.add(Human("look", takes=review, approve=seen, deny=no, who="lead", within=timedelta(days=7), eyes=2))
    net.event("word", event="word", takes={"s": seen}, brings={"w": Word}, puts={yes: "w"})
    net.timer("late", after=timedelta(days=9), takes={"s": seen}, puts={no: "s"})
    net.delivery("word", early="keep")
    net.require("DATA-2")
    agent, path = Agent.of(net), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("looks", inputs=applicant(), case_id="a")
        assert await engine.signal("a", "word", {"said": WORD}, key="k") == "kept"
        await engine.approve("a", "look", "lea@lead")
    nothing_readable(path)
    assert [str(p) for p in audit(path).problems] == []
    async with opened(agent, path, keys=KEYS) as engine:
        await engine.approve("a", "look", "max@lead")
        assert engine.read.case("a").case.status == "done"
    nothing_readable(path)
    assert [str(p) for p in audit(path, keys=KEYS).problems] == []
    await asked(path, {"do": "erase", "case": "a", "who": "dana", "reason": ""})
    assert [str(p) for p in audit(path).problems] == []


@pytest.mark.attack("changed ciphertext", "the case does not run: every ciphertext is authenticated")
async def test_a_changed_ciphertext_stops_a_case_before_it_runs(tmp_path: Path) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE provenet_token SET value = replace(value, '$personal\":\"', '$personal\":\"AAAA')")
    db.close()
    with pytest.raises(StoreCorrupt, match="was changed"):
        async with opened(agent, path, keys=KEYS):
            pass
    assert not audit(path, keys=KEYS).clean


@pytest.mark.attack(
    "personal data in an exception's words", "*** in their place, in the store and for people"
)
async def test_words_about_a_case_quote_nothing_personal(tmp_path: Path) -> None:
    def fails(request: Request) -> Sent:
        raise RuntimeError(f"no such mailbox: {request.payload.mail}, {request.payload.name.upper()}")

    agent, path = writing(fails), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
        assert "no such mailbox: ***, ***" in json.dumps(engine.read.case("a").to_json())
    nothing_readable(path)


async def test_rejects_and_people_see_only_what_they_may(tmp_path: Path) -> None:
    agent, path = writing(post, cents=500), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
        (task,) = engine.read.tasks()
        assert task.about == {"id": "a", "name": "***", "age": "***"}
        (seen,) = Reader(path, personal="shown", keys=KEYS).tasks()
        assert seen.about == {"id": "a", "name": NAME, "age": 47}
        assert seen.about_hash == task.about_hash
        await engine.approve("a", "look", "lea@lead", about_hash=task.about_hash)
    await audits_clean(path)


async def test_a_scripted_person_sees_what_is_decided(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def person(task: Task) -> Decision:
        seen.append(task.about)
        return Decision("approve", "lea@lead")

    agent = writing(post, cents=500)
    async with opened(agent, tmp_path / "x.db", keys=KEYS, people=person) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle(until=engine.clock.now())
    assert seen == [{"id": "a", "name": NAME, "age": 47}]


@pytest.mark.attack(
    "personal data read off a posted request", "encrypted on the way, and gone once it was carried out"
)
async def test_requests_to_a_running_engine_are_covered(database: str | Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PROVENET_KEYS", KEYS.to_text())
    agent = writing(post)
    async with opened(agent, database, clock=RealClock()) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant(), case_id="a")
        await engine.run_until_idle()
        command = {"do": "signal", "case": "a", "event": "answered", "payload": {"said": WORD}, "key": "k"}
        told = await asyncio.to_thread(post_request, database, command)
        assert "has taken" in told["done"]
        nothing_readable(database)
        monkeypatch.delenv("PROVENET_KEYS")
        with pytest.raises(NoKeys, match="may be personal"):
            await asyncio.to_thread(post_request, database, command)
    assert audit(database, keys=KEYS).clean


async def test_a_simulation_runs_on_with_the_key_and_without_it_nothing_does(tmp_path: Path) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    await written(agent, path)
    with pytest.raises(NoKeys):
        await asyncio.to_thread(fork, path, "a", 2, tmp_path / "no.db")
    found = await asyncio.to_thread(lambda: fork(path, "a", 2, tmp_path / "sim.db", WhatIf(), keys=KEYS))
    assert not found.differs, found.to_json()
    says = Answers(lambda r: Proposal((r.payload.id, NAME, "other@" + MAIL, 50)))
    other = WhatIf(agent=writing(post, says=says), receipts={})
    told = await asyncio.to_thread(lambda: fork(path, "a", 2, tmp_path / "sim3.db", other, keys=KEYS))
    assert told.differs
    # A case's reason is clear text: it quotes no person, and no ciphertext.
    hidden = {"to": "a", "name": "***", "mail": "***", "cents": 50}
    reason = Reader(tmp_path / "sim3.db", keys=KEYS, personal="shown").case("a").case.reason or ""
    assert reason.endswith(f"it was given {plain(hidden)}")
    assert "--receipt 'post.send=JSON'" in reason
    (shown,) = found.played
    assert (shown["payload"], shown["receipt"]) == (hidden, {"number": "s-1", "to": "***"})
    (whole,) = Reader(tmp_path / "sim.db", keys=KEYS, personal="shown").played("a")
    assert (whole["payload"]["name"], whole["receipt"]["to"]) == (NAME, MAIL)
    nothing_readable(tmp_path / "sim.db")
    assert [str(p) for p in audit(tmp_path / "sim.db", keys=KEYS).problems] == []
    await asked(path, {"do": "erase", "case": "a", "who": "dana", "reason": ""})
    with pytest.raises(NoKeys, match="erased"):
        await asyncio.to_thread(lambda: fork(path, "a", 2, tmp_path / "sim2.db", keys=KEYS))


async def test_a_crash_reads_back_what_was_sealed(tmp_path: Path) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    for point in ("before-ask", "after-answer", "after-intent", "after-effect"):
        engine = opened(agent, path, keys=KEYS)
        await engine.__aenter__()
        if not engine.read.nets():
            deployed(engine, agent)
            await engine.start_case("writes", inputs=applicant(), case_id="a")
        faults.plan(f"{point}:raise:1")
        try:
            with pytest.raises(FaultInjected):
                await engine.run_until_idle(until=engine.clock.now())
        finally:
            faults.plan(None)
        await engine.crash()
    async with opened(agent, path, keys=KEYS) as engine:
        await engine.run_until_idle(until=engine.clock.now())
        await engine.signal("a", "answered", {"said": WORD})
    await audits_clean(path)


def test_subjects_are_short_and_printable() -> None:
    async def go() -> None:
        agent = writing(post)
        async with opened(agent, keys=KEYS) as engine:
            deployed(engine, agent)
            with pytest.raises(InputRefused, match="a subject is"):
                await engine.start_case("writes", inputs=applicant(), subject="a\nb")

    asyncio.run(go())


# the cipher


class Whole(Token):
    id: str
    name: Annotated[str, Personal]
    more: tuple[Word, ...] = ()
    one: Word | None = None
    age: Annotated[int | None, Personal] = None


WHOLE = schema_of(Whole)
words = st.builds(Word, said=st.text(max_size=40).filter(lambda s: s.isprintable() and s.isascii()))
wholes = st.builds(
    Whole,
    id=st.sampled_from(["a", "b"]),
    name=st.text('abcäöü😀 "\\', max_size=60),
    more=st.lists(words, max_size=2).map(tuple),
    one=st.none() | words,
    age=st.none() | st.integers(0, 120),
)


@given(
    wholes, st.binary(min_size=DATA_KEY, max_size=DATA_KEY), st.binary(min_size=DATA_KEY, max_size=DATA_KEY)
)
@pytest.mark.attack("ciphertext put under another key", "refused: it is bound to the key's name")
def test_a_seal_writes_what_it_reads_and_others_do_not(whole: Whole, one: bytes, two: bytes) -> None:
    value = to_value(whole, WHOLE)
    seal = Seal("k", one)
    text = seal.encoder(WHOLE)(value)
    assert seal.encoder(WHOLE)(value) == text
    assert seal.decode(text, WHOLE) == value
    shut = Seal("k", state="erased")
    gone = shut.decode(text, WHOLE)
    assert isinstance(gone[1], Erased)
    assert shut.encoder(WHOLE)(gone) == text
    if one != two:
        with pytest.raises(StoreCorrupt):
            Seal("k", two).decode(text, WHOLE)
    with pytest.raises(StoreCorrupt):
        Seal("k2", one).decode(text, WHOLE)


@pytest.mark.attack(
    "a personal value guessed by its length or its hash", "lengths are filled up, hashes are keyed"
)
def test_lengths_and_hashes_tell_little() -> None:
    seal = Seal("k", bytes(range(DATA_KEY)))
    assert len({len(seal.write(f'"{"x" * n}"')) for n in range(30)}) == 1
    assert seal.blind("a" * 64) != "a" * 64
    assert seal.blind(seal.blind("a" * 64)) == seal.blind("a" * 64)
    assert seal.blind("") == ""


def kept_elsewhere(folder: Path, database: Path) -> None:
    """One log, that says nothing and checks."""
    (log,) = folder.glob("*.jsonl")
    assert NAME not in log.read_text()
    assert check_export(log, database).clean


async def test_a_pruned_case_takes_its_key_along_unless_its_log_is_kept_elsewhere(tmp_path: Path) -> None:
    agent, path = writing(post), tmp_path / "x.db"
    for case in ("a", "b", "c"):
        await written(agent, path, case, **({"subject": "s"} if case == "c" else {}))
    async with opened(agent, path, keys=KEYS) as engine:
        assert (await engine.prune(Retention({"done": timedelta(0)}))).cases == 3
        assert engine.read.data_keys() == {KEYS.current: 1}
        assert NAME not in repr(engine.read.archive())
    assert audit(path, keys=KEYS).clean
    await written(agent, path, "d")
    async with opened(agent, path, keys=KEYS) as engine:
        await engine.prune(Retention({"done": timedelta(0)}, export=tmp_path))
        assert engine.read.data_keys() == {KEYS.current: 2}
        await engine.erase(subject="pruned:d", who="dana", reason="")
        assert engine.read.data_keys() == {KEYS.current: 1, "": 1}
    kept_elsewhere(tmp_path, path)


# the testing kit, other versions, and models that change


def test_a_bench_needs_no_keys_and_shows_what_handlers_see() -> None:
    with Bench(writing(post)) as bench:
        bench.proposer("letter.propose").real()
        bench.effect("post.send").real()
        case = bench.start(Applicant(id="a", name=NAME, age=47))
        case.run()
        assert case.marking["sent"][0].name == NAME
        case.signal("answered", {"said": WORD})
        assert case.outcome == Word(said=WORD)


class Slip(Token):
    id: str
    name: str


def version(name: str, to: type[Token], build: Any) -> Agent:
    net = NetBuilder(name)
    start, done = net.entry("inbox", Applicant if to is not Slip else Slip), net.final("done", to)
    net.event("go", event="go", takes={"p": start}, puts={done: build})
    net.require("DATA-2")
    return Agent.of(net)


def converting(value: str) -> MarkingMap:
    return MarkingMap.of({"places": {"inbox": {"to": "inbox", "value": value}}})


async def test_a_case_moves_with_its_key(database: str | Path) -> None:
    old = version("moves", Applicant, lambda p: p)
    new = version("moves", Known, lambda p: make(Known, id=p.id, name=p.name))
    async with opened([old, new], database, keys=KEYS) as engine:
        deployed(engine, old)
        await engine.start_case("moves", inputs=applicant(), case_id="a")
        deployed(engine, new)
        before, after = (str(n["hash"]) for n in engine.read.nets())
        moved = await engine.migrate(before, after, MarkingMap())
        assert moved.moving == 1, moved.to_json()
        await engine.signal("a", "go")
    assert Reader(database, personal="shown", keys=KEYS).case("a").case.outcome == {"id": "a", "name": NAME}
    await audits_clean(database)


async def test_a_case_without_a_key_does_not_move_to_where_it_needs_one(tmp_path: Path) -> None:
    old, new = (
        version("moves", Slip, lambda p: p),
        version("moves", Known, lambda p: make(Known, id=p.id, name=p.name)),
    )
    async with opened([old, new], tmp_path / "x.db", keys=KEYS) as engine:
        deployed(engine, old)
        await engine.start_case("moves", inputs={"inbox": Slip(id="a", name="n")}, case_id="a")
        deployed(engine, new)
        before, after = (str(n["hash"]) for n in engine.read.nets())
        plan = MarkingMap.of(
            {"places": {"inbox": {"to": "inbox", "value": "Applicant{id: it.id, name: it.name, age: 1}"}}}
        )
        found = await engine.migrate(before, after, plan)
        assert (found.moving, found.staying) == (0, 1)
        assert "stored without a key" in found.groups[0].why
        back = MarkingMap.of(
            {"places": {"inbox": {"to": "inbox", "value": "Slip{id: it.id, name: it.name}"}}}
        )
        with pytest.raises(MigrationRefused, match="personal field 'name' would be stored in clear"):
            await engine.migrate(after, before, back)
        added = MarkingMap.of(
            {"places": {"inbox": None}, "add": {"inbox": [{"id": "a", "name": "n", "age": 1}]}}
        )
        with pytest.raises(MigrationRefused, match="have personal fields"):
            await engine.migrate(before, after, added)


async def test_a_snapshot_of_a_case_whose_data_are_erased_still_follows(tmp_path: Path) -> None:
    net = NetBuilder("counts")
    here, done = net.entry("inbox", Applicant), net.final("done", Applicant)
    net.event(
        "older",
        event="older",
        takes={"p": here},
        puts={here: lambda p: make(Applicant, id=p.id, name=p.name, age=p.age + 1)},
    )
    net.event("end", event="end", takes={"p": here}, puts={done: "p"})
    net.require("DATA-2")
    agent, path = Agent.of(net), tmp_path / "x.db"
    async with opened(agent, path, keys=KEYS, snapshot_every=3) as engine:
        deployed(engine, agent)
        await engine.start_case("counts", inputs=applicant(), case_id="a")
        for _ in range(10):
            await engine.signal("a", "older")
        await engine.signal("a", "end")
    assert audit(path, keys=KEYS).followed == 0
    await asked(path, {"do": "erase", "case": "a", "who": "dana", "reason": ""})
    assert [str(p) for p in audit(path).problems] == []
    assert [str(p) for p in audit(path, fast="yes").problems] == []
    assert 10 <= audit(path).followed < 18
    (token,) = Reader(path).case_at("a", 1).marking["inbox"]
    assert token[1] == {"id": "a", "name": "[erased]", "age": "[erased]"}
    with sqlite3.connect(path) as db:
        # A snapshot's word is held against the ids and places that the log leads to.
        db.execute("UPDATE provenet_token SET arrived = arrived + 1")
    db.close()
    assert not audit(path).clean


# any order of what may come, with crashes


def changing() -> Agent:
    """A person whose data change, are tested, computed with, split and joined."""
    net = NetBuilder("changes")
    here, grown, done = net.entry("inbox", Applicant), net.place("grown", Known), net.final("done", Applicant)
    with_age = lambda p: make(Applicant, id=p.id, name=p.name, age=p.age + 1)  # noqa: E731
    with_name = lambda p, w: make(Applicant, id=p.id, name=w.said, age=p.age)  # noqa: E731
    net.event("older", event="older", takes={"p": here}, puts={here: with_age})
    net.event("named", event="named", takes={"p": here}, brings={"w": Word}, puts={here: with_name})
    net.event(
        "grown",
        event="grown",
        takes={"p": here},
        when=lambda p: (p.age >= 48) & (p.name.length() > 3),
        puts={here: "p", grown: lambda p: make(Known, id=p.id, name=p.name)},
    )
    same = lambda p, k: p.name == k.name  # noqa: E731
    net.event("same", event="same", takes={"p": here, "k": grown}, when=same, puts={here: "p"})
    net.event("end", event="end", takes={"p": here}, resets=[grown], puts={done: "p"})
    net.timer("late", after=timedelta(days=1), takes={"p": here}, resets=[grown], puts={done: "p"})
    net.require("DATA-2")
    return Agent.of(net)


steps = st.lists(
    st.tuples(
        st.sampled_from(["older", "named", "grown", "same", "crash", "restart"]),
        st.sampled_from([NAME, MAIL, "Al", WORD]),
    ),
    min_size=1,
    max_size=12,
)


@given(steps, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_any_history_replays_with_the_key_and_is_followed_without(
    steps: list[tuple[str, str]], every: int
) -> None:
    agent = changing()

    async def go(path: Path) -> None:
        engine = opened(agent, path, keys=KEYS, snapshot_every=every)
        await engine.__aenter__()
        deployed(engine, agent)
        await engine.start_case("changes", inputs=applicant(), case_id="a", subject="s")
        for what, word in [*steps, ("end", "")]:
            if what in {"crash", "restart"}:
                await (engine.crash() if what == "crash" else engine.close())
                engine = opened(agent, path, keys=KEYS, snapshot_every=every)
                await engine.__aenter__()
                continue
            try:
                await engine.signal("a", what, {"said": word} if what == "named" else None)
            except SignalRefused:
                continue
        await engine.close()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        asyncio.run(go(path))
        nothing_readable(path)
        found = audit(path, keys=KEYS)
        assert ([str(p) for p in found.problems], found.followed) == ([], 0)
        locked = audit(path)
        assert [str(p) for p in locked.problems] == []
        ask(path, {"do": "erase", "subject": "s", "who": "dana", "reason": ""})
        gone = audit(path)
        assert ([str(p) for p in gone.problems], gone.followed) == ([], locked.followed)
        with closing(sqlite3.connect(path)) as db, db:
            change = "replace(data, '\"took\":[', '\"took\":[9')"
            db.execute(f"UPDATE provenet_event SET data = {change} WHERE kind = 'fire'")
        assert not audit(path).clean


@pytest.mark.postgres
async def test_a_process_starts_nothing_under_a_key_that_another_one_erased(postgres: str) -> None:
    agent = writing(post)
    async with opened(agent, postgres, keys=KEYS) as one, opened(agent, postgres, keys=KEYS) as two:
        deployed(one, agent)
        await two.attend()
        for case, engine in (("a", one), ("b", two)):
            await engine.start_case("writes", inputs=applicant(case), case_id=case, subject="s")
            await engine.run_until_idle(until=engine.clock.now())
            await engine.signal(case, "answered", {"said": WORD})
        assert one.read.data_keys() == {KEYS.current: 1}
        assert (await one.erase(subject="s", who="dana", reason="")).cases == ("a", "b")
        await two.start_case("writes", inputs=applicant("c"), case_id="c", subject="s")
        await two.run_until_idle(until=two.clock.now())
        with pytest.raises(ErasureRefused, match="case has not ended: 'c'"):
            await one.erase(subject="s", who="dana", reason="")
        await two.signal("c", "answered", {"said": WORD})
    shown = Reader(postgres, personal="shown", keys=KEYS)
    assert [shown.case(c).case.outcome["said"] for c in "abc"] == ["[erased]", "[erased]", WORD]
    nothing_readable(postgres)
    assert [str(p) for p in audit(postgres, keys=KEYS).problems] == []


@pytest.mark.postgres
async def test_a_subject_comes_again_while_it_is_being_erased(postgres: str) -> None:
    agent = writing(post)
    async with opened(agent, postgres, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant("a"), case_id="a", subject="s")
        await engine.run_until_idle(until=engine.clock.now())
        await engine.signal("a", "answered", {"said": WORD})
        async with asyncio.timeout(20):
            erased, _ = await asyncio.gather(
                engine.erase(subject="s", who="dana", reason=""),
                engine.start_case("writes", inputs=applicant("b"), case_id="b", subject="s"),
            )
        assert erased.cases == ("a",)
        assert engine.read.data_keys() == {KEYS.current: 1, "": 1}
    assert [str(p) for p in audit(postgres, keys=KEYS).problems] == []


async def test_a_case_that_cannot_start_leaves_no_key_behind() -> None:
    agent = writing(post)
    async with opened(agent, keys=KEYS) as engine:
        deployed(engine, agent)
        await engine.start_case("writes", inputs=applicant("a"), case_id="a")
        for _ in range(3):
            with pytest.raises(CaseExists):
                await engine.start_case("writes", inputs=applicant("a"), case_id="a")
        assert not engine._vault._new
        assert sum(engine.read.data_keys().values()) == 1


@pytest.mark.postgres
# DBOS may have taken a workflow from its queue when it is told to end: it says so as Python does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine 'execute_dequeued_workflow:RuntimeWarning")
async def test_what_wakes_cases_knows_their_ids_only(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
    monkeypatch.setenv("PROVENET_KEYS", KEYS.to_text())
    agent = writing(post)
    async with fleets.dbos(postgres, [agent], Shifted(tmp_path / "clock")) as workers:
        await workers.start("writes", [("a", applicant())])
        await workers.until(lambda counts: counts == {"waiting": 1})
        event = {"do": "signal", "case": "a", "event": "answered", "payload": {"said": WORD}, "key": "k"}
        await workers.tell(event)
        await workers.until(lambda counts: counts == {"done": 1})
    nothing_readable(postgres)
    with reading_engine(located(postgres)).connect() as c:
        tables = c.execute(
            sa.text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^pg_|^info'")
        )
        names = [f'"{schema}"."{table}"' for schema, table in tables]
        assert any("workflow" in name for name in names)
        held = repr([[tuple(r) for r in c.execute(sa.text(f"SELECT * FROM {name}"))] for name in names])
    for said in (NAME, MAIL, WORD):
        assert said not in held
    assert [str(p) for p in audit(postgres, keys=KEYS).problems] == []
