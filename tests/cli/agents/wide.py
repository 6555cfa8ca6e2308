"""A net of 2^26 states: too many to look at in a second."""

from __future__ import annotations

from provenet import NetBuilder


def build(n: int = 26) -> NetBuilder:
    net = NetBuilder("wide")
    start, end = net.entry("start", int), net.final("end")
    left = [net.place(f"a{i}") for i in range(n)]
    right = [net.place(f"b{i}") for i in range(n)]
    net.route("fork", takes={"x": start}, puts=dict.fromkeys(left))
    for i in range(n):
        net.route(f"go {i}", takes={left[i]}, puts={right[i]: None})
        net.route(f"back {i}", takes={right[i]}, puts={left[i]: None})
    net.route("join", takes=set(right), puts={end: None})
    net.require("STATE-1")
    return net
