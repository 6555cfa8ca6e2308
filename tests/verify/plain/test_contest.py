"""The contest's property files, examinations and bounds."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.errors import FormatError
from provenet.nets.formats.pnml import read_pnml
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.bounds import upper_bounds
from provenet.verify.plain.contest import Bound, parse_properties
from provenet.verify.plain.decide import decide
from provenet.verify.plain.examination import Outcome, examine
from provenet.verify.plain.formula_verdict import prove_formula
from provenet.verify.plain.net import PTNet, plain_net
from provenet.verify.verdict import Status
from tests.verify.plain.nets import nets, reachable

SHARED = Path(__file__).parents[4] / "shared" / "mcc"

NET = PTNet(
    places=("idle", "busy"),
    transitions=("start", "stop"),
    pre=(((0, 1),), ((1, 1),)),
    post=(((1, 1),), ((0, 1),)),
    initial=(2, 0),
)

FILE = """<?xml version="1.0"?>
<property-set xmlns="http://mcc.lip6.fr/">
 <property><id>q0</id><description>made up</description><formula><all-paths><globally><negation>
   <conjunction><is-fireable><transition>start</transition></is-fireable>
   <integer-le><integer-constant>3</integer-constant>
     <tokens-count><place>idle</place><place>busy</place></tokens-count></integer-le></conjunction>
 </negation></globally></all-paths></formula></property>
 <property><id>q1</id><formula><exists-path><finally><deadlock/></finally></exists-path></formula></property>
 <property><id>q2</id><formula><all-paths><until><before><is-fireable><transition>start</transition>
   </is-fireable></before><reach><integer-le><integer-constant>1</integer-constant>
   <tokens-count><place>busy</place></tokens-count></integer-le></reach></until></all-paths></formula></property>
 <property><id>q3</id><formula><place-bound><place>idle</place><place>busy</place></place-bound></formula></property>
</property-set>"""


def test_a_file_is_read() -> None:
    first, second, third, fourth = parse_properties(FILE.encode(), NET)
    assert [a.id for a in (first, second, third, fourth)] == ["q0", "q1", "q2", "q3"]
    asked = tl.as_reachability(tl.simplified(first.question)) if isinstance(first.question, tl.A) else None
    assert asked is not None
    assert logic.shown(asked.goal, NET) == "idle >= 1 & idle + busy >= 3"
    assert not asked.holds_if
    assert fourth.question == Bound((0, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<place>idle</place>", "<place>idel</place>", "no place 'idel' in the net"),
        ("<deadlock/>", "<deadlok/>", "element 'deadlok' is no formula"),
        ("<integer-constant>3<", "<integer-constant>three<", "'three' is no whole number"),
        ("<id>q1</id>", "", "a property without an id"),
        ("<id>q1</id>", "<id>q0</id>", "two properties have the id 'q0'"),
        ("<reach>", "<rech>", "not well-formed"),
        ("property-set", "property", "holds no properties"),
        ("<exists-path><finally>", "<exists-path><finally></finally><finally>", "has 2 parts, expected 1"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(FormatError) as found:
        parse_properties(FILE.replace(old, new).encode(), NET, source="q.xml")
    assert said in str(found.value)
    assert "q.xml" in str(found.value)


@pytest.mark.parametrize("outer", ["AGEF", "EFAG", "AXEU", "AG", "NX", "CD"])
def test_a_formula_is_nested_too_deeply_or_answered(outer: str) -> None:
    tags = {
        "A": "<all-paths>{}</all-paths>",
        "E": "<exists-path>{}</exists-path>",
        "G": "<globally>{}</globally>",
        "F": "<finally>{}</finally>",
        "X": "<next>{}</next>",
        "U": "<until><before><deadlock/></before><reach>{}</reach></until>",
        "N": "<negation>{}</negation>",
        "C": "<conjunction><true/>{}</conjunction>",
        "D": "<disjunction><false/>{}</disjunction>",
    }
    atom = "<is-fireable><transition>stop</transition></is-fireable>"
    for depth in (20, 60, 140, 300, 5_000):
        formula = atom
        for n in reversed(range(depth)):
            formula = tags[outer[n % len(outer)]].format(formula)
        text = f"<property-set><property><id>q</id><formula>{formula}</formula></property></property-set>"
        try:
            (asked,) = parse_properties(text.encode(), NET)
        except FormatError as why:
            assert "deep" in str(why)  # noqa: PT017  (either is right, for every depth)
            assert depth > 60
        else:
            assert not isinstance(asked.question, Bound)
            question = asked.question if tl.is_state(asked.question) else tl.A(asked.question)
            assert tl.simplified(question) == tl.simplified(tl.Not(tl.Not(question)))
            list(decide(NET, [question], Budget.seconds(0.05)))


def test_a_model_without_tokens_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "model.pnml").write_text(
        '<pnml xmlns="http://www.pnml.org/version-2009/grammar/pnml"><net id="n" type="http://www.pnml.org/'
        'version-2009/grammar/ptnet"><page id="g"><place id="p"/><place id="q"/><transition id="t"/>'
        '<arc id="a" source="p" target="t"/><arc id="b" source="t" target="q"/></page></net></pnml>',
        encoding="utf-8",
    )
    (outcome,) = examine(tmp_path, "QuasiLiveness", Budget.seconds(30))
    assert outcome.value is False


@pytest.mark.parametrize(("tokens", "stays"), [(1, "TRUE"), (0, "FALSE")])
def test_what_follows_a_deadlock_depends_on_the_logic(tmp_path: Path, tokens: int, stays: str) -> None:
    (tmp_path / "model.pnml").write_text(
        '<pnml xmlns="http://www.pnml.org/version-2009/grammar/pnml"><net id="n" type="http://www.pnml.org/'
        f'version-2009/grammar/ptnet"><page id="g"><place id="p"><initialMarking><text>{tokens}</text>'
        '</initialMarking></place><place id="q"/><transition id="t"/><arc id="a" source="q" target="t"/>'
        "</page></net></pnml>",
        encoding="utf-8",
    )
    told = {}
    for name in ("CTLCardinality", "LTLCardinality"):
        (tmp_path / f"{name}.xml").write_text(
            "<property-set><property><id>x</id><formula><all-paths><next><integer-le><integer-constant>1"
            "</integer-constant><tokens-count><place>p</place></tokens-count></integer-le></next></all-paths>"
            "</formula></property></property-set>",
            encoding="utf-8",
        )
        (told[name],) = (o.line().split()[2] for o in examine(tmp_path, name, Budget.seconds(30)))
    assert told == {"CTLCardinality": "TRUE", "LTLCardinality": stays}
    net = plain_net(read_pnml(tmp_path / "model.pnml"))
    assert prove_formula(net, "AX p").status is Status.PROVED
    assert prove_formula(net, "X p").status is (Status.PROVED if tokens else Status.REFUTED)


@settings(max_examples=300)
@given(st.data())
def test_no_file_does_harm(data: st.DataObject) -> None:
    text = FILE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(len(text), at + 40)))
        start = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from(["", "<", "&lol;", "\x00", "<conjunction>" * 30, text[start : start + 60]])
        )
        text = text[:at] + piece + text[to:]
    # Anything but a clear refusal would end the test.
    with contextlib.suppress(FormatError):
        parse_properties(text.encode("utf-8", "replace"), NET)


def test_deep_nesting_is_refused() -> None:
    deep = "<negation>" * 5_000 + "<deadlock/>" + "</negation>" * 5_000
    with pytest.raises(FormatError, match="nested deeper"):
        parse_properties(FILE.replace("<deadlock/>", deep).encode(), NET)


def test_lines_are_the_contest_s_own() -> None:
    assert Outcome("q", value=True, engines=("state equation", "walk")).line() == (
        "FORMULA q TRUE TECHNIQUES STATE_EQUATION WALK"
    )
    assert Outcome("q", value=4, engines=("explore",)).line() == "FORMULA q 4 TECHNIQUES EXPLORE"
    assert Outcome("q", value=None).line() == "FORMULA q CANNOT_COMPUTE"


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_bounds_are_what_search_finds(data: st.DataObject) -> None:
    net = data.draw(nets(most_places=4, most_transitions=5))
    markings, complete = reachable(net, limit=500)
    if not complete:
        return
    sets = [[p] for p in range(len(net.places))] + [list(range(len(net.places)))]
    for i, most, _ in upper_bounds(net, sets, Budget.seconds(8)):
        assert most == max(sum(m[p] for p in sets[i]) for m in markings)


def test_combinations_are_decided_by_their_parts() -> None:
    never = tl.Now(logic.at_least({0: 1, 1: 1}, 3))
    both = tl.Both((tl.E(tl.F(tl.Now(logic.at_least({1: 1}, 2)))), tl.Not(tl.E(tl.F(never)))))
    (found,) = dict(decide(NET, [both], Budget.seconds(20))).values()
    assert found.holds
    (found,) = dict(decide(NET, [tl.Not(both)], Budget.seconds(20))).values()
    assert not found.holds


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the contest's nets do not lie beside this checkout")
@pytest.mark.parametrize("name", ["Philosophers-PT-000005", "TwoPhaseLocking-PT-nC00004vD"])
@pytest.mark.parametrize(
    "examination",
    ["ReachabilityCardinality", "ReachabilityFireability", "ReachabilityDeadlock", "UpperBounds"],
)
def test_known_verdicts(name: str, examination: str) -> None:
    known = json.loads((SHARED / name / "verdicts.json").read_text(encoding="utf-8"))["verdicts"][examination]
    assert plain_net(read_pnml(SHARED / name / "model.pnml")).places
    for outcome in examine(SHARED / name, examination, Budget.seconds(40)):
        expected = known.get(outcome.id)
        assert outcome.value is None or expected is None or outcome.value == expected, outcome
