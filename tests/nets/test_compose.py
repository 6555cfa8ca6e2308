from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.check import check_net
from provenet.nets.compose import fuse, moved_requirement, prefixed
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Get, Var
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.formats.graph import incidence
from provenet.nets.net import (
    CaseKey,
    Choice,
    ContractInfo,
    Entry,
    Net,
    OnFailure,
    PatternInfo,
    Perform,
    Place,
    Put,
    Requirement,
    SagaInfo,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import INT, UNIT_VALUE, Field, RecordType
from tests.nets.net_strategies import coloured_nets, pt_nets

NETS = coloured_nets() | pt_nets()


@given(net=NETS)
@settings(max_examples=40)
def test_composing_with_an_empty_net_changes_nothing(net: Net) -> None:
    assert fuse(net, name=net.name) in (net, fuse(net, Net("empty"), name=net.name))
    whole = fuse(net, Net("empty"), name=net.name)
    assert whole.places == net.places
    assert whole.transitions == net.transitions
    assert set(whole.finals) == set(net.finals)
    assert whole.entries == net.entries
    assert dict(whole.initial) == dict(net.initial)


@given(
    net=NETS, prefixes=st.lists(st.sampled_from(("a", "b", "a.b", "")), min_size=2, max_size=2, unique=True)
)
@settings(max_examples=60)
def test_prefixes_tell_nets_apart_and_keep_them_whole(net: Net, prefixes: list[str]) -> None:
    one, two = (prefixed(net, p) for p in prefixes)
    assert content_hash(one) != content_hash(two)
    assert content_hash(prefixed(loads(dumps(net)), prefixes[0])) == content_hash(one)
    assert not check_net(one)
    assert not check_net(two)


@given(one=NETS, two=NETS, data=st.data())
@settings(max_examples=60)
def test_the_skeleton_of_the_whole_is_the_union(one: Net, two: Net, data: st.DataObject) -> None:
    a, b = prefixed(one, "a"), prefixed(two, "b")
    pairs = [(p.name, q.name) for p in a.places for q in b.places if p.type == q.type]
    joined = dict(data.draw(st.lists(st.sampled_from(pairs), max_size=2)) if pairs else [])
    try:
        whole = fuse(a, b, name="ab", places=joined)
    except NetError as error:
        # Two entries with conditions of their own cannot become one; nor two keys of one name.
        clash = {k.name for k in one.keys} & {k.name for k in two.keys}
        if {m.code for m in error.mistakes} - ({"PN122", "PN124"} if clash else {"PN122"}):
            raise
        return
    expected = {}
    for part in (incidence(a), incidence(b)):
        for t, weights in part.takes.items():
            moved: dict[str, int] = {}
            for p, w in weights.items():
                moved[joined.get(p, p)] = moved.get(joined.get(p, p), 0) + w
            expected[t] = moved
    assert incidence(whole).takes == expected
    assert len(whole.places) == len(a.places) + len(b.places) - len(joined)
    assert sum(len(t) for _, t in whole.initial) == sum(len(t) for n in (a, b) for _, t in n.initial)


def step(name: str) -> Net:
    """A net from ``in`` to ``out``."""
    t = Transition("go", takes=(Take("in", "x"),), puts=(Put("out", None),), contract="c")
    return Net(
        name,
        (Place("in", INT), Place("out")),
        (t,),
        entries=(Entry("in"),),
        finals=((("out", 1),),),
        contracts=(ContractInfo("c", INT),),
        requirements=(
            Requirement("SDB"),
            Requirement("bound", (("place", "out"), ("n", 1), ("handler", "out"))),
        ),
    )


def test_one_after_the_other_and_side_by_side() -> None:
    feed = Net(
        "feed",
        (Place("start"), Place("done", INT)),
        (Transition("t", takes=(Take("start"),)),),
        entries=(Entry("start"),),
        finals=((("done", 1),),),
    )
    a, b = prefixed(feed, "a"), prefixed(step("s"), "b")
    line = fuse(a, b, name="line", places={"a.done": "b.in"})
    assert [e.place for e in line.entries] == ["a.start"]
    assert line.finals == ((("b.out", 1),),)
    assert not line.has_place("a.done")
    both = fuse(a, b, name="both")
    assert both.finals == ((("a.done", 1), ("b.out", 1)),)
    assert [e.place for e in both.entries] == ["a.start", "b.in"]


def test_what_a_prefix_touches() -> None:
    net = Net(
        "n",
        (Place("p"), Place("q"), Place("r")),
        (
            Transition("act", takes=(Take("p"),), contract="c", trigger=Perform("crm.write")),
            Transition("oops", takes=(Take("p"),), contract="c", trigger=OnFailure("act")),
            Transition("ask", takes=(Take("q"),), trigger=Choice("review", "yes")),
            Transition("hear", trigger=Signal("news")),
        ),
        contracts=(ContractInfo("c", INT, saga="s"),),
        sagas=(SagaInfo("s", "p", "q", "r"),),
        patterns=(PatternInfo("gate", "g", (("allow", ("act",)), ("audit", ("p", "q"))), (("most", 3),)),),
        requirements=(Requirement("precedes", (("first", "ask"), ("handler", "act"), ("of", ("c", "x")))),),
    )
    moved = prefixed(net, "a")
    act, oops, ask, hear = moved.transitions
    assert (act.name, act.contract, act.trigger) == ("a.act", "a.c", Perform("crm.write"))
    assert oops.trigger == OnFailure("a.act")
    assert ask.trigger == Choice("a.review", "yes")
    assert hear.trigger == Signal("news")
    assert moved.contracts[0].saga == "a.s"
    assert moved.sagas == (SagaInfo("a.s", "a.p", "a.q", "a.r"),)
    (pattern,) = moved.patterns
    assert (pattern.id, pattern.part("allow"), pattern.part("audit")) == ("a.g", ("a.act",), ("a.p", "a.q"))
    assert (pattern.figure("most"), pattern.figure("least"), pattern.part("deny")) == (3, None, ())
    assert dict(moved.requirements[0].args) == {"first": "a.ask", "handler": "act", "of": ("a.c", "x")}


def test_mistakes_of_fusing_come_together() -> None:
    one, two = step("s"), prefixed(step("s"), "b")
    with pytest.raises(NetError) as caught:
        fuse(one, one, two, name="x", places={"in": "b.inn", "out": "b.out", "b.out": "out"})
    assert {m.code for m in caught.value.mistakes} == {"PN101", "PN104", "PN121"}
    with pytest.raises(NetError, match="PN120"):
        fuse(one, two, name="x", places={"in": "b.out"})
    full = Net("f", (Place("f", capacity=1),), initial=(("f", (UNIT_VALUE,)),))
    with pytest.raises(NetError, match="PN107"):
        fuse(prefixed(full, "a"), prefixed(full, "b"), name="x", places={"a.f": "b.f"})


def test_a_builder_takes_in_a_finished_net() -> None:
    outer = NetBuilder("outer")
    start = outer.entry("start", int)
    end = outer.final("end")
    refs = outer.include(step("s"), prefix="sub", fuse={"in": start, "out": end})
    assert refs == {"in": start, "out": end}
    net = outer.build()
    assert [p.name for p in net.places] == ["start", "end"]
    assert [t.name for t in net.transitions] == ["sub.go"]
    assert net.contracts[0].id == "sub.c"
    assert net.requirements[1].arg("place") == "end"
    assert net.requirements[1].arg("handler") == "out"
    wrong = NetBuilder("wrong")
    wrong.include(step("s"), prefix="sub", fuse={"inn": wrong.place("a"), "in": wrong.place("b")})
    with pytest.raises(NetError) as caught:
        wrong.build()
    assert {m.code for m in caught.value.mistakes} >= {"PN104", "PN120"}


def test_fusing_renames_places_in_requirements_and_nothing_else_of_their_names() -> None:
    named = (("effect", "out"), ("transition", "out"), ("unless", "out"))
    asked = (
        Requirement("never", named),
        Requirement("always", (("place", "out"),)),
        Requirement("mutex", (("places", ("in", "out")),)),
    )
    after = Net("after", (Place("next"),), (), entries=(Entry("next"),), finals=((("next", 1),),))
    before = replace(step("s"), requirements=asked)
    whole = fuse(before, after, name="whole", places={"out": "next"})
    assert whole.requirements == (
        Requirement("never", named),
        Requirement("always", (("place", "next"),)),
        Requirement("mutex", (("places", ("in", "next")),)),
    )


def test_a_prefix_leaves_effects_alone() -> None:
    net = replace(step("s"), requirements=(Requirement("never", (("effect", "go"), ("transition", "go"))),))
    (moved,) = prefixed(net, "a").requirements
    assert moved.args == (("effect", "go"), ("transition", "a.go"))


def known_by_name(name: str, field: str = "") -> Net:
    """One place that cases start and end in, known by the key ``order``: the token, or a field of it."""
    at = Get(Var("it"), field) if field else Var("it")
    of = RecordType("Two", (Field("a", INT), Field("b", INT))) if field else INT
    return Net(
        name,
        (Place("in", of),),
        entries=(Entry("in"),),
        finals=((("in", 1),),),
        keys=(CaseKey("order", "in", at),),
    )


def test_a_key_that_both_say_alike_of_one_token_is_said_once() -> None:
    a, b = prefixed(known_by_name("n"), "a"), prefixed(known_by_name("n"), "b")
    assert fuse(a, b, name="ab", places={"a.in": "b.in"}).keys == (CaseKey("order", "b.in", Var("it")),)


@pytest.mark.parametrize("joined", [{}, {"a.in": "b.in"}])
def test_two_keys_of_one_name_are_refused_and_say_where_they_are_read(joined: dict[str, str]) -> None:
    a, b = prefixed(known_by_name("n", "a"), "a"), prefixed(known_by_name("n", "b"), "b")
    with pytest.raises(NetError, match="key 'order'") as refused:
        fuse(a, b, name="ab", places=joined)
    (mistake,) = refused.value.mistakes
    assert mistake.code == "PN124"
    assert "b.in" in mistake.message


@pytest.mark.parametrize(
    ("text", "with_prefix", "fused"),
    [
        (
            'AG (p -> AF "the end" >= 1)',
            'AG ("in.p" -> AF "in.the end" >= 1)',
            'AG ("q" -> AF "the end" >= 1)',
        ),
        ("2*p + A <= 3 & A F p", '2*"in.p" + "in.A" <= 3 & A F "in.p"', '2*"q" + A <= 3 & A F "q"'),
        ('fireable(p, "t (x)") | deadlock', 'fireable("in.p", "in.t (x)") | deadlock', ""),
        ("elsewhere <-> p", 'elsewhere <-> "in.p"', 'elsewhere <-> "q"'),
    ],
)
def test_names_in_formulas_move_along(text: str, with_prefix: str, fused: str) -> None:
    names = ("p", "A", "the end")
    net = Net(
        "n",
        tuple(map(Place, names)),
        (Transition("p", takes=(Take("p"),)), Transition("t (x)", takes=(Take("p"),))),
        requirements=(Requirement("formula", (("formula", text), ("runs", "fair"))),),
    )
    assert prefixed(net, "in").requirements[0].arg("formula") == with_prefix
    moved = moved_requirement(net.requirements[0], lambda name: "q" if name == "p" else name)
    assert moved.arg("formula") == (fused or text)  # of a transition the name is not a place's
