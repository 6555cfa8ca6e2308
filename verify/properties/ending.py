"""A run that ends in one very state of the graph.

A path of the graph says which tokens its firings take; of those that are left over it says nothing. Where
a refutation rests on the state that the path leads to (nothing good can be reached from there), those tokens
must have the values that the state keeps of them.
"""

from __future__ import annotations

from collections import Counter

import z3

from provenet.verify.graph import Graph
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun, agree


def ends_in(graph: Graph, state: int) -> Extra:
    """Asks that the tokens at the end of a run are those of a state."""
    space = graph.space

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        left = Counter(graph.states[state])
        out: list[z3.BoolRef] = []
        inputs = []
        for place, tokens in run.tokens.items():
            of = space.net.place(place).type
            for token in tokens:
                if token.number < 0:  # a case's input, which stands for every value that it may have
                    inputs.append((place, of, token))
                    continue
                left[token.number] -= 1
                out += agree(enc, token.value, space.value_of[token.number], of)
        for place, of, token in inputs:
            number = next((k for k, n in left.items() if n > 0 and space.place_of[k] == place), None)
            if number is None:
                return [z3.BoolVal(False)]
            left[number] -= 1
            out += agree(enc, token.value, space.value_of[number], of)
        return out if not any(left.values()) else [z3.BoolVal(False)]

    return extra
