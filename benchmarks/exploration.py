"""Explicit exploration: markings a second and bytes a marking, against a search over tuples and SNAKES.

Run it with ``python benchmarks/exploration.py FOLDER [NAME ...]``: the folder holds PNML nets, each in a file
or as ``model.pnml`` in a folder of its own; names choose some of them. Seconds are the process's own, so that
a busy machine disturbs less. The peers run on the same net for a few seconds; their rates are of that part.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from provenet.nets.formats.pnml import read_pnml
from provenet.nets.formats.snakes_bridge import to_snakes
from provenet.nets.net import Net
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.net import PTNet, is_plain, plain_net

SECONDS = 10.0
PEER_SECONDS = 2.0
MEMORY = 4 << 30
SMALL = 1_000
"""Spaces below it say nothing about rates."""


@dataclass(frozen=True)
class Measured:
    """What one exploration took."""

    complete: bool
    markings: int
    firings: int
    rate: float
    words: int
    tables: float
    resident: float


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, *names = sys.argv[1:]
    head = ("net", "markings", "", "k/s", "words", "tables", "resident", "tuples k/s", "x", "SNAKES k/s", "x")
    row = "{:32} {:>11} {:1} {:>7} {:>5} {:>7} {:>8}   {:>10} {:>5} {:>10} {:>6}"
    print(row.format(*head))
    for path in sorted({*Path(folder).glob("*.pnml"), *Path(folder).glob("*/model.pnml")}):
        name = path.parent.name if path.name == "model.pnml" else path.stem
        if names and name not in names:
            continue
        net = read_pnml(path)
        if not is_plain(net):
            continue
        # A process of its own: what it takes from the system is what this net takes.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            ours = pool.submit(explored, plain_net(net)).result()
        if ours.markings < SMALL:
            continue
        tuples, snakes = tuple_rate(plain_net(net)), snakes_rate(net)
        print(
            row.format(
                name, ours.markings, "" if ours.complete else "+", f"{ours.rate / 1e3:.0f}", ours.words,
                f"{ours.tables:.2f}", f"{ours.resident:.2f}" if ours.resident > 1 else "-",
                f"{tuples / 1e3:.1f}", f"{ours.rate / tuples:.0f}",
                f"{snakes / 1e3:.2f}", f"{ours.rate / snakes:.0f}",
            ),
            flush=True,
        )  # fmt: skip
    print()
    print("tables, resident: bytes of the tables, and of memory that the process gained, per byte of packed")
    print("markings (8 bytes a word); a fixed few kilobytes count for much where the space is small.")
    print("-: less than what loading the kernels took before.")
    print("+: stopped by the time limit. x: how many times as fast.")


def explored(net: PTNet) -> Measured:
    Space(net, (), Budget.seconds(0.05)).advance()
    before = peak()
    began = time.process_time()
    space = Space(net, (), Budget.seconds(SECONDS, memory=MEMORY))
    stop, _ = space.advance()
    seconds = time.process_time() - began
    return Measured(
        stop is Stop.DONE,
        space.count,
        space.edges,
        space.finished / seconds,
        space.layout.width,
        space.bytes_used / space.bytes_packed,
        (peak() - before) / space.bytes_packed,
    )


def peak() -> int:
    """Most memory that the process had so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def tuple_rate(net: PTNet) -> float:
    """Markings a second of a search that keeps tuples in a set."""
    began = time.process_time()
    seen = {net.initial}
    queue = deque(seen)
    done = 0
    moves = list(zip(net.pre, net.effect, strict=True))
    while queue and (done % 64 or time.process_time() - began < PEER_SECONDS):
        marking = queue.popleft()
        done += 1
        for pre, effect in moves:
            for p, w in pre:
                if marking[p] < w:
                    break
            else:
                changed = list(marking)
                for p, d in effect:
                    changed[p] += d
                after = tuple(changed)
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
    return done / (time.process_time() - began)


def snakes_rate(net: Net) -> float:
    """Markings a second of SNAKES' state graph."""
    import snakes.nets

    graph = snakes.nets.StateGraph(to_snakes(net))
    began = time.process_time()
    done = 0
    for _ in graph:
        done += 1
        if time.process_time() - began > PEER_SECONDS:
            break
    return done / (time.process_time() - began)


if __name__ == "__main__":
    main()
