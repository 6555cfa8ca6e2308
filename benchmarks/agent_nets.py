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
from dataclasses import replace
from pathlib import Path

from provenet.examples.contract_renewal.net import agent
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Net, Place, Put, Requirement, Take, Transition
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Proposal, Request
from provenet.sdb.policy import Policy, within
from provenet.verify.check import prove
from provenet.verify.requirements import mutex, never, precedes
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


def plotted(series: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Seconds against nodes."""
    from reportlab.graphics import renderSVG
    from reportlab.graphics.charts.legends import Legend
    from reportlab.graphics.charts.lineplots import LinePlot
    from reportlab.graphics.shapes import Drawing, String
    from reportlab.graphics.widgets.markers import makeMarker
    from reportlab.lib.colors import HexColor

    colours = [HexColor(0x1F4E79), HexColor(0xC55A11)]
    drawing = Drawing(560, 320)
    plot = LinePlot()
    plot.x, plot.y, plot.width, plot.height = 60, 50, 470, 220
    plot.data = list(series.values())
    plot.xValueAxis.valueMin = plot.yValueAxis.valueMin = 0
    for i in range(len(series)):
        plot.lines[i].strokeColor = colours[i]
        plot.lines[i].strokeWidth = 1.8
        plot.lines[i].symbol = makeMarker(("FilledCircle", "FilledSquare")[i], size=6)
    drawing.add(plot)
    legend = Legend()
    legend.x, legend.y, legend.alignment, legend.fontSize = 80, 265, "right", 10
    legend.columnMaximum = len(series)
    legend.colorNamePairs = list(zip(colours, series, strict=False))
    drawing.add(legend)
    drawing.add(
        String(
            60, 295, "Proving every property: processor seconds against places and transitions", fontSize=12
        )
    )
    drawing.add(String(230, 14, "places and transitions", fontSize=10))
    path.write_text(renderSVG.drawToString(drawing), encoding="utf-8")


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
        plotted(series, picture)


def graph(count: int) -> Net:
    """The agents, with what is asked of them."""
    every = ("STATE-1", "STATE-2", "STATE-3")
    asked = (precedes("approve", "send"), mutex("agent 0", f"agent {count - 1}"))
    return replace(agents(count), requirements=(*map(Requirement, every), *asked))


if __name__ == "__main__":
    main()
