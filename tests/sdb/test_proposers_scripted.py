"""Scripts and recordings: the same answers every time, and a clear fault where there is none."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import FormatError
from provenet.nets.models import Token, schema_of, to_value
from provenet.nets.schema import Type, Value
from provenet.sdb.handlers import Proposal, ProposalFault, Proposer, Request
from provenet.sdb.proposers import Recorder, Recording, function, recorded, scripted
from provenet.sdb.proposers.faults import fault
from provenet.sdb.proposers.script import load
from provenet.sdb.reject import Reject
from tests.nets.strategies import types, values

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=10)


class Offer(Token):
    discount: int
    price: Decimal


def asking(case: str = "a", attempt: int = 1, *, returns: Type | None = None) -> Request:
    return Request(
        case=case,
        key=f"{case}/{attempt}",
        payload=None,
        payload_type=schema_of(None),
        returns=returns or schema_of(Offer),
        attempt=attempt,
    )


async def rule_of(proposer: Proposer, request: Request) -> str:
    with pytest.raises(ProposalFault) as caught:
        await proposer.propose(request)
    return caught.value.reject.rule


async def test_every_case_walks_the_list_by_itself() -> None:
    proposer = scripted([(1, Decimal(1)), {"discount": 2, "price": "2"}, '{"discount": 3, "price": "3"}'])
    for case in ("a", "b"):
        for attempt in (1, 2, 3):
            assert (await proposer.propose(asking(case, attempt))).value == (attempt, Decimal(attempt))
    again = await proposer.propose(asking("a", 2))
    assert again.value == (2, Decimal(2))  # a repeated call is not a new one
    with pytest.raises(ProposalFault, match="3 answers, all given"):
        await proposer.propose(asking("a", 4))


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_case_that_another_process_began_goes_on_in_the_list(at: int) -> None:
    said = [(n, Decimal(n)) for n in (1, 2, 3)]
    for proposer in (scripted(said), scripted({"a": said})):
        found = [(await proposer.propose(asking("a", n))).value[0] for n in (*range(at, 4), at)]
        assert found == [*range(at, 4), at]
    # What was answered by a narrower key was not taken from the list.
    proposer = scripted({("a", 1): (9, Decimal(9)), "a": said})
    found = [(await proposer.propose(asking("a", n))).value[0] for n in range(at, 4)]
    assert found == [9, 1, 2][at - 1 :]


async def test_faults_in_a_script() -> None:
    spent = Proposal(value=None, tokens_in=3)
    proposer = scripted(
        [
            Reject("refusal"),
            fault("timeout", expected="an answer", spent=spent),
            ValueError("boom"),
            {"discount": "x", "price": "1"},
            "not json",
        ]
    )
    rules = [await rule_of(proposer, asking("a", n)) for n in range(1, 7)]
    assert rules == ["refusal", "timeout", "fault", "schema", "malformed", "fault"]


async def test_a_mapping_is_searched_from_the_narrowest_key() -> None:
    proposer = scripted(
        {
            "a/1": (1, Decimal(0)),
            ("a", 1): (9, Decimal(0)),
            ("a", 2): (2, Decimal(0)),
            "a": [(3, Decimal(0)), (4, Decimal(0))],
            "b": (5, Decimal(0)),
        }
    )
    found = [(await proposer.propose(asking("a", n))).value[0] for n in (1, 2, 3, 4)]
    assert found == [1, 2, 3, 4]
    assert [(await proposer.propose(asking("b", n))).value[0] for n in (1, 2)] == [5, 5]
    assert await rule_of(proposer, asking("c")) == "fault"


async def test_an_account_in_a_script() -> None:
    whole = Proposal(value=(1, Decimal(1)), model="m", tokens_in=7, cost_usd=Decimal("0.5"))
    assert await scripted([whole]).propose(asking()) == whole


@given(st.data())
def test_a_recording_answers_as_the_recorded(data: st.DataObject) -> None:
    of = data.draw(types())
    script: list[Value | Reject] = data.draw(
        st.lists(
            values(of) | st.builds(Reject, TEXTS, got=TEXTS, retryable=st.booleans()), min_size=1, max_size=4
        )
    )
    whole = [
        a
        if isinstance(a, Reject)
        else Proposal(a, model="m-1", prompt_hash="h", tokens_in=i, cost_usd=Decimal("0.1"))
        for i, a in enumerate(script)
    ]
    recorder = Recorder(scripted(whole))
    asyncio.run(run(recorder, of, len(script)))
    lines = [json.dumps(r.to_json()) for r in recorder.recordings.values()]
    replay = recorded([Recording.from_json(json.loads(line)) for line in lines])
    assert asyncio.run(run(replay, of, len(script))) == asyncio.run(run(scripted(whole), of, len(script)))


async def run(proposer: Proposer, of: Type, times: int) -> list[Any]:
    outcomes: list[Any] = []
    for n in range(1, times + 1):
        try:
            outcomes.append(await proposer.propose(asking("a", n, returns=of)))
        except ProposalFault as error:
            outcomes.append(error.reject)
    return outcomes


async def test_save_and_load(tmp_path: Path) -> None:
    recorder = Recorder(function(lambda request: Offer(discount=request.attempt, price=Decimal("1.50"))))
    assert isinstance(recorder, Proposer)
    requests = [asking(c, n) for c in "abc" for n in (1, 2)]
    given = await asyncio.gather(*(recorder.propose(r) for r in reversed(requests)))
    recorder.save(tmp_path / "one.jsonl")
    replay = recorded(tmp_path / "one.jsonl")
    assert [await replay.propose(r) for r in reversed(requests)] == given
    assert await rule_of(replay, asking("d")) == "fault"
    again = Recorder(replay)
    for r in requests:
        await again.propose(r)
    again.save(tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert [r.key for r in load(tmp_path / "one.jsonl")] == ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2"]


async def test_a_recording_of_another_type_is_a_schema_fault() -> None:
    recorder = Recorder(scripted([(1, Decimal(1))]))
    await recorder.propose(asking())
    replay = recorded(list(recorder.recordings.values()))
    assert await rule_of(replay, asking(returns=schema_of(int))) == "schema"


GOOD_LINE = Recording("a", "k", 1, Proposal(value=1)).to_json()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '"x"',
        json.dumps({**GOOD_LINE, "cost_usd": "much"}),
        json.dumps({**GOOD_LINE, "attempt": "first"}),
        json.dumps({**GOOD_LINE, "reject": {"rul": "x"}}),
        "[" * 100_000,
    ],
    ids=lambda line: line[-30:],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(GOOD_LINE) + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        recorded(path)
    assert caught.value.where.endswith("bad.jsonl:3")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot read"):
        recorded(tmp_path / "none.jsonl")


def test_unit_answers() -> None:
    given_ = asyncio.run(scripted([None]).propose(asking(returns=schema_of(None))))
    assert given_.value == to_value(None, schema_of(None))
