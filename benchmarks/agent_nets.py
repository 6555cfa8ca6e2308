"""Proof time against size on nets of agents, and the renewal net.

Chains of contracts with data, each of which relies on what the one before it verified; graphs of agents in
which every way passes one gate. Prints processor seconds, and seconds per node against the smallest of the
kind: 1.0 all the way down would be linear growth. Run it with

    python benchmarks/agent_nets.py [--picture FILE.svg]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor, log10
from pathlib import Path

from provenet.examples.contract_renewal.net import agent
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Net, Place, Put, Requirement, Take, Transition
from provenet.nets.requirements import mutex, never, precedes
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Proposal, Request
from provenet.sdb.policy import Policy, within
from provenet.verify.check import prove
from provenet.verify.verdict import Report, Status


class Offer(Token):
    customer: str
    discount: int


class Model:
    """A proposer that no proof ever asks."""

    async def propose(self, request: Request) -> Proposal:
        raise AssertionError(f"a proof asks no proposer, yet {request.case!r} asks")


def chain(length: int) -> Net:
    """Contracts in a row: a model proposes to every second one, the others pass the offer on if they may."""
    net = NetBuilder(f"chain of {length}")
    here = net.entry("start", Offer)
    refused = net.final("refused", Offer)
    for i in range(length):
        there = net.place(f"after {i}", Offer) if i < length - 1 else net.final("end", Offer)
        net.add(
            Contract(
                f"c{i}",
                takes=here,
                gives=there,
                propose=None if i % 2 else Model(),
                returns=None if i % 2 else Offer,
                verify=limit(30, f"policy {i}"),
                commit=Effect("sell", print, payload=Offer) if i == length - 1 else None,
                otherwise=refused,
                escalate="inputs",
            )
        )
        here = there
    catalogue = ("SDB", "SAGA", "CTL", "STATE", "EVT", "DATA", "FLOW")
    net.require(*catalogue, never(effect="sell", of=Offer, where=lambda payload: payload.discount > 30))
    return net.build()


def limit(most: int, name: str) -> Policy:
    return within(Offer, lambda o: o.discount <= most, name=name)


def agents(count: int, *, seed: int = 1) -> Net:
    """A graph of agents without data: each to the next, and here and there ahead; one gate in the middle."""
    chance = random.Random(seed)
    gate = count // 2
    transitions: list[Transition] = []
    for i in range(count - 1):
        following = {i + 1} | {
            chance.randrange(i + 1, min(count, i + 40)) for _ in range(chance.randrange(2))
        }
        if i < gate:
            following = {min(o, gate) for o in following}
        if i == gate:
            following = {i + 1}
        for o in sorted(following):
            name = "approve" if i == gate else "send" if i == count - 2 else f"from {i} to {o}"
            transitions.append(Transition(name, takes=(Take(f"agent {i}"),), puts=(Put(f"agent {o}"),)))
    return Net(
        f"{count} agents",
        tuple(Place(f"agent {i}") for i in range(count)),
        tuple(transitions),
        initial=(("agent 0", ((),)),),
        finals=(((f"agent {count - 1}", 1),),),
    )


def told(report: Report) -> str:
    counts = {s: sum(v.status is s for v in report.verdicts) for s in Status}
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n)


def timed(label: str, net: Net, smallest: float | None = None) -> float:
    """Processor seconds, the least of two runs."""
    best, report = float("inf"), None
    for _ in range(2):
        began = time.process_time()
        report = prove(net, timeout=120)
        best = min(best, time.process_time() - began)
    assert report is not None
    nodes = len(net.places) + len(net.transitions)
    each = best / nodes
    growth = "" if smallest is None else f"{each / smallest:6.1f}"
    print(f"{label:24} {nodes:6} {best:8.3f} {growth:>6}  {told(report)}", flush=True)
    return best


COLOURS = ("#004b7c", "#ab4400")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 400, 64, 64, 48, 48


def plotted(series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Seconds against nodes as an SVG, both axes logarithmic: linear growth has the dashed line's slope."""
    points = [p for found in series.values() for p in found]
    least_x, most_x = (10 ** f(log10(n)) for f, n in ((floor, min(points)[0]), (ceil, max(points)[0])))
    seconds = [s for _, s in points]
    least_y, most_y = 10 ** floor(log10(min(seconds))), 10 ** ceil(log10(max(seconds)))

    def at(nodes: float, took: float) -> tuple[float, float]:
        x = log10(nodes / least_x) / log10(most_x / least_x)
        y = log10(took / least_y) / log10(most_y / least_y)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#1f2328") -> None:
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>')

    def line(places: Sequence[tuple[float, float]], colour: str, more: str) -> None:
        found = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{found}" fill="none" stroke="{colour}" {more}/>')

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">',
        '<g font-family="Arimo, \'Liberation Sans\', Arial, Helvetica, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    parts.append('<g font-size="15" font-weight="bold">')
    text(LEFT, 28, "Proving everything a net asks for: processor seconds")
    parts.append("</g>")
    for x in _decades(least_x, most_x):
        line([at(x, least_y), at(x, most_y)], "#d8dbdf", "")
        text(at(x, least_y)[0], HEIGHT - BOTTOM + 18, f"{x:,.0f}", anchor="middle", colour="#5b636d")
    for y in _decades(least_y, most_y):
        line([at(least_x, y), at(most_x, y)], "#d8dbdf", "")
        text(LEFT - 8, at(least_x, y)[1] + 4, f"{y:g} s", anchor="end", colour="#5b636d")
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "places and transitions", anchor="middle", colour="#5b636d")
    across = min(most_x / least_x, most_y / least_y)
    line([at(least_x, least_y), at(least_x * across, least_y * across)], "#5b636d", 'stroke-dasharray="4 4"')
    x, y = at(least_x * across, least_y * across)
    text(x + 6 if across == most_x / least_x else x, y + 4, "linear", colour="#5b636d")
    for (label, found), colour in zip(series.items(), COLOURS, strict=False):
        line([at(*p) for p in found], colour, 'stroke-width="2"')
        for x, y in (at(*p) for p in found):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        x, y = at(*found[-1])
        text(x + 9, y + 4, label, colour=colour)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _decades(least: float, most: float) -> list[float]:
    return [least * 10**k for k in range(round(log10(most / least)) + 1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path)
    picture: Path | None = parser.parse_args().picture
    print(f"{'':24} {'nodes':>6} {'seconds':>8} {'growth':>6}  verdicts")
    series: dict[str, list[tuple[int, float]]] = {}
    kinds = {
        "chained contracts": (chain, (25, 50, 100, 200, 400)),
        "graph of agents": (graph, (500, 1_000, 2_500, 5_000)),
    }
    for label, (make, sizes) in kinds.items():
        points: list[tuple[int, float]] = []
        for size in sizes:
            net = make(size)
            nodes = len(net.places) + len(net.transitions)
            smallest = points[0][1] / points[0][0] if points else None
            points.append((nodes, timed(f"{size} {label}", net, smallest)))
        series[label] = points
    timed("contract renewal", agent().net)
    if picture is not None:
        picture.write_text(plotted(series), encoding="utf-8")


def graph(count: int) -> Net:
    """The agents, with what is asked of them."""
    every = ("STATE-1", "STATE-2", "STATE-3")
    asked = (precedes("approve", "send"), mutex("agent 0", f"agent {count - 1}"))
    return replace(agents(count), requirements=(*map(Requirement, every), *asked))


if __name__ == "__main__":
    main()
