"""Proof time against size: chained contracts, each of which relies on what the one before it verified.

And the renewal net.

Run it with ``python benchmarks/verify_chain.py [LENGTH ...]``.
"""

from __future__ import annotations

import sys
import time

from provenet.examples.contract_renewal.net import agent
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Net
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Proposal, Request
from provenet.sdb.policy import Policy, within
from provenet.verify.check import prove
from provenet.verify.requirements import never
from provenet.verify.verdict import Report, Status

LENGTHS = (10, 20, 50, 100, 200)


class Offer(Token):
    customer: str
    discount: int


class Model:
    """A proposer that no proof ever asks."""

    async def propose(self, request: Request) -> Proposal:
        raise AssertionError(f"a proof asks no proposer, yet {request.case!r} asks")


def chain(length: int, *, broken: bool = False) -> Net:
    """Contracts in a row: a model proposes to the first, the others pass the offer on by their policies."""
    net = NetBuilder(f"chain of {length}")
    here = net.entry("start", Offer)
    refused = net.final("refused", Offer)
    for i in range(length):
        there = net.place(f"after {i}", Offer) if i < length - 1 else net.final("end", Offer)
        most = 99 if broken else 30
        net.add(
            Contract(
                f"c{i}",
                takes=here,
                gives=there,
                propose=Model() if i == 0 else None,
                returns=Offer if i == 0 else None,
                verify=limit(most, f"policy {i}"),
                commit=Effect("sell", print, payload=Offer) if i == length - 1 else None,
                otherwise=refused,
                escalate="inputs",
            )
        )
        here = there
    net.require(never(effect="sell", of=Offer, where=lambda payload: payload.discount > 30))
    return net.build()


def limit(most: int, name: str) -> Policy:
    return within(Offer, lambda o: o.discount <= most, name=name)


def told(report: Report) -> str:
    counts = {s: sum(v.status is s for v in report.verdicts) for s in Status}
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n)


def timed(label: str, net: Net, only: list[str] | None = None, timeout: float = 60) -> None:
    began = time.perf_counter()
    report = prove(net, only=only, timeout=timeout)
    seconds = time.perf_counter() - began
    print(
        f"{label:28} {len(net.places):6} {len(net.transitions):6} {seconds:9.3f}  {told(report)}", flush=True
    )


def main() -> None:
    lengths = [int(a) for a in sys.argv[1:]] or LENGTHS
    print(f"{'':28} {'places':>6} {'trans.':>6} {'seconds':>9}  verdicts")
    for n in lengths:
        timed(f"{n} contracts, never", chain(n), ["never"])
        timed(f"{n} contracts, broken", chain(n, broken=True), ["never"])
        timed(f"{n} contracts, SDB", chain(n), ["SDB"])
        timed(f"{n} contracts, STATE", chain(n), ["STATE"])
    timed("contract renewal, all", agent().net)


if __name__ == "__main__":
    main()
