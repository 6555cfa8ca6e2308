"""The examinations of the Model Checking Contest on one model, answered in the contest's own words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provenet.nets.errors import FormatError, did_you_mean
from provenet.nets.formats.pnml import read_pnml
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.bounds import upper_bounds
from provenet.verify.plain.contest import Bound, read_properties
from provenet.verify.plain.decide import decide
from provenet.verify.plain.net import PTNet, plain_net
from provenet.verify.plain.paths import of_paths

WITH_FILE = (
    "ReachabilityCardinality",
    "ReachabilityFireability",
    "ReachabilityDeadlock",
    "UpperBounds",
    "CTLCardinality",
    "CTLFireability",
    "LTLCardinality",
    "LTLFireability",
)
GLOBAL = ("OneSafe", "Liveness", "QuasiLiveness", "StableMarking")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer of an examination.

    Attributes:
        id: The formula's id, or the examination's name.
        value: Truth, a bound, or nothing where it could not be computed.
        engines: Who answered.
    """

    id: str
    value: bool | int | None
    engines: tuple[str, ...] = ()

    def line(self) -> str:
        """The contest's line for it."""
        if self.value is None:
            return f"FORMULA {self.id} CANNOT_COMPUTE"
        value = str(self.value).upper()
        techniques = " ".join(name.upper().replace(",", "").replace(" ", "_") for name in self.engines)
        return f"FORMULA {self.id} {value} TECHNIQUES {techniques or 'NONE'}"


def examine(folder: str | Path, examination: str, budget: Budget, *, jobs: int = 1) -> Iterator[Outcome]:
    """Answer an examination of the model in a folder, each formula as soon as it is known.

    Args:
        folder: Holds ``model.pnml`` and ``<examination>.xml``.
        examination: Its name.
        budget: Time for all formulas.
        jobs: How many engines may run at once.

    Raises:
        FormatError: The examination is unknown, or a file is missing or not well-formed.
        NotPlain: The model is no plain place/transition net.
    """
    folder = Path(folder)
    if examination not in (*WITH_FILE, *GLOBAL):
        raise FormatError(
            f"unknown examination {examination!r}", hint=did_you_mean(examination, [*WITH_FILE, *GLOBAL])
        )
    net = plain_net(read_pnml(folder / "model.pnml", unmarked="empty"))
    if examination in GLOBAL:
        asked = {examination: global_property(net, examination)}
        bounds: dict[str, Bound] = {}
    else:
        found = read_properties(folder / f"{examination}.xml", net)
        asked = {a.id: a.question for a in found if not isinstance(a.question, Bound)}
        if examination.startswith("LTL"):
            asked = {name: of_paths(net, question) for name, question in asked.items()}
        bounds = {a.id: a.question for a in found if isinstance(a.question, Bound)}
    open_ = dict.fromkeys((*asked, *bounds))
    names = [*asked]
    for i, decision in decide(net, [*asked.values()], budget, jobs=jobs):
        del open_[names[i]]
        yield Outcome(names[i], decision.holds, decision.engines)
    names = [*bounds]
    for i, most, engines in upper_bounds(net, [b.places for b in bounds.values()], budget, jobs=jobs):
        del open_[names[i]]
        yield Outcome(names[i], most, engines)
    yield from (Outcome(name, None) for name in open_)


def global_property(net: PTNet, examination: str) -> tl.Temporal:
    """The formula of an examination that has no property file."""
    transitions = range(len(net.transitions))
    match examination:
        case "OneSafe":
            return one_safe(net)
        case "QuasiLiveness":
            return tl.Both(tuple(tl.E(tl.F(tl.Now(logic.fireable(net, t)))) for t in transitions))
        case "Liveness":
            return tl.Both(tuple(tl.A(tl.G(tl.E(tl.F(tl.Now(logic.fireable(net, t)))))) for t in transitions))
        case _:
            unchanged = (logic.equal({p: 1}, n) for p, n in enumerate(net.initial))
            return tl.Either(tuple(tl.A(tl.G(tl.Now(f))) for f in unchanged))


def one_safe(net: PTNet) -> tl.Temporal:
    """No place ever holds two tokens."""
    return tl.A(tl.G(tl.Now(logic.conj(logic.at_most({p: 1}, 1) for p in range(len(net.places))))))
