"""Structure of the DOT of both views, and real renderings of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import timedelta
from itertools import combinations, pairwise
from typing import Any

import graphviz
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.formats.canonical import content_hash
from provenet.nets.marking import Marking
from provenet.nets.models import Token
from provenet.nets.net import Net, Place, Put, Read, Role, Take, Transition
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from provenet.verify.verdict import Report, Status, Verdict
from provenet.visualize import COLOUR, GREY, RenderError, Theme, convert, draw, render, render_net, words
from provenet.visualize.palette import LOOKS, Family, channels, contrast, lightness
from provenet.visualize.structure import structure
from provenet.visualize.svg import parse
from provenet.visualize.words import happens, who_acts

NODE = re.compile(r'^\s*"?([a-z]+\d+)"? \[', re.MULTILINE)
EDGE = re.compile(r'^\s*"?([a-z]+\d+)"?(?::\w+)*(?::\w+)? -> "?([a-z]+\d+)"?', re.MULTILINE)


class Customer(Token):
    id: str


class Offer(Token):
    customer: str
    discount_pct: int


class Anything:
    async def propose(self, request: Any) -> Any:
        return request


def effect(name: str) -> Effect:
    return Effect(name, lambda request: None, payload=Offer)


def renewal() -> Net:
    net = NetBuilder("renewal")
    start, review = net.entry("customer", Customer), net.place("review", Offer)
    approved, published = net.place("approved", Offer), net.place("published", Offer)
    closed = net.final("closed", Offer)
    scope = net.add(Saga("scope", outcome=Offer, completes=closed, aborts=closed))
    net.add(
        Contract(
            "publish offer",
            takes=start,
            gives=published,
            propose=Anything(),
            returns=Offer,
            verify=within(Offer, lambda o: o.discount_pct <= 30, name="discount v7"),
            commit=effect("crm.publish"),
            undo=effect("crm.withdraw"),
            saga=scope,
            otherwise=review,
            escalate=lambda inputs, proposal: proposal.or_else(
                make(Offer, customer=inputs.id, discount_pct=0)
            ),
        )
    )
    net.add(
        Human(
            "approve offer",
            takes=review,
            approve=approved,
            deny=published,
            who="pricing",
            within=timedelta(days=7),
        )
    )
    net.add(
        Contract(
            "publish approved",
            takes=approved,
            gives=published,
            verify=within(Offer, lambda o: o.discount_pct <= 50, name="cap"),
            commit=effect("crm.publish approved"),
            irreversible=True,
            saga=scope,
            otherwise=published,
        )
    )
    scope.complete(net, "done", takes={"o": published}, outcome="o")
    scope.kill(net, "kill", outcome=make(Offer, customer="", discount_pct=0))
    return net.build()


NET = renewal()


def report(*verdicts: Verdict) -> Report:
    return Report(NET.name, content_hash(NET), verdicts)


def nodes(graph: graphviz.Digraph) -> Counter[str]:
    return Counter(NODE.findall(graph.source))


def texts(svg: bytes) -> list[str]:
    return ["".join(e.itertext()) for e in parse(svg).iter() if e.tag.endswith("}text")]


names = st.text(max_size=24) | st.sampled_from(
    [
        "<B>x</B>",
        "a->b",
        '"];}',
        "\\N",
        "&lt;",
        "p0:n",
        "",
        " ",
        "<TABLE>",
        "naïve ✓",
        "x" * 400,
        "]]>",
        "\x00\x1b",
    ]
)


@st.composite
def nets(draw_: st.DrawFn) -> Net:
    """Small nets with any names, roles and arcs: strangers' nets, not ours."""
    ps = [Place(n) for n in draw_(st.lists(names, min_size=1, max_size=5, unique=True))]
    some = st.lists(st.sampled_from([p.name for p in ps]), max_size=3, unique=True)
    made = []
    for name in draw_(st.lists(names, max_size=5, unique=True)):
        weight = draw_(st.integers(1, 3))
        made.append(
            Transition(
                name,
                role=draw_(st.sampled_from(list(Role))),
                contract=draw_(st.sampled_from(["", "c", "<I>"])),
                takes=tuple(Take(p, None, weight) for p in draw_(some)),
                reads=tuple(Read(p) for p in draw_(some)),
                puts=tuple(Put(p, None, weight) for p in draw_(some)),
                resets=tuple(draw_(some)),
                label=draw_(st.sampled_from(["", "<U>label</U>"])),
            )
        )
    return Net(draw_(names), tuple(ps), tuple(made))


@given(nets(), st.sampled_from(["LR", "TB", "auto"]))
def test_expanded_draws_every_place_and_transition_exactly_once(net: Net, direction: Any) -> None:
    drawn = nodes(draw(net, view="expanded", direction=direction))
    wanted = [f"p{i}" for i in range(len(net.places))] + [f"t{i}" for i in range(len(net.transitions))]
    assert drawn == Counter(wanted)


@given(nets())
def test_folded_hides_interiors_and_fragments_and_nothing_else(net: Net) -> None:
    shape = structure(net)
    wanted = [f"p{i}" for i, p in enumerate(net.places) if p.name not in shape.of_place]
    wanted += [f"t{i}" for i, t in enumerate(net.transitions) if t.name not in shape.of_transition]
    wanted += [f"g{i}" for i in range(len(shape.groups))]
    assert nodes(draw(net)) == Counter(wanted)
    for place, group in shape.of_place.items():
        mine = {t.name for t in group.transitions}
        for t in net.transitions:
            touched = {*(a.place for a in t.takes), *(r.place for r in t.reads), *(p.place for p in t.puts)}
            if place in touched:
                assert t.name in mine


@given(nets())
def test_edges_join_drawn_nodes_only(net: Net) -> None:
    for view in ("folded", "expanded"):
        graph = draw(net, view=view)
        drawn = nodes(graph)
        for tail, head in EDGE.findall(graph.source):
            assert tail in drawn
            assert head in drawn


@given(nets())
@settings(max_examples=25, deadline=None)
@pytest.mark.attack("DOT through a name", "drawn as the text it is")
def test_hostile_names_render_as_text(net: Net) -> None:
    for view in ("folded", "expanded"):
        svg = render_net(net, view=view)
        assert b"<script" not in svg.lower()
        assert parse(svg).tag.endswith("svg")


def test_markup_in_a_name_is_drawn_as_it_stands() -> None:
    net = Net("<B>net</B>", (Place("<I>p</I>"),), (Transition("<U>t</U>", takes=(Take("<I>p</I>"),)),))
    for view in ("folded", "expanded"):
        assert {"<B>net</B>", "<I>p</I>", "<U>t</U>"} <= set(texts(render_net(net, view=view)))


@pytest.mark.parametrize("view", ["folded", "expanded"])
def test_same_net_same_bytes(view: Any) -> None:
    first = render_net(NET, view=view, format="png")
    assert first == render_net(renewal(), view=view, format="png")
    assert draw(NET, view=view).source == draw(renewal(), view=view).source


def test_folded_shows_the_four_parts_and_hides_the_inside() -> None:
    said = " | ".join(texts(render_net(NET)))
    for part in ("PROPOSE", "VERIFY", "COMMIT", "REJECT", "discount v7", "discount_pct <= 30", "crm.publish"):
        assert part in said
    for part in (
        "↩ undo crm.withdraw",
        "⚠ cannot be undone",
        "3 attempts, then",
        "→ review",
        "pricing decides",
    ):
        assert part in said
    assert "deny or after 7 days" in said
    assert "cancels all" in said
    assert "running" not in said
    hidden = structure(NET).of_place
    assert {p.name for p in NET.places} - set(hidden) == {
        "customer",
        "review",
        "approved",
        "published",
        "closed",
    }


def test_folded_lists_the_steps_of_a_scope_in_order() -> None:
    said = texts(render_net(NET))
    steps = [" ".join(line.split()) for line in said if re.match(r"\d\s+publish", line)]
    assert steps == ["1 publish offer", "2 publish approved"]


def test_refusals_into_one_place_are_written_once_they_are_many() -> None:
    net = NetBuilder("many")
    lost = net.final("lost", Offer)
    for i in range(5):
        start, end = net.entry(f"in {i}", Offer), net.place(f"out {i}", Offer)
        rule = within(Offer, lambda o: o.discount_pct <= 30, name="v1")
        net.add(Contract(f"c{i}", takes=start, gives=end, verify=rule, otherwise=lost))
        net.route(f"end {i}", takes={"o": end}, puts={lost: "o"})
    made = net.build()
    edges = EDGE.findall(draw(made).source)
    assert sum(tail.startswith("g") and head == "p0" for tail, head in edges) == 0
    assert sum(tail.startswith("t") and head == "p0" for tail, head in edges) == 5
    assert texts(render_net(made)).count("→ lost") >= 5


@pytest.mark.parametrize("view", ["folded", "expanded"])
def test_a_live_case_shows_its_tokens(view: Any) -> None:
    idle = texts(render_net(NET, view=view, marking=Marking()))
    offer = ("c", 10)
    live = texts(
        render_net(NET, view=view, marking=Marking({"review": (offer, offer), "approved": (offer,) * 1234}))
    )
    assert "●●" not in idle
    assert "●●" in live
    assert "● × 1,234" in live


def test_tokens_on_hidden_places_show_on_the_box() -> None:
    running = Marking({"publish offer.running": ((("c",), 1, None),)})
    assert texts(render_net(NET, marking=running)).count("●") == 1
    assert "●" not in texts(render_net(NET, marking=Marking()))


def test_verdicts_are_told_apart_by_sign_and_frame() -> None:
    said = report(
        Verdict("SDB-1", "no commit without verify", Status.PROVED, facts={"review": "discount_pct <= 99"}),
        Verdict("CTL-1", "approval", Status.REFUTED, subject="publish approved", reason="nobody approves"),
        Verdict("CTL-3", "a way out", Status.UNKNOWN, subject="approve offer", reason="time is up"),
    )  # fmt: skip
    for view in ("folded", "expanded"):
        graph = draw(NET, view=view, report=said, facts="on")
        lines = " ".join(texts(render(graph, format="svg")))
        assert "✗ CTL-1" in lines
        assert "? CTL-3" in lines
        assert lines.count("✓ 1 proved") == 2
        assert "nobody approves" in lines
        assert "discount_pct <= 99" in lines
        assert COLOUR.bad in graph.source
    assert "discount_pct <= 99" not in " ".join(texts(render_net(NET, report=said)))


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ("not a > 0 or b", "a > 0 → b"),
        ("not (a or b) or c and d or e", "(a or b) → c and d or e"),
        ('not a == " or " or b', 'a == " or " → b'),
        ("not a and b or c", "not a and b or c"),
        ("not a or b if c else d", "not a or b if c else d"),
        ("(not a or b) and c", "(not a or b) and c"),
        ("not a", "not a"),
        ("a or not b", "a or not b"),
    ],
)
def test_a_fact_that_follows_from_something_says_so(fact: str, said: str) -> None:
    assert words.fact(fact) == said


def test_a_subject_may_name_several_elements() -> None:
    said = report(
        Verdict("CTL-3", "a way out", Status.UNKNOWN, subject="review, publish offer, nothing known")
    )
    assert texts(render_net(NET, report=said)).count("? CTL-3") == 2


def test_many_verdicts_are_summed_up() -> None:
    proved = [Verdict(f"never-{i}", f"thing {i}", Status.PROVED) for i in range(40)]
    said = report(*proved, Verdict("DATA-1", "guards", Status.REFUTED, reason="gap at 31"))
    lines = " ".join(texts(render_net(NET, report=said)))
    assert "40 properties" in lines
    assert "gap at 31" in lines


def test_inscriptions_on_demand() -> None:
    assert "brings proposal: Offer" not in " ".join(texts(render_net(NET, view="expanded")))
    assert "brings proposal" in " ".join(texts(render_net(NET, view="expanded", inscriptions="on")))


def test_inscriptions_are_whole_and_without_the_quotes_of_names() -> None:
    said = " ".join(texts(render_net(NET, view="expanded", inscriptions="on")))
    assert "[p.proposal.discount_pct <= 30] " in said
    assert "[not p.proposal.discount_pct <= 30] " in said
    assert "{inputs: p.inputs, proposal: p.proposal}" in said
    assert "`" not in said
    assert "…" not in said


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_arcs_pass_behind_headings_and_what_is_written_on_them(direction: Any) -> None:
    svg = render_net(NET, view="expanded", inscriptions="on", direction=direction)
    drawn = list(parse(svg).iter())
    kinds = [e.get("class") for e in drawn]
    (writing,) = [e for e in drawn if e.get("class") == "writing"]
    assert max(i for i, kind in enumerate(kinds) if kind == "edge") < kinds.index("writing")
    lifted = " ".join("".join(e.itertext()) for e in writing.iter() if e.tag.endswith("}text"))
    assert "publish approved" in lifted
    assert "{inputs: p.inputs" in lifted


@pytest.mark.parametrize("view", ["folded", "expanded"])
def test_the_condition_of_an_entry_stands_beside_its_arc(view: Any) -> None:
    net = NetBuilder("entry")
    start, end = net.entry("start", Offer, where=lambda it: it.discount_pct <= 30), net.final("end", Offer)
    net.route("go", takes={"o": start}, puts={end: "o"})
    drawn = list(parse(render_net(net.build(), view=view, direction="TB")).iter())
    edge = next(e for e in drawn if e.get("class") == "edge")
    line = next(e for e in edge.iter() if e.tag.endswith("}path"))
    said = next(e for e in drawn if e.text == "it.discount_pct <= 30")
    across = [float(x) for x in re.findall(r"([-.0-9]+),", line.get("d"))]
    assert said.get("text-anchor") == "start"
    assert float(said.get("x")) > max(across) + 3


def test_weights_and_read_arcs() -> None:
    arcs = Transition("t", takes=(Take("p", None, 3),), reads=(Read("q"),), puts=(Put("q", None, 2),))
    graph = draw(Net("n", (Place("p"), Place("q")), (arcs,)), view="expanded")
    assert {"3×", "2×"} <= set(texts(render(graph, format="svg")))
    assert len(re.findall(r"arrowhead=dot.*style=dashed", graph.source)) == 1


def test_a_big_net_is_drawn_with_a_note() -> None:
    count = 300
    ps = tuple(Place(f"a rather long name of place {i}") for i in range(count))
    ts = tuple(
        Transition(f"t{i}", takes=(Take(ps[i].name),), puts=(Put(ps[(i * 7 + 1) % count].name),))
        for i in range(count)
    )
    net = Net("big", ps, ts)
    assert sum(nodes(draw(net, view="expanded")).values()) == 2 * count
    lines = texts(render_net(net, view="expanded"))
    assert any("names are cut" in line for line in lines)
    assert any(line.endswith("ace 299") for line in lines)


def test_a_huge_net_is_refused_with_a_hint() -> None:
    net = Net("huge", tuple(Place(f"p{i}") for i in range(6001)))
    with pytest.raises(RenderError, match="6,001 nodes") as caught:
        draw(net)
    assert caught.value.hint


@pytest.mark.parametrize(
    "option", [{"view": "x"}, {"direction": "RL"}, {"facts": "yes"}, {"inscriptions": "all"}]
)
def test_an_unknown_option_names_the_choices(option: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="no such choice") as caught:
        draw(NET, **option)
    assert "choose" in caught.value.hint


@pytest.mark.parametrize("view", ["folded", "expanded"])
def test_png_and_pdf_come_from_the_same_svg(view: Any) -> None:
    svg = render_net(NET, view=view)
    assert convert(svg, format="png").startswith(b"\x89PNG")
    assert convert(svg, format="pdf").startswith(b"%PDF")


# the palette


@pytest.mark.parametrize("theme", [COLOUR, GREY])
def test_families_keep_apart_in_greyscale(theme: Theme) -> None:
    steps = sorted(lightness(theme.fills[f]) for f in Family)
    assert min(b - a for a, b in pairwise(steps)) >= 5


@pytest.mark.parametrize("theme", [COLOUR, GREY])
def test_text_on_every_fill_is_readable(theme: Theme) -> None:
    for fill in (*theme.fills.values(), theme.paper, theme.mark):
        assert contrast(theme.text_on(fill), fill) >= 4.5
    for ink in (theme.faint, theme.good, theme.bad, theme.open, theme.ink):
        assert contrast(ink, theme.paper) >= 4.5


@pytest.mark.parametrize("kind", ["deuteranopia", "protanopia"])
def test_families_keep_apart_for_colour_blind_readers(kind: str) -> None:
    for a, b in combinations(COLOUR.fills.values(), 2):
        assert distance(simulate(a, kind), simulate(b, kind)) >= 9, (a, b)


def test_roles_differ_in_more_than_colour() -> None:
    assert set(LOOKS) == set(Role)
    outlines = Counter((look.shape, look.style, look.rims, look.tag) for look in LOOKS.values())
    assert max(outlines.values()) == 1
    within_family = Counter((look.family, look.shape, look.style, look.rims) for look in LOOKS.values())
    plain_boxes = within_family.pop((Family.PLUMBING, "box", "filled", 1))
    assert plain_boxes == 2  # begin is a box, a route is a bar
    assert max(within_family.values()) == 1


def simulate(colour: str, kind: str) -> tuple[float, float, float]:
    """Linear RGB as a dichromat sees it (Machado, Oliveira & Fernandes 2009, severity 1)."""
    r, g, b = channels(colour)
    rows = {
        "deuteranopia": (
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.01182, 0.04294, 0.968881),
        ),
        "protanopia": (
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ),
    }[kind]
    x, y, z = (min(max(p * r + q * g + s * b, 0.0), 1.0) for p, q, s in rows)
    return x, y, z


def distance(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    """CIE76 distance of two linear RGB colours."""
    (l1, a1, b1), (l2, a2, b2) = lab(a), lab(b)
    return math.hypot(l1 - l2, a1 - a2, b1 - b2)


def lab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    r, g, b = rgb
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def test_a_task_of_several_people_says_so() -> None:
    net = NetBuilder("upgrades")
    asked, yes, no = net.entry("asked", int), net.final("yes", int), net.final("no", int)
    late = ("on_call", timedelta(days=1))
    net.add(
        Human(
            "ask", takes=asked, approve=yes, deny=no, who="cabin", within=timedelta(2), eyes=2, fallback=late
        )
    )
    built = net.build()
    assert "cabin, on_call too after 1 day: 2 people decide" in " ".join(
        re.sub(r"<[^>]*>", " ", draw(built).source).split()
    )
    (approve,) = built.by_role(Role.APPROVE)
    assert happens(approve) == "2 of cabin: approve"
    assert who_acts(built, approve) == "2 people (cabin, on_call too after 1 day) choose approve"
