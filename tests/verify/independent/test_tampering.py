"""Tampered certificates: refused with a reason, whatever was changed; never a crash, never a false claim."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provenet.nets.check import check_net
from provenet.nets.errors import FormatError, ProvenetError
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Net, Place, Put, Requirement, Take, Transition
from provenet.verify.asked import WORDS
from provenet.verify.check import prove
from provenet.verify.independent import counting
from provenet.verify.independent.check import check, digest, parsed
from provenet.verify.independent.claims import Stated, bound_in
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.plain.net import PTNet
from tests.verify.independent.support import Data, certified, changed, checked, outcomes, plain_net, sealed
from tests.verify.nets import cap, selling, trip
from tests.verify.small_nets import requirements, small_nets

SAFE = Requirement("STATE-2", (("k", 1),))


@lru_cache
def shop() -> tuple[Net, Data]:
    net = selling(requirements=("SDB", "DATA", "STATE-2", cap()))
    return net, certified(net)


def entry_of(data: Data, prop: str) -> Data:
    return next(e for e in data["verdicts"] if e["property"] == prop)


def evidence_of(data: Data, prop: str) -> Any:
    return entry_of(data, prop)["evidence"][0]["data"]


def refusals(net: Net, data: Data) -> list[str]:
    return [r.says for r in checked(net, data) if r.outcome == "refused"]


def test_an_untouched_certificate_passes() -> None:
    net, data = shop()
    assert not refusals(net, data)
    assert ("never", "re-checked") in outcomes(checked(net, data))


# the file


def test_another_net_is_refused() -> None:
    _, data = shop()
    with pytest.raises(Refused, match="about the net"):
        checked(selling(most=40, requirements=("SDB", "DATA", "STATE-2", cap())), data)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("net_hash", "0" * 64, "about the net"),
        ("net", "another", "is called"),
        ("digest", "0" * 64, "was changed"),
        ("versions", {"provenet": "9"}, "was changed"),
    ],
)
def test_a_changed_head_is_refused(key: str, value: object, why: str) -> None:
    net, data = shop()
    with pytest.raises(Refused, match=why):
        checked(net, {**data, key: value})


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{",
        "null",
        '{"format": "provenet-certificate/2"}',
        '{"format": "provenet-certificate/1"}',
        "1e999",
    ],
)
def test_what_is_no_certificate_is_bad_input(data: str) -> None:
    with pytest.raises(FormatError):
        parsed(data)


def test_other_obligations_are_refused() -> None:
    net, data = shop()

    def nothing_to_show(out: Data) -> None:
        entry_of(out, "never")["obligations"][0]["smt2"] = "(assert false)\n(check-sat)\n"

    (why,) = refusals(net, changed(data, nothing_to_show, texts="with"))
    assert "obligations" in why


# facts


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.clear(),
        lambda facts: facts.update({next(iter(facts)): []}),
        lambda facts: facts.update({next(iter(facts)): ["false"]}),
        lambda facts: facts.update({next(iter(facts)): ["nonsense ("]}),
        lambda facts: facts.update({next(iter(facts)): "true"}),
        lambda facts: facts.update({next(iter(facts)): [7]}),
        lambda facts: facts.update({"nowhere": ["true"]}),
        lambda facts: facts.update({place: ["true"] for place in facts}),
    ],
    ids=map(str, range(8)),
)
def test_other_facts_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    net, data = shop()
    out = changed(data, lambda out: change(evidence_of(out, "never")["facts"]))
    assert ("never", "refused") in outcomes(checked(net, out))


@pytest.mark.parametrize("part", ["questions", "ghost", "facts"])
def test_another_question_is_refused(part: str) -> None:
    net, data = shop()
    out = changed(data, lambda out: evidence_of(out, "SDB-1").update({part: []}))
    assert ("SDB-1", "refused") in outcomes(checked(net, out))


def test_a_requirement_that_the_net_does_not_have_is_not_shown() -> None:
    net, data = shop()
    out = changed(data, lambda out: entry_of(out, "never").update(subject="offer.accept"))
    assert ("never", "not re-checked") in outcomes(checked(net, out))


# numbers


@pytest.mark.parametrize(
    ("prop", "change"),
    [
        ("SDB-5", lambda d: d["weights"].clear()),
        ("SDB-5", lambda d: d["plus"].update(dict.fromkeys(d["plus"], 7))),
        ("SDB-5", lambda d: d["minus"].clear()),
        ("SDB-5", lambda d: d["weights"].update(nowhere=1)),
        ("SDB-5", lambda d: d.update(weights=[1])),
        ("SDB-5", lambda d: d["weights"].update(dict.fromkeys(d["weights"], 0.5))),
        ("STATE-2", lambda d: d["weights"].popitem()),
        ("STATE-2", lambda d: d["weights"].update(dict.fromkeys(d["weights"], -1))),
    ],
    ids=map(str, range(8)),
)
def test_other_weights_are_refused(prop: str, change: Callable[[Data], object]) -> None:
    net, data = shop()
    out = changed(data, lambda out: change(evidence_of(out, prop)))
    assert (prop, "refused") in outcomes(checked(net, out))


def trap_net() -> tuple[Net, Data]:
    """`split` needs two tokens of p and leaves one: the trap {p} keeps p marked."""
    pt = PTNet(
        places=("p", "q"),
        transitions=("split", "join"),
        pre=(((0, 2),), ((0, 1), (1, 1))),
        post=(((0, 1), (1, 1)), ((0, 1),)),
        initial=(2, 0),
    )
    return plain_net(pt), {"traps": [["p"]], "empty": [], "dead": [], "numbers": "real"}


def left_to_show(net: Net, data: Data) -> list[str]:
    numbers = counting.plain(net)
    return [o.name for o in counting.equation(numbers, ("<=", ((0, 1),), 0), data)]


def test_a_trap_is_looked_at() -> None:
    net, data = trap_net()
    assert left_to_show(net, data) == ["state equation: the property"]
    wrong: list[dict[str, object]] = [
        {"traps": [["q"]]},
        {"traps": [["p", "nowhere"]]},
        {"traps": [[]]},
        {"traps": "p"},
        {"empty": [["p"]]},
        {"dead": ["nothing"]},
        {"numbers": "any"},
    ]
    for change in wrong:
        with pytest.raises(Refused):
            left_to_show(net, {**data, **change})


def line() -> Net:
    """From a to b, or over c: sound, free-choice."""
    steps = (("a", "b"), ("a", "c"), ("c", "b"))
    made = tuple(Transition(f"{x}{y}", takes=(Take(x),), puts=(Put(y),)) for x, y in steps)
    return Net("line", tuple(map(Place, "abc")), made, initial=(("a", ((),)),), finals=((("b", 1),),))


def test_other_numbers_of_markings_are_refused() -> None:
    data = certified(line(), "STATE-1")
    assert outcomes(checked(line(), data)) == [("STATE-1", "re-checked")]
    wrong: list[Data] = [{"markings": 4}, {"firings": 0}, {"markings": None}]
    for change in wrong:
        out = changed(data, partial(_tell_otherwise, change))
        assert outcomes(checked(line(), out)) == [("STATE-1", "refused")]


def _tell_otherwise(change: Data, out: Data) -> None:
    evidence_of(out, "STATE-1").update(change)


def test_the_rank_theorem_is_gone_through() -> None:
    numbers = counting.plain(line())
    data: Data = {
        "places": {"a": 1, "b": 1, "c": 1},
        "transitions": {"ab": 1, "ac": 1, "cb": 1, "again": 2},
        "rank": 2,
        "clusters": 3,
    }
    counting.rank_theorem(numbers, data)
    wrong: list[dict[str, object]] = [
        {"places": {"a": 1, "b": 2, "c": 1}},
        {"places": {"a": 1, "b": 1}},
        {"transitions": {"ab": 1, "ac": 1, "cb": 1, "again": 1}},
        {"rank": 1},
        {"clusters": 4},
    ]
    for change in wrong:
        with pytest.raises(Refused):
            counting.rank_theorem(numbers, {**data, **change})


# runs


def loose() -> tuple[Net, Data]:
    net = selling(gate="none", requirements=(cap(),))
    return net, certified(net)


def test_a_run_is_fired_again() -> None:
    net, data = loose()
    assert [e["verdict"] for e in data["verdicts"]] == ["REFUTED"]
    assert outcomes(checked(net, data)) == [("never", "re-checked")]


@pytest.mark.parametrize(
    "change",
    [
        lambda trace: trace["steps"].pop(),
        lambda trace: trace["steps"].pop(0),
        lambda trace: trace["steps"].clear(),
        lambda trace: trace["steps"].reverse(),
        lambda trace: trace["steps"][0].update(transition="nothing"),
        lambda trace: trace["steps"][-1].update(binding={}),
        lambda trace: trace["steps"][-1].pop("binding"),
        lambda trace: trace["start"].clear(),
        lambda trace: trace["start"].update(approved=[{"discount": 90, "vip": False}]),
        lambda trace: trace["start"].update(asked=trace["start"]["asked"] * 2),
        lambda trace: trace.update(steps=5),
    ],
    ids=map(str, range(11)),
)
def test_another_run_is_refused(change: Callable[[Any], object]) -> None:
    net, data = loose()
    out = changed(data, lambda out: change(out["verdicts"][0]["trace"]))
    assert outcomes(checked(net, out)) == [("never", "refused")]


def test_a_refutation_is_no_proof_and_the_other_way_round() -> None:
    net, data = shop()
    for i in range(len(data["verdicts"])):
        out = changed(data, partial(_refute, i))
        assert checked(net, out)[i].outcome != "re-checked"
    net, data = loose()
    out = changed(data, lambda out: out["verdicts"][0].update(verdict="PROVED"))
    assert outcomes(checked(net, out)) == [("never", "not re-checked")]


def _refute(i: int, out: Data) -> None:
    out["verdicts"][i].update(verdict="REFUTED")


# anything at all


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, dict):
        return [path, *(leaf for key in data for leaf in leaves(data[key], (*path, key)))]
    if isinstance(data, list):
        return [path, *(leaf for i, each in enumerate(data) for leaf in leaves(each, (*path, i)))]
    return [path]


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [None, True, 0, 1, 2, -1, 10**30, 0.5, "", "true", "false", [], {}, "p0", "t0", "PROVED", "REFUTED"]
    ),
    st.text(max_size=4),
)


def mutated(draw: st.DrawFn, data: Data) -> Data:
    """One part of a certificate replaced, dropped, doubled or swapped with another, and sealed again."""
    out: Data = json.loads(json.dumps(data))
    for entry in out["verdicts"]:
        if draw(st.booleans()):
            entry["obligations"] = None
    for _ in range(draw(st.integers(1, 3))):
        paths = [p for p in leaves(out) if p and p[0] == "verdicts"]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        at: Any = out
        for key in path[:-1]:
            at = at[key]
        how = draw(st.sampled_from(["replace", "drop", "swap", "add"]))
        if how == "drop":
            del at[path[-1]]
        elif how == "swap":
            other = draw(st.sampled_from(paths))
            value: Any = json.loads(json.dumps(out))
            for key in other:
                value = value[key]
            at[path[-1]] = value
        elif how == "add" and isinstance(at[path[-1]], int) and not isinstance(at[path[-1]], bool):
            at[path[-1]] += draw(st.sampled_from([-1, 1]))
        else:
            at[path[-1]] = draw(JUNK)
    return sealed(out)


@lru_cache
def truths(net: Net, wanted: str | Requirement) -> frozenset[tuple[str, str]]:
    """Verdicts with their subjects, as the engines give them."""
    return frozenset((str(v.status), v.subject) for v in prove(net, only=[wanted], timeout=10).verdicts)


def is_true(net: Net, stated: Stated, verdict: str) -> bool:
    """Whether a statement is one that the engines make, too."""
    wanted: str | Requirement = stated.property
    if stated.property == "STATE-2" and (k := bound_in(stated)) is not None:
        wanted = Requirement("STATE-2", (("k", k),))
    return (verdict, stated.subject) in truths(net, wanted)


def never_false(net: Net, data: Data) -> None:
    try:
        certificate = parsed(json.dumps(data))
    except FormatError:
        return
    for r in check(net, certificate, timeout=10):
        if r.outcome == "re-checked":
            assert is_true(net, r.entry.stated, r.entry.verdict), f"{r.entry}: {r.says}"


LOOSE = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=15)


@settings(LOOSE)
@given(st.data())
def test_no_change_makes_a_false_claim_about_an_agent_pass(data: st.DataObject) -> None:
    net, made = data.draw(st.sampled_from([shop(), loose()]))
    never_false(net, data.draw(st.composite(mutated)(made)))


@settings(LOOSE, max_examples=60)
@given(st.data())
def test_no_change_makes_a_false_claim_about_a_plain_net_pass(data: st.DataObject) -> None:
    net, made = data.draw(st.sampled_from(plain_samples()))
    never_false(net, data.draw(st.composite(mutated)(made)))


@lru_cache
def plain_samples() -> tuple[tuple[Net, Data], ...]:
    """Sound, stuck, and with tokens left behind; by markings, by the rank theorem and by equations."""
    stuck = replace(line(), finals=((("c", 1),),))
    two = replace(line(), initial=(("a", ((), ())),))
    asked = (
        WORDS["relaxed-soundness"],
        Requirement("STATE-1"),
        Requirement("STATE-2"),
        SAFE,
        Requirement("STATE-3"),
    )
    made = [(net, certified(net, *asked)) for net in (line(), stuck, two, trap_net()[0])]
    rank = {"places": {"a": 1, "b": 1, "c": 1}, "transitions": {"ab": 1, "ac": 1, "cb": 1, "again": 2}}
    by_rank = [{"kind": "rank theorem", "data": {**rank, "rank": 2, "clusters": 3}}]
    made.append((line(), changed(made[0][1], lambda out: entry_of(out, "STATE-1").update(evidence=by_rank))))
    assert ("STATE-1", "re-checked") in outcomes(checked(*made[-1]))
    return tuple(made)


@settings(LOOSE, max_examples=5)
@given(st.data())
def test_evidence_about_one_net_does_not_pass_for_another(data: st.DataObject) -> None:
    # The net loses a guard, or gets another token; its certificate gets the new hash and is sealed again.
    net = data.draw(small_nets())
    net = replace(net, requirements=tuple(data.draw(requirements(net))))
    assume(not check_net(net))
    assume(net.transitions)
    t = data.draw(st.sampled_from(net.transitions))
    changes = [
        replace(net, transitions=tuple(replace(u, guard=None) if u is t else u for u in net.transitions)),
        replace(
            net, transitions=tuple(replace(u, takes=u.takes[1:]) if u is t else u for u in net.transitions)
        ),
        replace(
            net, transitions=tuple(replace(u, puts=u.puts * 2) if u is t else u for u in net.transitions)
        ),
        replace(net, initial=(*net.initial, *net.initial)),
    ]
    other = data.draw(st.sampled_from(changes))
    assume(other != net and not check_net(other))
    made = certified(net, timeout=1)
    out = changed(made, lambda out: out.update(net_hash=content_hash(other)))
    for r in checked(other, out):
        if r.outcome == "re-checked":
            found = prove(other, only=[r.entry.stated.property], timeout=1).verdicts
            about = (r.entry.stated.property, r.entry.stated.subject, r.entry.stated.title)
            against = "REFUTED" if r.entry.verdict == "PROVED" else "PROVED"
            same = {str(v.status) for v in found if (v.property, v.subject, v.title) == about}
            assert against not in same, f"{r.entry}: {r.says}"


def test_a_digest_is_of_all_but_itself() -> None:
    _, data = shop()
    assert digest(data) == data["digest"] == digest({**data, "digest": ""})
    assert digest({**data, "net": "x"}) != data["digest"]


def test_a_net_with_mistakes_is_bad_input() -> None:
    net, data = shop()
    broken = replace(net, places=net.places[1:])
    with pytest.raises(ProvenetError) as error:
        checked(broken, data)
    assert not isinstance(error.value, Refused | NotHere)


def test_sagas_are_left_to_the_engines() -> None:
    net = trip(requirements=("SAGA-1",))
    assert outcomes(checked(net, certified(net))) == [("SAGA-1", "not re-checked")]
