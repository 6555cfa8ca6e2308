"""Observers that see states as well as firings (``context.monitor`` sees firings only), and where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from provenet.verify.context import Answer, Candidate, Context, Finder, Open
from provenet.verify.graph import Edge, Graph
from provenet.verify.trace import Extra

_NEAR = 20_000


def near_first(ctx: Context) -> Iterator[Context]:
    """Where to search: near the start first, since what grows for ever goes wrong there already."""
    if ctx.most_states > _NEAR:
        yield Context(ctx.net, deadline=ctx.deadline, most_states=_NEAR, hints=())
    yield ctx


def searched_near_first(ctx: Context, find: Finder) -> Answer:
    """As ``Context.search``, near the start first."""
    answer: Answer = Open("")
    for at in near_first(ctx):
        answer = at.search(find)
        if not isinstance(answer, Open):
            break
    return answer


def follow(
    graph: Graph,
    start: Any,
    step: Callable[[Any, int, Edge, int], Any],
    violated: Callable[[Any], bool],
    extra: Extra | None = None,
) -> Iterator[Candidate]:
    """Shortest paths on which an observer is violated, one for each violated (state, observer) pair.

    Args:
        graph: The graph.
        start: The observer's first state; hashable.
        step: The observer's next state, from its last one, the state before, the firing, the state after.
        violated: Whether an observer's state is a violation; violated ones are not followed further.
        extra: What a candidate asks of the data at its end.
    """
    came: dict[tuple[int, Any], tuple[tuple[int, Any], Edge] | None] = {
        (root, start): None for root in range(graph.roots)
    }
    queue = list(came)
    told = set()
    for here in queue:
        state, observed = here
        for edge, target in graph.edges[state]:
            after = step(observed, state, edge, target)
            key = (target, after)
            if violated(after):
                if (key, edge.transition) not in told:
                    told.add((key, edge.transition))
                    yield Candidate(path_of(came, here, edge), extra, matters="whole")
            elif key not in came:
                came[key] = (here, edge)
                queue.append(key)


def path_of(
    came: dict[tuple[int, Any], tuple[tuple[int, Any], Edge] | None], here: tuple[int, Any], last: Edge
) -> list[Edge]:
    """The path to a product state, and a last firing."""
    path = [last]
    back = came[here]
    while back is not None:
        path.append(back[1])
        back = came[back[0]]
    return path[::-1]
