"""Random small plain nets and goals, and an explorer that knows nothing of the engines."""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st

from provenet.verify.plain.logic import Formula, at_most, conj, disj, holds, negation
from provenet.verify.plain.net import Arcs, Counts, PTNet


@st.composite
def arcs(draw: st.DrawFn, places: int, *, most: int = 3, weight: int = 2) -> Arcs:
    chosen = draw(st.lists(st.integers(0, places - 1), max_size=most, unique=True))
    return tuple((p, draw(st.integers(1, weight))) for p in sorted(chosen))


@st.composite
def nets(
    draw: st.DrawFn, *, most_places: int = 6, most_transitions: int = 7, weight: int = 2, tokens: int = 2
) -> PTNet:
    places = draw(st.integers(1, most_places))
    transitions = draw(st.integers(0, most_transitions))
    return PTNet(
        places=tuple(f"p{i}" for i in range(places)),
        transitions=tuple(f"t{i}" for i in range(transitions)),
        pre=tuple(draw(arcs(places, weight=weight)) for _ in range(transitions)),
        post=tuple(draw(arcs(places, weight=weight)) for _ in range(transitions)),
        initial=tuple(draw(st.integers(0, tokens)) for _ in range(places)),
    )


@st.composite
def goals(draw: st.DrawFn, net: PTNet, *, depth: int = 2) -> Formula:
    if depth and draw(st.booleans()):
        parts = [draw(goals(net, depth=depth - 1)) for _ in range(draw(st.integers(1, 3)))]
        join = draw(st.sampled_from([conj, disj]))
        made = join(parts)
        return negation(made) if draw(st.booleans()) else made
    chosen = draw(st.lists(st.integers(0, len(net.places) - 1), min_size=1, max_size=3, unique=True))
    terms = {p: draw(st.sampled_from([-2, -1, 1, 1, 2])) for p in chosen}
    return at_most(terms, draw(st.integers(-4, 4)))


def reachable(net: PTNet, *, limit: int = 3_000) -> tuple[set[Counts], bool]:
    """The reachable markings, by plain search, and whether they are all."""
    seen = {net.initial}
    queue = deque(seen)
    while queue:
        marking = queue.popleft()
        for t in range(len(net.transitions)):
            if all(marking[p] >= w for p, w in net.pre[t]):
                change = dict.fromkeys(range(len(marking)), 0)
                for p, w in net.pre[t]:
                    change[p] -= w
                for p, w in net.post[t]:
                    change[p] += w
                after = tuple(n + change[p] for p, n in enumerate(marking))
                if after not in seen:
                    if len(seen) >= limit:
                        return seen, False
                    seen.add(after)
                    queue.append(after)
    return seen, True


def truth(net: PTNet, goal: Formula) -> bool | None:
    """Whether the goal is reachable; ``None`` where plain search does not tell."""
    markings, complete = reachable(net)
    if any(holds(goal, m) for m in markings):
        return True
    return False if complete else None
