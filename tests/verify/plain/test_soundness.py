"""Soundness and relaxed soundness against plain search, and against the public process nets."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.formats.pnml import read_pnml
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.free_choice import is_free_choice, live_and_bounded, rank
from provenet.verify.plain.net import Counts, PTNet, plain_net
from provenet.verify.plain.relaxed import NotRelaxedSound, RelaxedSound, relaxed_soundness
from provenet.verify.plain.soundness import Sound, Unsound, soundness
from tests.verify.plain.nets import arcs, nets, reachable

SHARED = Path(__file__).parents[4] / "shared" / "soundness"


@st.composite
def workflows(draw: st.DrawFn, *, weight: int = 1) -> PTNet:
    """Nets with one token in place 0 at first, and one in the last place at the end."""
    places = draw(st.integers(2, 6))
    transitions = draw(st.integers(1, 7))
    table = [
        (draw(arcs(places - 1, most=2, weight=weight)), draw(arcs(places, most=2, weight=weight)))
        for _ in range(transitions)
    ]
    return PTNet(
        places=tuple(f"p{i}" for i in range(places)),
        transitions=tuple(f"t{i}" for i in range(transitions)),
        pre=tuple(a for a, _ in table),
        post=tuple(b for _, b in table),
        initial=(1, *(0,) * (places - 1)),
        finals=((*(0,) * (places - 1), 1),),
    )


def steps(net: PTNet, markings: set[Counts]) -> set[tuple[Counts, int, Counts]]:
    return {
        (m, t, net.fire(m, t)) for m in markings for t in range(len(net.transitions)) if net.enabled(m, t)
    }


def completing(net: PTNet, edges: set[tuple[Counts, int, Counts]]) -> set[Counts]:
    found = set(net.finals)
    while True:
        more = {a for a, _, b in edges if b in found} - found
        if not more:
            return found
        found |= more


@settings(max_examples=120, deadline=None)
@given(workflows() | workflows(weight=2) | workflows(weight=70))
def test_soundness_is_never_told_wrong(net: PTNet) -> None:
    answer = soundness(net, Budget.seconds(1))
    markings, complete = reachable(net, limit=1_500)
    if not complete:
        assert not isinstance(answer, Sound)
    else:
        (final,) = net.finals
        edges = steps(net, markings)
        good = (
            markings <= completing(net, edges)
            and not any(m != final and all(a >= b for a, b in zip(m, final, strict=True)) for m in markings)
            and {t for _, t, _ in edges} == set(range(len(net.transitions)))
        )
        assert isinstance(answer, Sound if good else Unsound)
    if isinstance(answer, Unsound) and answer.firings is not None:
        end = net.replay(answer.firings)
        if answer.fault == "stuck":
            assert end not in net.finals
            assert not any(net.enabled(end, t) for t in range(len(net.transitions)))
        if answer.fault == "unbounded":
            before = net.replay(answer.firings[: -answer.loop])
            assert before != end
            assert all(a <= b for a, b in zip(before, end, strict=True))


@settings(max_examples=30, deadline=None)
@given(workflows() | workflows(weight=70))
def test_relaxed_soundness_is_never_told_wrong(net: PTNet) -> None:
    answer = relaxed_soundness(net, Budget.seconds(0.4))
    markings, complete = reachable(net, limit=1_500)
    if isinstance(answer, RelaxedSound):
        assert {t for run in answer.runs for t in run} == set(range(len(net.transitions)))
        assert all(net.replay(run) in net.finals for run in answer.runs)
    if complete:
        edges = steps(net, markings)
        hopeful = completing(net, edges)
        useful = {t for _, t, b in edges if b in hopeful}
        good = useful == set(range(len(net.transitions)))
        assert isinstance(answer, RelaxedSound if good else NotRelaxedSound)
        if isinstance(answer, NotRelaxedSound):
            assert not useful & set(answer.useless)


@settings(max_examples=150, deadline=None)
@given(workflows())
def test_the_rank_theorem_agrees_with_search(net: PTNet) -> None:
    again = replace(
        net,
        transitions=(*net.transitions, "again"),
        pre=(*net.pre, ((len(net.places) - 1, 1),)),
        post=(*net.post, ((0, 1),)),
    )
    if not is_free_choice(again):
        return
    proof = live_and_bounded(again)
    markings, complete = reachable(again, limit=1_500)
    if not complete:
        assert proof is None
        return
    edges = steps(again, markings)
    following: dict[Counts, set[Counts]] = {}
    for a, _, b in edges:
        following.setdefault(a, set()).add(b)

    def later(m: Counts) -> set[Counts]:
        seen, work = {m}, [m]
        while work:
            for b in following.get(work.pop(), ()):
                if b not in seen:
                    seen.add(b)
                    work.append(b)
        return seen

    every = set(range(len(again.transitions)))
    live = all({t for a, t, _ in edges if a in later(m)} == every for m in markings)
    connected = len({p for arcs_ in (*again.pre, *again.post) for p, _ in arcs_}) == len(again.places)
    if proof is not None:
        assert live
    elif connected and live:
        # The theorem asks for one piece; a live net of several is none of its business.
        assert not _one_piece(again)


def _one_piece(net: PTNet) -> bool:
    groups = [{("t", t), *(("p", p) for p, _ in (*net.pre[t], *net.post[t]))} for t in range(len(net.pre))]
    whole = groups.pop()
    while True:
        touching = [g for g in groups if g & whole]
        if not touching:
            return not groups
        for g in touching:
            whole |= g
            groups.remove(g)


@given(st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), max_size=5))
def test_rank_is_that_of_exact_elimination(matrix: list[list[int]]) -> None:
    assert rank([{c: v for c, v in enumerate(row) if v} for row in matrix]) == _rank_by_minors(matrix)


def _rank_by_minors(matrix: list[list[int]]) -> int:
    from itertools import combinations

    def det(rows: tuple[int, ...], columns: tuple[int, ...]) -> int:
        if not rows:
            return 1
        first, *others = rows
        return sum(
            (-1) ** i * matrix[first][c] * det(tuple(others), columns[:i] + columns[i + 1 :])
            for i, c in enumerate(columns)
        )

    for size in range(min(len(matrix), 4), 0, -1):
        for rows in combinations(range(len(matrix)), size):
            if any(det(rows, columns) for columns in combinations(range(4), size)):
                return size
    return 0


@given(nets())
def test_packed_markings_are_the_markings(net: PTNet) -> None:
    from provenet.verify.plain.packed import Fields, Overflow, Space

    space = Space(net, Fields.of(len(net.places), 15))
    try:
        list(space.grow(400, Budget.seconds(5).deadline))
    except Overflow:
        return
    found = {space.counts(i) for i in range(len(space.markings))}
    known, complete = reachable(net, limit=400)
    if space.complete and complete:
        assert found == known
    for i in range(0, len(space.markings), 7):
        assert net.replay(space.path(i)) == space.counts(i)


def small(pre: list[dict[int, int]], post: list[dict[int, int]], *finals: Counts) -> PTNet:
    """A net with one token in place 0."""
    places = len(finals[0])
    return PTNet(
        places=tuple(f"p{i}" for i in range(places)),
        transitions=tuple(f"t{i}" for i in range(len(pre))),
        pre=tuple(tuple(sorted(arcs.items())) for arcs in pre),
        post=tuple(tuple(sorted(arcs.items())) for arcs in post),
        initial=(1, *(0,) * (places - 1)),
        finals=finals,
    )


@pytest.mark.parametrize("weight", [8, 16, 64, 255, 65_536, 2**31, 2**40])
def test_weights_beyond_the_first_counts_do_not_spill_into_other_places(weight: int) -> None:
    from provenet.verify.plain.packed import crowded, grown, searched

    until = Budget.seconds(5).deadline
    forks = small([{0: 1}, {1: weight}], [{1: weight}, {2: 1}], (0, 0, 1))
    assert isinstance(soundness(forks, Budget.seconds(5)), Sound)
    assert isinstance(relaxed_soundness(forks, Budget.seconds(5)), RelaxedSound)
    assert searched(forks, crowded(forks, weight - 1), limit=99, deadline=until)[1] is not None
    space, pump = grown(forks, limit=99, deadline=until)
    assert pump is None
    assert space is not None
    assert len(space.markings) == 3
    lacks = small([{0: 1}, {0: weight}], [{2: 1}, {1: 1}], (0, 0, 1))
    answer = soundness(lacks, Budget.seconds(5))
    assert isinstance(answer, Unsound)
    assert (answer.fault, answer.dead) == ("dead", (1,))


def test_a_final_marking_may_cover_another_one() -> None:
    net = small([{0: 1}, {0: 1}], [{1: 1}, {1: 1, 2: 1}], (0, 1, 0), (0, 1, 1))
    assert isinstance(soundness(net, Budget.seconds(5)), Sound)


def test_nothing_is_left_over_at_an_end_without_tokens() -> None:
    consumed = small([{0: 1}], [{}], (0,))
    assert isinstance(soundness(consumed, Budget.seconds(5)), Sound)
    grows = small([{0: 1}, {}], [{}, {0: 1}], (0,))
    assert not isinstance(soundness(grows, Budget.seconds(0.5)), Unsound)


@pytest.mark.skipif(not SHARED.exists(), reason="the public process nets do not lie beside this checkout")
@pytest.mark.parametrize("part", ["ibm", "sap"])
def test_public_process_nets(part: str) -> None:
    with (SHARED / f"{part}_verdicts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wrong = []
    column = {"ibm": "sound", "sap": "sara_relaxed_sound"}[part]
    for row in rows[::12]:
        path = SHARED / part / f"{row['net']}.pnml"
        if not path.exists() or row[column] not in ("true", "false"):
            continue
        net = plain_net(read_pnml(path))
        if part == "ibm":
            verdict: object = soundness(net, Budget.seconds(5))
            told = {True: "true", False: "false"}.get(isinstance(verdict, Sound))
            decided = isinstance(verdict, Sound | Unsound)
            assert decided
        else:
            verdict = relaxed_soundness(net, Budget.seconds(1))
            decided = isinstance(verdict, RelaxedSound | NotRelaxedSound)
            told = "true" if isinstance(verdict, RelaxedSound) else "false"
        if decided and told != row[column]:
            wrong.append(row["net"])
    assert wrong == []


@settings(max_examples=200)
@given(nets() | nets(weight=70, tokens=9), st.integers(0, 9))
def test_the_first_look_sees_what_there_is(net: PTNet, k: int) -> None:
    from provenet.verify.plain.packed import crowded, searched, stuck

    known, complete = reachable(net, limit=400)
    if not complete:
        return
    until = Budget.seconds(5).deadline
    space, found = searched(net, crowded(net, k), limit=1_000, deadline=until)
    assert (found is not None) == any(n > k for m in known for n in m)
    assert found is None or max(net.replay(space.path(found))) > k
    space, found = searched(net, stuck(net), limit=1_000, deadline=until)
    dead = [m for m in known if not any(net.enabled(m, t) for t in range(len(net.transitions)))]
    assert (found is not None) == any(m not in net.finals for m in dead)


def switches(n: int) -> PTNet:
    """From a fork to a join that wants all of ``n`` switches on, each of which turns on and off."""
    on, off = range(2, 2 + n), range(2 + n, 2 + 2 * n)
    pre = [((0, 1),), *(((p, 1),) for p in (*on, *off)), tuple((p, 1) for p in on)]
    post = [tuple((p, 1) for p in off), *(((p, 1),) for p in (*off, *on)), ((1, 1),)]
    rest = (0,) * (2 * n)
    return PTNet(
        places=tuple(f"p{i}" for i in range(2 * n + 2)),
        transitions=tuple(f"t{i}" for i in range(2 * n + 2)),
        pre=tuple(pre),
        post=tuple(post),
        initial=(1, 0, *rest),
        finals=((0, 1, *rest),),
    )


def test_a_space_keeps_to_its_room_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from provenet.verify.plain import packed

    net = switches(300)
    began = time.monotonic()
    assert not isinstance(soundness(net, Budget.seconds(0.3)), Sound | Unsound)
    assert time.monotonic() - began < 3
    monkeypatch.setattr(packed, "ROOM", 100_000)
    space, found = packed.searched(
        net, packed.stuck(net), limit=1 << 30, deadline=Budget.seconds(60).deadline
    )
    assert (space.complete, found) == (False, None)
    assert len(space.markings) < 1_000
    assert isinstance(soundness(switches(3), Budget.seconds(5)), Sound)
