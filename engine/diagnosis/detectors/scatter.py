"""P2: scatter-gather with a saga. Compensations that outgrow their actions, and those that leave a mess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import at_least
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import LEAST, OUTGROWN, SIGNATURES, significant
from provenet.nets.net import Net, Role
from provenet.nets.schema import microseconds


@dataclass(slots=True, eq=False)
class Step:
    """A commit that can be undone, and what became of it.

    Attributes:
        commit: The commit.
        began: Entry with which it began: of an effect outside, its intent.
        scope: The scope that it belongs to.
        undone: Its compensations.
        settled: Whether it needs none: its scope ended well, or a person took care of it.
    """

    commit: Firing
    began: int
    scope: str
    undone: list[Firing] = field(default_factory=list)
    settled: bool = False


def steps_of(case: CaseHistory) -> tuple[list[Step], list[Firing]]:
    """The commits of a case that can be undone, and compensations of what was never committed."""
    undoes = {t.contract: _kept_for(case.net, t.contract) for t in case.net.by_role(Role.COMPENSATE)}
    steps: dict[int, Step] = {}
    stray: list[Firing] = []
    for firing in case.firings:
        if firing.role is Role.COMMIT and firing.contract in undoes:
            info = case.contract(firing.contract)
            intents = (case.maker[token] for token in firing.took if token in case.maker)
            began = next((m.seq for m in intents if m.role is Role.INTENT), firing.seq)
            steps[firing.seq] = Step(firing, began, info.saga if info is not None else "")
        elif firing.role is Role.COMPENSATE:
            step = _of(case, firing, steps, undoes) or _latest(firing, steps)
            if step is None:
                stray.append(firing)
            else:
                step.undone.append(firing)
        elif (firing.role is Role.DISCHARGE or firing.decided) and firing.role is not Role.KILL:
            step = _of(case, firing, steps, undoes)
            if step is not None:
                step.settled = True
    return list(steps.values()), stray


def _kept_for(net: Net, contract: str) -> frozenset[str]:
    """Where a contract keeps what its undoing needs."""
    takers = net.by_role(Role.COMPENSATE, Role.UNWIND, contract=contract)
    commits = net.by_role(Role.COMMIT, contract=contract)
    return frozenset(t.place for x in takers for t in x.takes) & {p.place for x in commits for p in x.puts}


def _of(
    case: CaseHistory, firing: Firing, steps: Mapping[int, Step], undoes: Mapping[str, frozenset[str]]
) -> Step | None:
    """The commit for whose undoing was kept what a firing takes, or what that descends from."""
    agenda, seen = list(firing.took), set[int]()
    while agenda:
        token = agenda.pop(0)
        made = case.maker.get(token)
        if made is None or token in seen:
            continue
        seen.add(token)
        step = steps.get(made.seq)
        if step is not None and any(h.id == token and h.place in undoes[made.contract] for h in made.put):
            return step
        # Compensations are strung together by their scope: what came before the last one is about others.
        if made.role is not Role.COMPENSATE:
            agenda += made.took
    return None


def _latest(firing: Firing, steps: Mapping[int, Step]) -> Step | None:
    """Where nothing is kept for the undoing: the contract's latest commit that was not undone."""
    mine = [s for s in steps.values() if s.commit.contract == firing.contract]
    return next((s for s in reversed(mine) if not s.undone), mine[-1] if mine else None)


@dataclass(slots=True)
class _Spans:
    outgrown: int = 0
    of: int = 0
    worst: float = 0.0
    seen: Few = field(default_factory=Few)


class Outgrown:
    """P2a: compensations outgrow their actions."""

    signature: Signature = SIGNATURES["P2a"]

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], _Spans] = {}

    def look(self, case: CaseHistory) -> None:
        """Compare each compensation with the commit that it undid."""
        for step in steps_of(case)[0]:
            for undo in step.undone[:1]:
                acted, undone = _span(case, step.commit), _span(case, undo)
                if acted is None or undone is None:
                    continue
                spans = self._spans.setdefault((case.net.name, step.commit.contract), _Spans())
                spans.of += 1
                times = undone / max(acted, microseconds(LEAST))
                spans.worst = max(spans.worst, times)
                if times > OUTGROWN:
                    spans.outgrown += 1
                    spans.seen.add(
                        case.id,
                        (step.commit.seq, undo.seq),
                        f"done in {acted / 1e6:.1f} s, undone in {undone / 1e6:.1f} s",
                    )

    def findings(self) -> list[Finding]:
        """One for each contract."""
        found = []
        for (net, contract), s in self._spans.items():
            chance = at_least(s.outgrown, s.of, 0.5)
            if significant(chance, len(self._spans)):
                said = (
                    f"undoing {contract!r} took over {OUTGROWN} times as long as doing it in {s.outgrown} "
                    f"of {s.of} cases, {s.worst:.0f} times at worst"
                )
                numbers = {"undone": s.of, "outgrown": s.outgrown, "worst": s.worst, "chance": chance}
                found.append(self.signature.found(net, contract, said, s.seen, **numbers))
        return found


def _span(case: CaseHistory, firing: Firing) -> int | None:
    """How long an effect took: from the arrival of its token to its receipt."""
    arrived = [case.arrived[token] for token in firing.took if token in case.arrived]
    return firing.at - max(arrived) if arrived else None


_MESS = ("left", "undone twice", "undone out of order", "undone, and never done")


class Mess:
    """P2b: what was written stays, is undone twice, or out of order."""

    signature: Signature = SIGNATURES["P2b"]

    def __init__(self) -> None:
        self._count: dict[tuple[str, str], dict[str, int]] = {}
        self._seen: dict[tuple[str, str], Few] = {}

    def look(self, case: CaseHistory) -> None:
        """Look at what became of the commits of scopes that aborted."""
        if not any(f.role in {Role.ABORT, Role.UNWIND, Role.COMPENSATE} for f in case.firings):
            return
        steps, stray = steps_of(case)
        for firing in stray if _whole(case) else ():
            self._add(case, "", _MESS[3], (firing.seq,), firing.contract)
        aborted = {
            f.contract if info is None else info.saga
            for f in case.firings
            if f.role in {Role.ABORT, Role.UNWIND, Role.COMPENSATE}
            for info in (case.contract(f.contract),)
        }
        for step in steps:
            name, at = step.commit.contract, step.commit.seq
            if len(step.undone) > 1:
                entries = (at, *(f.seq for f in step.undone))
                self._add(case, step.scope, _MESS[1], entries, name)
            if case.over and not step.undone and not step.settled and {step.scope, ""} & aborted:
                self._add(case, step.scope, _MESS[0], (at,), name)
            if not step.undone:
                continue
            first = step.undone[0].seq
            later = [
                other
                for other in steps
                if other.scope == step.scope
                and step.began < other.began < first
                and other.undone
                and other.undone[0].seq > first
            ]
            for other in later:
                self._add(
                    case,
                    step.scope,
                    _MESS[2],
                    (at, other.commit.seq, first, other.undone[0].seq),
                    f"{name} before {other.commit.contract}",
                )

    def findings(self) -> list[Finding]:
        """One for each scope."""
        found = []
        for (net, scope), counts in self._count.items():
            said = ", ".join(f"{n} {what}" for what, n in counts.items())
            numbers = {what.replace(",", "").replace(" ", "_"): n for what, n in counts.items()}
            where = f"scope {scope!r}" if scope else "no declared scope"
            finding = self.signature.found(
                net, scope or "commits", f"commits of {where}: {said}", self._seen[net, scope], **numbers
            )
            found.append(finding)
        return found

    def _add(self, case: CaseHistory, scope: str, what: str, entries: tuple[int, ...], of: str) -> None:
        at = case.net.name, scope
        counts = self._count.setdefault(at, {})
        counts[what] = counts.get(what, 0) + 1
        self._seen.setdefault(at, Few()).add(case.id, entries, f"{of} is {what}")


def _whole(case: CaseHistory) -> bool:
    """Whether the log is all there, and was not trimmed."""
    return any(o.kind == "start" for o in case.others)
