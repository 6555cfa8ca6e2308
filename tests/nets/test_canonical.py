from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from provenet.nets import net as parts
from provenet.nets.check import check_net
from provenet.nets.errors import FormatError, NetError
from provenet.nets.expr.ast import Build, Const, Var
from provenet.nets.formats import canonical
from provenet.nets.formats.canonical import (
    _Reader,
    content_hash,
    dumps,
    loads,
    net_from_json,
    net_to_json,
    pretty,
    read_net,
    short_hash,
    write_net,
)
from provenet.nets.formats.json_schema import json_schema
from provenet.nets.formats.json_text import pretty_text
from provenet.nets.formats.shapes import parts_of
from provenet.nets.net import Net, Place, Put, Take, Transition
from provenet.nets.schema import INT, STR, UNIT, DecimalType, Field, OptionalType, RecordType
from tests.nets.net_strategies import coloured_nets, pt_nets

SCHEMA = json.loads((Path(canonical.__file__).parent / "net.schema.json").read_text(encoding="utf-8"))
# Whole nets are drawn slowly; explaining a failure would trace every line of it.
QUICK = tuple(p for p in Phase if p is not Phase.explain)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def small(**changes: Any) -> dict[str, Any]:
    """A small net as JSON data, with some keys replaced."""
    return {
        "format": "provenet-net/1",
        "name": "small",
        "types": {"Offer": {"fields": [{"name": "pct", "type": "int"}]}},
        "places": [{"name": "in", "type": {"record": "Offer"}}, {"name": "out"}],
        "transitions": [
            {
                "name": "go",
                "takes": [{"place": "in", "var": "o"}],
                "puts": [{"place": "out"}],
                "guard": "o.pct <= 30",
            }
        ],
        **changes,
    }


# Properties


@given(net=coloured_nets() | pt_nets())
@settings(max_examples=100, phases=QUICK)
def test_a_net_survives_its_file(net: Net) -> None:
    assert not check_net(net)
    assert loads(dumps(net)) == net
    assert loads(pretty(net)) == net
    assert dumps(loads(pretty(net))) == dumps(net)
    assert content_hash(loads(pretty(net))) == content_hash(net)


@given(net=coloured_nets() | pt_nets())
@settings(max_examples=40, phases=QUICK)
def test_what_is_written_meets_the_published_schema(net: Net) -> None:
    VALIDATOR.validate(net_to_json(net))


@given(net=coloured_nets(), data=st.data())
@settings(max_examples=60, phases=QUICK)
def test_what_the_schema_refuses_is_refused(net: Net, data: st.DataObject) -> None:
    broken = net_to_json(net)
    mutate(broken, data)
    try:
        net_from_json(broken)
    except (FormatError, NetError):
        return
    VALIDATOR.validate(broken)


def mutate(document: dict[str, Any], data: st.DataObject) -> None:
    """Replace, add or drop one thing somewhere in a document."""
    holders: list[Any] = []
    stack: list[Any] = [document]
    while stack:
        part = stack.pop()
        if isinstance(part, dict | list) and part:
            holders.append(part)
            stack.extend(part.values() if isinstance(part, dict) else part)
    holder = data.draw(st.sampled_from(holders))
    junk = data.draw(
        st.sampled_from((None, True, -1, 0, 2, 1.5, "", "x", "int", [], {}, [1], {"x": 1}, 10**30))
    )
    if isinstance(holder, dict):
        key = data.draw(st.sampled_from(sorted(holder)))
        action = data.draw(st.sampled_from(("replace", "drop", "add")))
        if action == "drop":
            del holder[key]
        else:
            holder[key if action == "replace" else "unheard of"] = junk
    else:
        holder[data.draw(st.integers(0, len(holder) - 1))] = junk


@given(st.binary(max_size=300) | st.text(max_size=300))
@example(b"\xef\xbb\xbf{}")
@example('"\\ud800"')
@example("[" * 200_000)
@example('{"a":' * 200_000)
@example("1" * 5_000)
@example("NaN")
@example("1e999")
@example('"\\"' * 1_000)
@settings(max_examples=150)
def test_any_text_is_a_net_or_a_format_error(text: bytes | str) -> None:
    with pytest.raises(FormatError):
        loads(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(key=st.sampled_from(sorted(SCHEMA["properties"])), junk=JSON)
@settings(max_examples=200)
def test_any_json_is_a_net_or_a_format_error(key: str, junk: Any) -> None:
    try:
        net_from_json(small(**{key: junk}))
    except (FormatError, NetError):
        return
    VALIDATOR.validate(small(**{key: junk}))


def test_the_hash_is_the_same_in_every_process() -> None:
    code = (
        "from tests.nets.test_canonical import small; from provenet.nets import net_from_json, content_hash;"
        "print(content_hash(net_from_json(small())))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    assert hashes == {content_hash(net_from_json(small()))}


# The format


def test_the_published_schema_is_up_to_date() -> None:
    made = pretty_text(json_schema())
    shipped = (Path(canonical.__file__).parent / "net.schema.json").read_text(encoding="utf-8")
    assert made == shipped, "run: python -m provenet.nets.formats.json_schema > nets/formats/net.schema.json"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_field_of_every_part_is_in_the_format() -> None:
    left_out = {
        (cls.__name__, f.name)
        for cls in (
            *(parts.Net, parts.Place, parts.Transition, parts.ContractInfo, parts.Rule),
            *(parts.SagaInfo, parts.PatternInfo),
        )
        for f in fields(cls)
        if f.name not in {p.name for p in parts_of(cls)} and not f.name.startswith("_")
    }
    assert left_out == {("Transition", "source")}


def test_where_it_was_written_does_not_count_and_everything_else_does() -> None:
    net = net_from_json(small())
    (go,) = net.transitions
    assert content_hash(replace(net, transitions=(replace(go, source="x.py:1"),))) == content_hash(net)
    assert content_hash(replace(net, transitions=(replace(go, label="x"),))) != content_hash(net)
    assert content_hash(replace(net, places=net.places[::-1])) != content_hash(net)
    assert short_hash(net) == content_hash(net)[:8]


def test_equal_numbers_have_one_text() -> None:
    def with_bound(text: str) -> Net:
        price = DecimalType(None, Decimal(text))
        guard = parts.Transition("t", takes=(Take("p", "x"),), guard=None)
        return Net("n", (Place("p", price),), (guard,), initial=(("p", (Decimal(text),)),))

    assert with_bound("1.50") == with_bound("1.5")
    assert content_hash(with_bound("1.50")) == content_hash(with_bound("1.5"))
    assert content_hash(with_bound("1E+2")) == content_hash(with_bound("100.0"))
    for text in ("0", "-0.00", "1E+60", "123456789012345678901234567890E+30", "1E-60"):
        assert loads(dumps(with_bound(text))) == with_bound(text)


def test_records_of_one_name_are_told_apart() -> None:
    one = RecordType("Offer", (Field("pct", INT),))
    two = RecordType("Offer", (Field("note", STR), Field("old", OptionalType(one))))
    unnamed = RecordType("", (Field("offer", two),))
    move = Transition(
        "move",
        takes=(Take("a", "x"),),
        puts=(
            Put("b", Build(two, (Const("n", STR), Var("x")))),
            Put("c", Build(unnamed, (Build(two, (Const("m", STR), Var("x"))),))),
            Put("b", Const(("z", (3,)), two)),
        ),
    )
    net = Net("n", (Place("a", one), Place("b", two), Place("c", unnamed)), (move,))
    data = net_to_json(net)
    assert list(data["types"]) == ["Offer", "Offer_2", "record"]
    assert data["types"]["Offer_2"]["name"] == "Offer"
    assert data["transitions"][0]["puts"][0]["expr"].startswith("Offer_2{")
    assert _Reader("net").net(data) == net


def test_files(tmp_path: Path) -> None:
    net = net_from_json(small())
    write_net(net, tmp_path / "net.json")
    assert read_net(tmp_path / "net.json") == net
    with pytest.raises(FormatError, match="cannot be read"):
        read_net(tmp_path / "no.json")
    with pytest.raises(FormatError, match="limit"):
        read_net(tmp_path / "net.json", max_bytes=10)


# Mistakes


def test_mistakes_come_together_each_with_its_path() -> None:
    bad = small(
        transitions=[
            {"name": "a", "takes": [{"place": "im", "var": "o"}]},
            {"name": "b", "takes": [{"place": "in", "var": "o"}], "guard": "o.pc <= 30"},
            {"name": "c", "rol": "commit", "role": "commit"},
            {"name": "d", "role": "comit"},
        ]
    )
    with pytest.raises(FormatError) as caught:
        net_from_json(bad, source="bad.json")
    text = str(caught.value)
    for part in (
        "bad.json",
        "4 mistakes",
        "$.transitions[0].takes[0].place: no place is called 'im'  (there are: in, out)",
        "$.transitions[1].guard",
        "pct",
        "$.transitions[2]: unknown key 'rol'",
        "$.transitions[3].role",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "provenet-net/9"}, "this version reads no other"),
        ({"code": "import os"}, "unknown key 'code'"),
        ({"initial": [["out", 10**8]]}, "a number of tokens"),
        ({"initial": [["in", [{"pct": "x"}]]]}, "pct"),
        ({"types": {"A": {"fields": [{"name": "a", "type": {"record": "A"}}]}}}, "contains itself"),
        ({"transitions": [{"name": "t", "puts": [{"place": "out", "weight": 10**7}]}]}, "a weight is from 1"),
        ({"finals": [[["nowhere", 1]]]}, "no place is called 'nowhere'"),
        (
            {"transitions": [{"name": "t", "trigger": {"kind": "on_failure", "of": "x"}}]},
            "no transition is called",
        ),
        ({"places": [{"name": "in", "capacity": True}]}, "a whole number"),
        ({"places": [{"name": "in", "type": {"int": {"min": 3, "max": 1}}}]}, "above max"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        net_from_json(small(**changes))


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="given twice"):
        loads('{"format": "provenet-net/1", "name": "a", "name": "b"}')


def test_types_that_grow_without_end_are_refused() -> None:
    def doubled(n: int) -> dict[str, Any]:
        inner = {"record": f"T{n - 1}"} if n else "int"
        return {"fields": [{"name": "a", "type": inner}, {"name": "b", "type": inner}]}

    with pytest.raises(FormatError, match="parts in"):
        net_from_json(small(types={f"T{n}": doubled(n) for n in range(30)}))
    chain = {f"T{n}": {"fields": [{"name": "a", "type": {"record": f"T{n + 1}"}}]} for n in range(5_000)}
    with pytest.raises(FormatError, match="levels"):
        net_from_json(small(types={**chain, "T5000": {"fields": []}}))


def test_a_net_with_mistakes_of_its_own_is_a_net_error() -> None:
    with pytest.raises(NetError, match="PN101"):
        net_from_json(
            small(places=[{"name": "in", "type": {"record": "Offer"}}, {"name": "out"}, {"name": "out"}])
        )


def test_a_long_list_of_wrong_names_takes_no_time() -> None:
    places = [{"name": f"p{i}"} for i in range(3_000)]
    wrong = [{"name": f"t{i}", "takes": [{"place": f"q{i}"}], "resets": [f"q{i}"]} for i in range(3_000)]
    with pytest.raises(FormatError, match="and 2,980 more"):
        net_from_json(small(places=places, transitions=wrong))


def test_durations_and_units_are_plain_numbers() -> None:
    ask = parts.Ask("model", None, timedelta(seconds=2))
    t = Transition("t", takes=(Take("p", None),), fresh=(parts.Fresh("x", INT),), trigger=ask)
    net = Net("n", (Place("p", UNIT),), (t,), initial=(("p", ((), ())),))
    data = net_to_json(net)
    assert data["initial"] == [["p", 2]]
    assert data["transitions"][0]["trigger"] == {"kind": "ask", "handler": "model", "timeout": 2_000_000}
