"""STATE-1, 2, 3 and relaxed soundness of nets without data: verdicts of the checkers that only count.

Where nothing in a net looks at data, ``provenet.verify.plain`` decides more, and faster, than the checks that
keep track of tokens one by one. What it finds is told here in the words of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from provenet.nets.marking import initial_marking
from provenet.nets.net import Net, Role
from provenet.nets.schema import plainest
from provenet.verify.hope import by_engine
from provenet.verify.plain.answer import (
    Answer,
    Budget,
    Evidence,
    Explored,
    Inductive,
    Reachable,
    Reduced,
    StateEquation,
    Unreachable,
)
from provenet.verify.plain.logic import Formula, at_least, conj, deadlock, disj, exactly, negation, shown
from provenet.verify.plain.net import Counts, PTNet, is_plain, listed, plain_net
from provenet.verify.plain.packed import Space, crowded, grown, searched, stuck
from provenet.verify.verdict import Certificate, Status, Trace, TraceStep, Verdict

if TYPE_CHECKING:
    from provenet.verify.plain.free_choice import RankTheorem

_WITH_MEANING = (
    *(Role.REJECT, Role.FAULT, Role.RETRY, Role.GIVE_UP, Role.FAIL),
    *(Role.KILL, Role.UNWIND, Role.DISCHARGE),
)
"""Roles that soundness treats in their own way; such nets are left to the whole checker."""

_FIRST_LOOK, _MARKINGS = 2.0, 20_000
"""Seconds and markings of the search in this very process."""


def counted(net: Net) -> PTNet | None:
    """The integers of a net in which nothing looks at data and no role has a meaning of its own."""
    if not is_plain(net) or any(t.role in _WITH_MEANING or by_engine(t) for t in net.transitions):
        return None
    return plain_net(net)


def sound(net: Net, pt: PTNet, title: str, deadline: float) -> Verdict:
    """STATE-1."""
    from provenet.verify.plain.soundness import Sound, Undecided, soundness

    found = soundness(pt, Budget(deadline))
    if isinstance(found, Undecided):
        return Verdict("STATE-1", title, Status.UNKNOWN, reason=found.reason)
    if isinstance(found, Sound):
        certificate = (
            _explored(found.evidence) if isinstance(found.evidence, Explored) else _rank(found.evidence, pt)
        )
        return Verdict("STATE-1", title, Status.PROVED, found.method, certificates=(certificate,))
    return Verdict(
        "STATE-1",
        title,
        Status.REFUTED,
        "state space",
        found.reason,
        subject=", ".join(pt.transitions[t] for t in found.dead),
        trace=None if found.firings is None else trace_of(net, pt, found.firings),
        certificates=() if found.evidence is None else (_explored(found.evidence),),
        mend=_MENDS.get(found.fault, ""),
    )


_MENDS = {
    "stuck": "give the tokens that are left a way to a final marking",
    "no option to complete": "give the tokens that are left a way to a final marking",
    "improper completion": "join what was forked before the end: consume what is left, or wait for it",
    "unbounded": "consume the token that piles up",
    "unsafe": "join what was forked with the kind of join that matches the fork",
    "dead": "remove the dead transition, or mend the arc that keeps it from firing",
}


def relaxed(net: Net, pt: PTNet, title: str, deadline: float) -> Verdict:
    """Relaxed soundness."""
    from provenet.verify.plain.relaxed import NotRelaxedSound, RelaxedSound, relaxed_soundness

    found = relaxed_soundness(pt, Budget(deadline))
    kind = "relaxed-soundness"
    if isinstance(found, RelaxedSound):
        runs = [[pt.transitions[t] for t in run] for run in found.runs]
        return Verdict(
            kind,
            title,
            Status.PROVED,
            "completing runs",
            f"{len(runs)} runs that complete fire every transition",
            certificates=(Certificate("runs", {"runs": runs}),),
        )
    if isinstance(found, NotRelaxedSound):
        useless = ", ".join(pt.transitions[t] for t in found.useless)
        return Verdict(
            kind,
            title,
            Status.REFUTED,
            _method(found.evidence),
            f"no run that completes properly fires {useless}",
            subject=useless,
            certificates=(evidence_certificate(found.evidence, pt),),
            mend="remove the transition, or mend the routing around it",
        )
    return Verdict(kind, title, Status.UNKNOWN, reason=found.reason)


def bounded(net: Net, pt: PTNet, title: str, deadline: float, k: int | None) -> Verdict | None:
    """STATE-2; ``None`` where the whole checker should try."""
    if k is not None:
        goal = disj(at_least({p: 1}, k + 1) for p in range(len(pt.places)))

        def told(end: Counts) -> str:
            return f"more than {k} tokens in {listed([pt.places[p] for p, n in enumerate(end) if n > k])}"

        return _unreachable(net, pt, "STATE-2", title, goal, crowded(pt, k), deadline, told)
    space, pump = grown(pt, limit=20_000, deadline=deadline)
    if pump is not None:
        firings, loop = pump
        return Verdict(
            "STATE-2",
            title,
            Status.REFUTED,
            "state space",
            f"the last {loop} firings can be repeated for ever, and leave more tokens each time",
            trace=trace_of(net, pt, firings),
            mend="consume the token that piles up, or declare a capacity",
        )
    if space is None:
        return None
    certificate = _explored(Explored(len(space.markings), sum(map(len, space.edges))))
    return Verdict("STATE-2", title, Status.PROVED, "state space", certificates=(certificate,))


def deadlock_free(net: Net, pt: PTNet, title: str, deadline: float) -> Verdict:
    """STATE-3."""
    ends = [negation(exactly(final)) for final in pt.finals]
    goal = conj((deadlock(pt), *ends))

    def told(end: Counts) -> str:
        waiting = listed([pt.places[p] for p, n in enumerate(end) if n]) or "no place"
        return f"nothing can happen any more, and the marking is not final; tokens wait in {waiting}"

    return _unreachable(net, pt, "STATE-3", title, goal, stuck(pt), deadline, told)


def trace_of(net: Net, pt: PTNet, firings: Sequence[int]) -> Trace:
    """A run by transition numbers as a trace of the net itself."""
    steps = []
    for t in firings:
        transition = net.transition(pt.transitions[t])
        binding = {name: plainest(of) for name, of in net.scope(transition).items()}
        steps.append(TraceStep(transition.name, binding))
    inputs = {e.place: plainest(net.place(e.place).type) for e in net.entries}
    return Trace(initial_marking(net, inputs), tuple(steps))


def evidence_certificate(evidence: Evidence, pt: PTNet) -> Certificate:
    """Evidence of unreachability as JSON-like data, with the names of the net."""
    match evidence:
        case Explored():
            return _explored(evidence)
        case StateEquation(traps, empty, dead, numbers):
            data: dict[str, Any] = {
                "traps": [sorted(pt.places[p] for p in trap) for trap in traps],
                "empty": [sorted(pt.places[p] for p in places) for places in empty],
                "dead": [pt.transitions[t] for t in dead],
                "numbers": numbers,
            }
            return Certificate("state equation", data)
        case Inductive(invariant, steps):
            return Certificate("inductive", {"invariant": shown(invariant, pt), "steps": steps})
        case Reduced(smaller, goal, rules, inner):
            named = [[rule, list(where)] for rule, where in rules]
            inside = evidence_certificate(inner, smaller)
            data = {
                "rules": named,
                "goal": shown(goal, smaller),
                "evidence": {"kind": inside.kind, "data": dict(inside.data)},
            }
            return Certificate("reduced", data)


def _unreachable(
    net: Net,
    pt: PTNet,
    id_: str,
    title: str,
    goal: Formula,
    fault: Callable[[Space, int], bool],
    deadline: float,
    broken: Callable[[Counts], str],
) -> Verdict:
    """The verdict on a property that says: this is never reached.

    The goal and the fault are the same question, for the portfolio and for the first look, which is over
    before the portfolio's processes would have started; ``broken`` tells of a marking that has it.
    """
    budget = Budget(deadline)
    until = min(deadline, Budget.seconds(_FIRST_LOOK).deadline)
    space, found = searched(pt, fault, limit=_MARKINGS, deadline=until)
    answer: Answer | None = None
    if found is not None:
        answer = Reachable(space.path(found), "state space")
    elif space.complete:
        explored = Explored(len(space.markings), sum(map(len, space.edges)))
        answer = Unreachable(explored, "state space")
    else:
        from provenet.verify.plain.plan import reachability_stages
        from provenet.verify.plain.portfolio import answers

        stages = reachability_stages(budget.left())
        answer = next((a for _, a in answers(pt, [goal], budget, stages=stages)), None)
    if answer is None:
        return Verdict(id_, title, Status.UNKNOWN, reason="the time was over before any engine had an answer")
    if isinstance(answer, Reachable):
        why = broken(pt.replay(answer.firings))
        trace = trace_of(net, pt, answer.firings)
        return Verdict(id_, title, Status.REFUTED, answer.engine, why, trace=trace)
    certificate = evidence_certificate(answer.evidence, pt)
    return Verdict(id_, title, Status.PROVED, _method(answer.evidence), certificates=(certificate,))


def _method(evidence: Evidence) -> str:
    match evidence:
        case Explored():
            return "state space"
        case StateEquation():
            return "state equation"
        case Inductive():
            return "induction"
        case Reduced(evidence=inner):
            return f"{_method(inner)}, on a smaller net"


def _explored(evidence: Explored) -> Certificate:
    data = {"markings": evidence.markings, "firings": evidence.firings, "reduced": evidence.reduced}
    return Certificate("explored", data)


def _rank(evidence: RankTheorem, pt: PTNet) -> Certificate:
    data = {
        "places": dict(zip(pt.places, evidence.place_invariant, strict=True)),
        "transitions": dict(zip((*pt.transitions, "again"), evidence.transition_invariant, strict=True)),
        "rank": evidence.rank,
        "clusters": evidence.clusters,
    }
    return Certificate("rank theorem", data)
