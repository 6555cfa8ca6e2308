"""The page of a report: one file, no name of a net taken for markup, traces that play by the firing rule."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking
from provenet.nets.models import Token
from provenet.nets.net import Ask, Net, Place, Put, Role, Take, Transition
from provenet.nets.schema import IntType
from provenet.verify.verdict import Report, Status, Trace, TraceStep, Verdict
from provenet.visualize import page as page_module
from provenet.visualize.errors import RenderError
from provenet.visualize.page import report_page
from provenet.visualize.playback import MOST_STEPS, named_traces, playback
from tests.support.browser import Browser, browser, missing

EVIL = '</script><img src=x onerror="document.title=1">&{{7*7}}'


class Case(Token):
    customer: str
    price: int


class Deal(Token):
    customer: str
    price: int
    discount_pct: int


@cache
def bargain() -> Net:
    net = NetBuilder("bargain")
    start, deal, closed = net.entry("start", Case), net.place("deal", Deal), net.final("closed", Deal)
    net.transition(
        "propose",
        role=Role.PROPOSE,
        takes={"c": start},
        brings={"proposal": IntType(0, 100)},
        puts={
            deal: lambda c, proposal: make(Deal, customer=c.customer, price=c.price, discount_pct=proposal)
        },
        trigger=Ask("model"),
    )
    net.transition("sign", role=Role.COMMIT, takes={"d": deal}, puts={closed: "d"})
    return net.build()


def refuted(customer: str = "c-17") -> Verdict:
    net = bargain()
    start = initial_marking(net, {"start": (customer, 120)})
    steps = (
        TraceStep("propose", {"c": (customer, 120), "proposal": 45}, "the model may say this"),
        TraceStep("sign", {"d": (customer, 120, 45)}),
    )
    return Verdict(
        "never",
        "no discount above 30",
        Status.REFUTED,
        method="trace",
        reason="a run signs 45",
        subject="sign",
        trace=Trace(start, steps),
        witness={"proposal": 45},
        mend="tighten the policy",
    )


def report(*more: Verdict) -> Report:
    proved = Verdict(
        "STATE-2", "every place is bounded", Status.PROVED, "linear invariant", facts={"deal": "price >= 0"}
    )
    unknown = Verdict("STATE-1", "workflow soundness", Status.UNKNOWN, reason="time is up")
    return Report("bargain", "ab" * 32, (proved, *more, unknown), 1.5, {"provenet": "1", "z3-solver": "5"})


@cache
def page() -> str:
    return report_page(bargain(), report(refuted())).decode()


class Elements(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)


# differences


@st.composite
def plain_runs(draw: st.DrawFn) -> tuple[Net, Trace]:
    """A small plain net and a random run of it."""
    count = draw(st.integers(1, 4))
    places = tuple(Place(f"p{i}") for i in range(count))
    ends = st.dictionaries(st.sampled_from([p.name for p in places]), st.integers(1, 2), max_size=3)
    transitions = tuple(
        Transition(
            f"t{i}",
            takes=tuple(Take(p, weight=n) for p, n in draw(ends).items()),
            puts=tuple(Put(p, weight=n) for p, n in draw(ends).items()),
        )
        for i in range(draw(st.integers(1, 4)))
    )
    marked = tuple((p.name, ((),) * draw(st.integers(1, 3))) for p in places if draw(st.booleans()))
    net = Net("walk", places, transitions, initial=marked)
    rule, marking, steps = NetRule(net), initial_marking(net, {}), []
    start = marking
    for _ in range(draw(st.integers(0, 8))):
        choices = [b.transition for b in rule.enabled(marking)]
        if not choices:
            break
        name = draw(st.sampled_from(sorted(set(choices))))
        marking = rule.fire(marking, name, {})
        steps.append(TraceStep(name, {}))
    return net, Trace(start, tuple(steps))


@given(plain_runs())
def test_differences_add_up_to_the_markings_of_the_firing_rule(run: tuple[Net, Trace]) -> None:
    net, trace = run
    verdict = Verdict("bound", "few tokens", Status.REFUTED, trace=trace)
    played = playback(net, verdict, name="bound-1")
    counts = Counter({p: len(tokens) for p, tokens in played["start"].items()})
    for step, marking in zip(played["steps"], trace.replay(net)[1:], strict=True):
        for change in step["changes"]:
            counts[change["p"]] += len(change["new"]) - len(change["gone"])
            assert change["new"] or change["gone"]
        assert {i: n for i, n in counts.items() if n} == {
            i: marking.count(p.name) for i, p in enumerate(net.places) if marking.count(p.name)
        }


def test_a_step_shows_what_is_new_and_the_witness() -> None:
    first, second = playback(bargain(), refuted(), name="never-1")["steps"]
    assert first["says"] == [["proposal", [("", "45", "witness")]]]
    (gone, new) = first["changes"]
    assert gone["new"] == []
    assert new["new"] == [[("customer", '"c-17"', ""), ("price", "120", ""), ("discount_pct", "45", "new")]]
    assert (first["role"], first["note"]) == ("propose", "the model may say this")
    assert second["changes"][1]["gone"] == []


def test_a_long_trace_is_cut_and_says_so() -> None:
    net = Net(
        "loop",
        (Place("p"),),
        (Transition("t", takes=(Take("p"),), puts=(Put("p"),)),),
        initial=(("p", ((),)),),
    )
    trace = Trace(initial_marking(net, {}), (TraceStep("t", {}),) * (MOST_STEPS + 7))
    played = playback(net, Verdict("bound", "", Status.REFUTED, trace=trace), name="bound-1")
    assert (len(played["steps"]), played["left_out"]) == (MOST_STEPS, 7)


def test_traces_have_names_of_their_own() -> None:
    both = report(refuted(), refuted("c-18"), replace(refuted(), property="SDB-1"))
    assert [name for name, _ in named_traces(both)] == ["never-1", "never-2", "sdb-1-1"]


def test_a_trace_of_another_net_is_refused() -> None:
    wrong = replace(
        refuted(), trace=Trace(initial_marking(bargain(), {"start": ("c", 1)}), (TraceStep("sign", {}),))
    )
    with pytest.raises(RenderError, match="does not fire"):
        report_page(bargain(), report(wrong))


# the file


def test_a_page_says_everything() -> None:
    text = " ".join(Elements(page()).words)
    for said in (
        *("bargain", "no discount above 30", "a run signs 45", "tighten the policy", "proposal = 45"),
        *(
            "every place is bounded",
            "time is up",
            "price >= 0",
            "1 refuted",
            "1 unknown",
            "1 proved",
            "z3-solver 5",
        ),
        "What it says",
    ):
        assert said in text, said


def test_a_page_refers_to_nothing_outside() -> None:
    elements = Elements(page())
    assert not {"link", "img", "iframe", "object", "embed", "image", "use"} & {
        tag for tag, _ in elements.found
    }
    for tag, attributes in elements.found:
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    style = re.search(r"<style>(.*?)</style>", page(), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


@pytest.mark.attack("script in a report", "not run: the page allows its own script only")
def test_its_policy_allows_its_own_script_only() -> None:
    elements = Elements(page())
    (policy,) = [a["content"] for tag, a in elements.found if tag == "meta" and a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    script = elements.scripts[-1]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert json.loads(elements.scripts[0])["places"] == ["start", "deal", "closed"]


def test_elements_of_the_picture_have_ids_and_tooltips() -> None:
    ids = [a["id"] for _, a in Elements(page()).found if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {"expanded-p0", "expanded-p2", "expanded-t0", "expanded-t1"} <= set(ids)
    edges = {(a.get("data-from"), a.get("data-to")) for _, a in Elements(page()).found if a.get("data-from")}
    assert {("p0", "t0"), ("t0", "p1"), ("p1", "t1"), ("t1", "p2")} <= edges
    assert "every token: price &gt;= 0" in page()
    assert re.search(
        r'<g class="node refuted" id="expanded-t1">|<g id="expanded-t1" class="node refuted">', page()
    )


@pytest.mark.attack("markup in pictures and reports", "drawn as the text it is: in pages, SVG and DOT")
def test_names_and_values_are_never_markup() -> None:
    net = replace(
        bargain(),
        name=EVIL,
        places=tuple(replace(p, label=f"{p.name} {EVIL}") for p in bargain().places),
        transitions=tuple(replace(t, label=f"{t.name} {EVIL}") for t in bargain().transitions),
    )
    verdict = replace(refuted(EVIL), title=EVIL, reason=EVIL, mend=EVIL, subject=EVIL, witness={EVIL: EVIL})
    text = report_page(net, replace(report(verdict), net=EVIL, versions={EVIL: EVIL})).decode()
    elements, plain = Elements(text), Elements(page())
    assert {tag for tag, _ in elements.found} <= {tag for tag, _ in plain.found}
    assert text.count("</script>") == page().count("</script>") == 2
    assert "49" not in re.sub(r"[\d.,-]*49[\d.,-]*[\d.\"]", "", "".join(elements.words))
    data = json.loads(elements.scripts[0])
    assert data["traces"][0]["reason"] == EVIL
    assert data["transitions"][0] == f"propose {EVIL}"


def test_the_same_report_gives_the_same_page() -> None:
    assert report_page(bargain(), report(refuted())).decode() == page()


def test_a_net_that_cannot_be_drawn_has_a_page_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> bytes:
        raise RenderError("layout took longer than 1 s", stage="layout")

    monkeypatch.setattr(page_module, "render_net", refuse)
    text = report_page(bargain(), report(refuted())).decode()
    assert "There is no picture: layout took longer than 1 s" in text
    assert "no discount above 30" in text


def test_a_report_without_findings_has_no_player() -> None:
    text = report_page(bargain(), report()).decode()
    assert 'id="player"' not in text
    assert "1 proved" in text


# in a browser


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if reason := missing():
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def shown(window: Browser, tmp_path: Path) -> Browser:
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    window.open(file.as_uri())
    return window


def state(window: Browser) -> tuple[str, str]:
    return window.text("#now"), str(window.run("return location.hash"))


def badges(window: Browser, view: str = "expanded") -> dict[str, str]:
    """The places that the picture shows as marked, with their numbers."""
    found: dict[str, str] = window.run(
        "return Object.fromEntries([...document.querySelectorAll('.count')].map("
        f"e => [e.parentElement.id.replace('{view}-', ''), e.textContent]))"
    )
    return found


def test_the_player_steps_forth_and_back(shown: Browser) -> None:
    assert state(shown)[0] == "Start, 2 steps"
    assert badges(shown) == {"p0": "1"}
    assert 'start {customer: "c-17", price: 120}' in shown.text("#changes")
    shown.click("[data-go=next]")
    assert state(shown) == ("Step 1 of 2: ⬡ propose propose", "#trace=never-1&step=1")
    assert badges(shown) == {"p1": "1"}
    assert shown.run("return document.querySelector('.halo').parentElement.id") == "expanded-t0"
    assert shown.run("return document.querySelectorAll('.edge.firing').length") == 2
    assert shown.text("#changes .witness") == "45"
    assert shown.text("#changes li.gone, #changes .minus") == "−"
    shown.click("[data-go=last]")
    assert "✗ breaks never" in state(shown)[0]
    assert shown.run("return document.querySelector('[data-go=next]').disabled") is True
    shown.click("[data-go=back]")
    assert state(shown)[1] == "#trace=never-1&step=1"
    assert shown.log() == []


def test_keys_step_too(shown: Browser) -> None:
    shown.press("right")
    assert state(shown)[1].endswith("step=1")
    shown.press("right", "left")
    assert state(shown)[1].endswith("step=1")
    shown.run("document.querySelector('#steps button').focus()")
    shown.press("end")
    assert state(shown)[1].endswith("step=2")
    shown.press("home")
    assert state(shown)[1].endswith("step=0")


def test_a_link_opens_at_its_step(shown: Browser) -> None:
    address = shown.run("return location.href.split('#')[0]")
    shown.open("about:blank")
    shown.open(f"{address}#trace=never-1&step=2")
    assert state(shown)[0].startswith("Step 2 of 2")
    shown.run("location.hash = '#trace=never-1&step=1'")
    shown.run("return new Promise(done => setTimeout(done, 50))")
    assert state(shown)[0].startswith("Step 1 of 2")
    shown.open("about:blank")
    shown.open(f"{address}#trace=<b>&step=zz")
    assert state(shown)[0] == "Start, 2 steps"


def test_it_plays_by_itself(shown: Browser) -> None:
    shown.run(
        "const s = document.getElementById('speed'); s.value = '4'; s.dispatchEvent(new Event('change'))"
    )
    shown.click("[data-go=play]")
    assert shown.text("[data-go=play]") == "Pause"
    shown.run("return new Promise(done => setTimeout(done, 1500))")
    assert state(shown)[0].startswith("Step 2 of 2")
    assert shown.text("[data-go=play]") == "Play"


def test_every_control_is_reached_by_keyboard_and_has_a_name(shown: Browser) -> None:
    nameless = shown.run(
        "return [...document.querySelectorAll('button, select, input, summary, a')].filter(e => "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).length"
    )
    assert nameless == 0
    shown.run("document.querySelector('.skip').focus()")
    seen = set()
    for _ in range(40):
        shown.press("tab")
        seen.add(
            shown.run(
                "const e = document.activeElement;"
                "return e.id || e.dataset.go || e.dataset.zoom || e.className"
            )
        )
    assert {"theme", "next", "play", "slider", "trace", "speed", "link", "fit", "canvas"} <= seen


def test_filters_theme_and_size(shown: Browser) -> None:
    shown.click("[data-show=unknown]")
    assert (
        shown.run("return [...document.querySelectorAll('.verdict')].filter(e => e.offsetParent).length") == 1
    )
    shown.click("[data-show=all]")
    before = shown.run("return getComputedStyle(document.body).backgroundColor")
    shown.click("#theme")
    assert shown.run("return getComputedStyle(document.body).backgroundColor") != before
    assert shown.run("return document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    width = shown.run("return document.querySelector('svg.net').clientWidth")
    shown.click("[data-zoom=in]")
    assert shown.run("return document.querySelector('svg.net').clientWidth") > width
    assert shown.log() == []


def test_hostile_names_stay_text_in_a_browser(window: Browser, tmp_path: Path) -> None:
    verdict = replace(refuted(EVIL), title=EVIL, reason=EVIL, mend=EVIL)
    file = tmp_path / "evil.html"
    file.write_bytes(report_page(replace(bargain(), name=EVIL), replace(report(verdict), net=EVIL)))
    window.open(f"{file.as_uri()}#trace=never-1&step=1")
    assert window.run("return document.querySelectorAll('img').length") == 0
    assert window.run("return document.title") != "1"
    assert "</script><img src=x" in window.text("#changes")
    assert window.log() == []
