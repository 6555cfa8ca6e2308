from __future__ import annotations

import csv
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provenet.nets.errors import FormatError
from provenet.nets.formats.graph import incidence
from provenet.nets.formats.pnml import parse_pnml, pnml_text, read_pnml, write_pnml
from provenet.nets.net import Net, Place, Put, Read, Take, Transition
from provenet.nets.schema import INT, UNIT_VALUE
from tests.nets.net_strategies import coloured_nets, pt_nets

SHARED = Path(os.environ.get("PROVENET_SHARED", Path(__file__).parents[3] / "shared"))
PLAIN_NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,4}", fullmatch=True)


def document(body: str, *, attributes: str = "", net: str = 'id="n"') -> str:
    return f"<pnml{attributes}><net {net}>{body}</net></pnml>"


def place(name: str, inner: str = "") -> str:
    return f'<place id="{name}">{inner}</place>'


def arc(source: str, target: str, inner: str = "") -> str:
    return f'<arc id="{source}-{target}" source="{source}" target="{target}">{inner}</arc>'


# Properties


@given(pt_nets(names=PLAIN_NAMES, reads=False, resets=False))
@settings(max_examples=100)
def test_a_pt_net_survives_its_file(net: Net) -> None:
    if {p.name for p in net.places}.isdisjoint(t.name for t in net.transitions):
        reserved = {"net", "page"} & {*(p.name for p in net.places), *(t.name for t in net.transitions)}
        if not reserved:
            assert parse_pnml(pnml_text(net)) == net
    again = parse_pnml(pnml_text(net))
    assert pnml_text(parse_pnml(pnml_text(again))) == pnml_text(again)


@given(pt_nets(resets=False))
@settings(max_examples=60)
def test_any_names_come_back_as_names_or_labels(net: Net) -> None:
    again = parse_pnml(pnml_text(net))
    assert [p.label or p.name for p in again.places] == [p.label or p.name.strip() for p in net.places]
    assert [len(t) for _, t in again.initial] == [
        len(dict(net.initial)[p.name]) for p in net.places if p.name in dict(net.initial)
    ]


@given(coloured_nets())
@settings(max_examples=30)
def test_a_coloured_net_exports_only_its_skeleton(net: Net) -> None:
    with pytest.raises(FormatError, match="cannot express"):
        pnml_text(net)
    again = parse_pnml(pnml_text(net, as_="skeleton"))
    assert len(again.places) == len(net.places)
    for t, (name, takes) in zip(net.transitions, incidence(again).takes.items(), strict=True):
        assert sum(takes.values()) == sum(a.weight for a in t.takes) + sum(a.weight for a in t.reads), name


@given(st.binary(max_size=200) | st.text(max_size=200).map(document))
@example(b'<?xml version="1.0" encoding="utf-7"?><pnml/>')
@example(b'<?xml version="1.0" encoding="nonsense"?><pnml/>')
@example("<pnml/>")
@example("<net/>")
@settings(max_examples=150)
def test_any_bytes_are_a_net_or_a_format_error(data: bytes | str) -> None:
    with suppress(FormatError):
        assert isinstance(parse_pnml(data), Net)


TAGS = st.sampled_from(
    ("place", "transition", "arc", "page", "referencePlace", "initialMarking", "name", "text")
)


@given(st.lists(st.tuples(TAGS, st.sampled_from("abc"), st.sampled_from("abc"), st.booleans()), max_size=12))
@settings(max_examples=150)
def test_any_elements_are_a_net_or_a_format_error(parts: list[tuple[str, str, str, bool]]) -> None:
    body = ""
    closing: list[str] = []
    for tag, one, two, opened in parts:
        body += f'<{tag} id="{one}" ref="{two}" source="{one}" target="{two}">x'
        if opened:
            closing.append(f"</{tag}>")
        else:
            body += f"</{tag}>"
    with suppress(FormatError):
        assert isinstance(parse_pnml(document(body + "".join(reversed(closing)))), Net)


# What is read


def test_a_workflow_net_gets_its_marking_and_its_end() -> None:
    body = place("i") + place("o") + '<transition id="t"/>' + arc("i", "t") + arc("t", "o")
    net = parse_pnml(document(body))
    assert net.initial == (("i", (UNIT_VALUE,)),)
    assert net.finals == ((("o", 1),),)
    assert parse_pnml(document(body), unmarked="empty").initial == ()
    marked = parse_pnml(
        document(
            body.replace('<place id="o">', '<place id="o"><initialMarking><text>2</text></initialMarking>')
        )
    )
    assert marked.initial == (("o", (UNIT_VALUE,) * 2),)
    assert marked.finals == ()


def test_pages_references_namespaces_and_tool_specific_parts() -> None:
    body = f"""
      <page id="p1"><graphics><position x="1"/></graphics>{place("a", "<name><text>Start</text></name>")}
        <page id="p2"><referencePlace id="r" ref="q"/><transition id="t"/>{arc("r", "t")}
          <toolspecific tool="x" version="1"><place id="a"/></toolspecific></page>
        <referencePlace id="q" ref="a"/></page>"""
    ns = ' xmlns="http://www.pnml.org/version-2009/grammar/pnml"'
    for attributes in ("", ns):
        net = parse_pnml(document(body, attributes=attributes))
        assert net.places == (Place("a", label="Start"),)
        assert net.transitions == (Transition("t", takes=(Take("a"),)),)


def test_older_forms() -> None:
    body = (
        place(
            "a",
            "<initialMarking><value>Default,3</value></initialMarking><capacity><value>0</value></capacity>",
        )
        + '<transition id="t"/>'
        + arc("a", "t", "<inscription><value> 2 </value></inscription>")
        + arc("a", "t")
        + '<place id="b"/>'
        + arc("b", "t", '<type value="read"/>')
        + "<finalmarkings><marking><place idref='b'><text>1</text></place>"
        + "<place idref='a'><text>0</text></place></marking></finalmarkings>"
    )
    net = parse_pnml(document(body, net='id="n" type="ptNet"'))
    assert net.initial == (("a", (UNIT_VALUE,) * 3),)
    assert net.transitions[0].takes == (Take("a", None, 3),)
    assert net.transitions[0].reads == (Read("b"),)
    assert net.finals == ((("b", 1),),)


def test_one_of_several_nets() -> None:
    text = f'<pnml><net id="a">{place("x")}</net><net id="b">{place("y")}</net></pnml>'
    assert parse_pnml(text, net="b").places == (Place("y"),)
    with pytest.raises(FormatError, match="2 nets"):
        parse_pnml(text)
    with pytest.raises(FormatError, match="no net 'c'"):
        parse_pnml(text, net="c")


# What is refused


def test_mistakes_come_together() -> None:
    body = (
        place("a", "<initialMarking><text>-1</text></initialMarking>")
        + place("a")
        + '<transition id="t"/><place/>'
        + arc("a", "tt")
        + arc("a", "a")
        + arc("a", "t", "<inscription><text>0</text></inscription>")
        + arc("a", "t", '<type value="inhibitor"/>')
        + '<referencePlace id="r" ref="s"/><referencePlace id="s" ref="r"/>'
        + arc("r", "t")
    )
    with pytest.raises(FormatError) as caught:
        parse_pnml(document(body), source="x.pnml")
    text = str(caught.value)
    for said in ("x.pnml", "8 mistakes", "'-1'", "used twice", "no id", 'did you mean "t"', "one kind"):
        assert said in text
    for said in ("weight is 0", "'inhibitor'", "leads back to itself"):
        assert said in text


@pytest.mark.parametrize(
    "drawn",
    [
        '<arc id="x" source="a" target="t" type="inhibitor"/>',
        '<arc id="x" source="a" target="t" type="timed"/>',
        '<arc id="x" source="t" target="a"><type value="inhibitor"/></arc>',
        '<arc id="x" source="t" target="a"><type value="test"/></arc>',
    ],
)
def test_no_arc_of_another_kind_is_taken_for_a_normal_one(drawn: str) -> None:
    with pytest.raises(FormatError, match="is of kind"):
        parse_pnml(document(place("a") + '<transition id="t"/>' + drawn))


BOMB = "<!DOCTYPE p [<!ENTITY b0 'x'>{}]>".format(
    "".join(f'<!ENTITY b{i} "&b{i - 1};&b{i - 1};">' for i in range(1, 30))
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + document("&b29;"),
        '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + document("&a;"),
        '<!DOCTYPE p SYSTEM "http://example.invalid/p.dtd">' + document(""),
        document("<page>" * 100_000),
        document("<toolspecific>" * 100_000),
        document(place("a", "<initialMarking><text>99999999999</text></initialMarking>")),
        document(place("a", "<hlinitialMarking/>")),
        document("", net='id="n" type="http://www.pnml.org/version-2009/grammar/symmetricnet"'),
    ],
    ids=["bomb", "external entity", "external dtd", "deep", "deep and skipped", "tokens", "coloured", "type"],
)
def test_bombs_and_coloured_nets_are_refused(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(FormatError):
        parse_pnml(text)
    assert time.perf_counter() - started < 5


def test_files_and_their_limit(tmp_path: Path) -> None:
    net = Net("n", (Place("a"),), (Transition("t", reads=(Read("a"),), puts=(Put("a", None, 2),)),))
    write_pnml(net, tmp_path / "n.pnml")
    again = read_pnml(tmp_path / "n.pnml")
    assert again.transitions[0].takes == (Take("a"),)
    assert again.transitions[0].puts == (Put("a", None, 3),)
    with pytest.raises(FormatError, match="limit"):
        read_pnml(tmp_path / "n.pnml", max_bytes=5)
    with pytest.raises(FormatError, match="cannot be read"):
        read_pnml(tmp_path)


def test_everything_that_cannot_be_expressed_is_named() -> None:
    net = Net(
        "n",
        (Place("a", INT), Place("b", capacity=2)),
        (Transition("t", takes=(Take("a", "x"),), resets=("b",)),),
    )
    with pytest.raises(FormatError) as caught:
        pnml_text(net)
    for said in ("'a'", "type int", "capacity 2", "resets", 'as_="skeleton"'):
        assert said in str(caught.value)


def test_ten_thousand_nodes_in_well_under_two_seconds() -> None:
    chain = [Transition(f"t{i}", takes=(Take(f"p{i}"),), puts=(Put(f"p{i + 1}"),)) for i in range(5_000)]
    text = pnml_text(Net("n", tuple(Place(f"p{i}") for i in range(5_001)), tuple(chain)))
    started = time.process_time()
    net = parse_pnml(text)
    assert time.process_time() - started < 2
    assert len(net.places) + len(net.transitions) == 10_001


# Nets of others


def _table(kind: str) -> list[dict[str, str]]:
    path = SHARED / "soundness" / f"{kind}_verdicts.csv"
    if not path.exists():
        pytest.skip(f"the {kind} nets are not at hand (set PROVENET_SHARED)")
    with path.open(encoding="utf-8") as file:
        return [r for r in csv.DictReader(file) if (path.parent / kind / f"{r['net']}.pnml").exists()]


@pytest.mark.parametrize("kind", ["ibm", "sap"])
def test_business_process_nets(kind: str) -> None:
    rows = _table(kind)
    assert rows
    for number, row in enumerate(rows):
        net = read_pnml(SHARED / "soundness" / kind / f"{row['net']}.pnml")
        skeleton = incidence(net)
        arcs = sum(len(w) for table in (skeleton.takes, skeleton.puts) for w in table.values())
        sizes = len(net.places), len(net.transitions), arcs
        assert sizes == (int(row["places"]), int(row["transitions"]), int(row["arcs"])), row["net"]
        if "," not in row["source"] + row["sink"]:
            assert net.initial == ((row["source"], (UNIT_VALUE,)),), row["net"]
            assert net.finals == (((row["sink"], 1),),), row["net"]
        if number % 10 == 0:
            assert parse_pnml(pnml_text(net)) == net


def test_model_checking_contest_nets() -> None:
    paths = sorted(SHARED.glob("mcc/*/model.pnml"))
    if not paths:
        pytest.skip("the contest's nets are not at hand (set PROVENET_SHARED)")
    for path in paths:
        net = read_pnml(path)
        assert net.places, path.parent.name
        assert net.transitions, path.parent.name
        assert parse_pnml(pnml_text(net)) == net
