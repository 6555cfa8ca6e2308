"""A secret in a token reaches the handlers that need it, and nobody who reads."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import pytest

from provenet import Secret
from provenet.engine import Reader, audit
from provenet.engine.watching import JsonLines, Logs
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from tests.engine.kit import Answers, deployed, looked_at, opened

NUMBER, NOTE = "4242-SECRET-4242", "PSST-ultramarine"


class Order(Token):
    id: str
    card: Annotated[str, Secret]


class Charge(Token):
    order: str
    card: Annotated[str, Secret]
    note: Annotated[str, Secret]
    cents: int


class Receipt(Token):
    number: str
    code: Annotated[str, Secret]


def paying(effect: Any, cents: int, *, length: int = 40) -> Agent:
    """A model proposes a charge, a policy looks at card and amount; a bank takes it, or a person decides."""
    net = NetBuilder("pays")
    inbox, review = net.entry("inbox", Order), net.place("review", Order)
    charged, refused = net.final("charged", Charge), net.final("refused", Order)
    says = Answers(lambda r: Proposal((r.payload.id, r.payload.card, NOTE, cents)))
    looked_at(
        net,
        "charge",
        (inbox, review, charged, refused),
        propose=says,
        returns=Charge,
        field="card",
        length=length,
        commit=Effect("bank.charge", effect, payload=Charge, receipt=Receipt, tries=1),
    )
    net.require("DATA-2")
    return Agent.of(net)


async def read(
    agent: Agent, database: Path, caplog: pytest.LogCaptureFixture
) -> tuple[str, str, list[dict[str, Any]]]:
    """Run one case; everything that anybody can read of it, and what the database holds."""
    with caplog.at_level(logging.DEBUG, "provenet"):
        async with opened(agent, database, observers=[Logs()]) as engine:
            deployed(engine, agent)
            await engine.start_case("pays", inputs={"inbox": Order(id="o", card=NUMBER)}, case_id="o")
            await engine.run_until_idle(until=engine.clock.now())
            reader = engine.read
            seen = [json.dumps(reader.case("o").to_json()), *reader.export()]
            seen += [repr(reader.cases()), repr(reader.tasks()), repr(reader.log("o"))]
    seen += [JsonLines().format(r) for r in caplog.records if r.name.startswith("provenet")]
    log = [line.to_json() for line in reader.log("o")]
    return "\n".join(seen), json.dumps(Reader(database, secrets="shown").case("o").to_json()), log


async def test_a_done_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given: list[Request] = []

    def bank(request: Request) -> Receipt:
        given.append(request)
        return Receipt(number="r-1", code=NOTE)

    seen, held, log = await read(paying(bank, 50), tmp_path / "x.db", caplog)
    assert (given[0].payload.card, given[0].payload.note) == (NUMBER, NOTE)
    assert NUMBER in held
    assert NOTE in held
    assert NUMBER not in seen
    assert NOTE not in seen
    assert "r-1" in seen
    proposed = next(x for x in log if x["role"] == "propose")
    assert proposed["text"].endswith('{"order": "o", "card": "***", "note": "***", "cents": 50}')
    assert audit(tmp_path / "x.db").clean


@pytest.mark.parametrize(("cents", "length"), [(500, 40), (50, 3)])
@pytest.mark.attack("secrets drawn out by rejects", "*** in their place")
async def test_a_refused_proposal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cents: int, length: int
) -> None:
    seen, held, log = await read(paying(lambda r: None, cents, length=length), tmp_path / "x.db", caplog)
    assert NUMBER in held
    assert NUMBER not in seen
    assert NOTE not in seen
    rejects = [x for x in log if x["role"] == "reject"]
    assert len(rejects) == 2
    got = [next(iter(x["data"]["bring"].values()))["got"] for x in rejects]
    assert got == (["***"] * 2 if length == 3 else ["500"] * 2)
    # What is stored of a reject is what the proposer is told: the secret is in neither.
    stored = json.loads(held)["log"]
    assert all(NUMBER not in json.dumps(x) for x in stored if x["role"] == "reject")


@pytest.mark.attack(
    "secrets in an exception's words", "*** in their place, in logs, the store and for people"
)
async def test_a_handler_that_talks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def bank(request: Request) -> Receipt:
        raise RuntimeError(f"no such card: {request.payload.card} ({request.payload.note!r})")

    seen, _, _ = await read(paying(bank, 50), tmp_path / "x.db", caplog)
    assert NUMBER not in seen
    assert NOTE not in seen
    assert "no such card: *** ('***')" in seen
    assert '"outcome": "again"' in seen
