"""DATA-1, 2, 3: guards leave no gap or overlap, policies say something, commits get what they rely on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations, islice
from typing import Literal, TypeAlias

import z3

from provenet.nets.expr.ast import And, Expr, Not, Var, free_variables, substitute
from provenet.nets.net import Auto, ContractInfo, Explain, Net, Read, Requirement, Take, Transition
from provenet.nets.schema import Type
from provenet.verify.context import Answer, Candidate, Context, Open, Proved
from provenet.verify.graph import Graph
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.questions import Question
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.trace import SymRun, choices_of_tokens
from provenet.verify.verdict import Certificate, Status, Verdict

_CHOICES = "guards of a choice are exhaustive and disjoint"
_POLICIES = "policies are neither unsatisfiable nor vacuous"
_MOST_WAYS = 64
_GUARDS = {"gap": "no guard", "overlap": "more than one guard"}
_IMPLIED = "each commit's precondition is implied by what was verified"


def choices(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """DATA-1: for immediate transitions with the same input arcs.

    A choice need not be exhaustive where something else takes the token that waits for it, such as a timer.
    """
    clusters = list(_clusters(ctx.net))
    if not clusters:
        yield vacuous("DATA-1", _CHOICES, "the net has no guarded choice")
        return
    checked, waiting = [], []
    for cluster in clusters:
        names = ", ".join(t.name for t in cluster)
        if all(t.guard is not None for t in cluster) and _may_wait(ctx.net, cluster):
            waiting.append(names)
        for kind, condition in _faults(ctx.net, cluster):
            answer = ready_together(ctx, cluster, condition)
            if not isinstance(answer, Proved):
                yield verdict(
                    "DATA-1",
                    _CHOICES,
                    answer,
                    net=ctx.net,
                    subject=names,
                    broken=f"{_GUARDS[kind]} of the choice between {names} holds",
                    mend="let the last guard be the negation of the others"
                    if kind == "gap"
                    else "make the guards exclude each other",
                )
                return
        checked.append(names)
    yield proved(
        "DATA-1",
        _CHOICES,
        "solver",
        Certificate("structure", {"choices": checked}),
        subject=f"{len(checked)} choices",
        reason=f"disjoint; other transitions take what no guard lets pass of {'; '.join(waiting)}"
        if waiting
        else "",
    )


def policies(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """DATA-2: some proposal passes each policy, and each rule refuses some proposal."""
    net = ctx.net
    with_rules = [c for c in net.contracts if c.rules]
    if not with_rules:
        yield vacuous("DATA-2", _POLICIES, "the net has no policy; verifiers that are functions are opaque")
    for info in with_rules:
        yield _policy(ctx, info)


def implied(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """DATA-3: wherever a transition with ``requires`` fires, its condition holds."""
    net = ctx.net
    asked = [t for t in net.transitions if t.requires is not None]
    if not asked:
        yield vacuous("DATA-3", _IMPLIED, "no transition declares what it requires")
    for t in asked:
        assert t.requires is not None
        answer = _breaks(ctx, t)
        yield verdict(
            "DATA-3",
            _IMPLIED,
            answer,
            net=net,
            subject=t.name,
            broken=f"{t.name!r} becomes possible with its precondition broken",
            mend="verify the precondition in the policy of the contract",
        )


CATALOGUE = (
    Property("DATA-1", _CHOICES, choices),
    Property("DATA-2", _POLICIES, policies),
    Property("DATA-3", _IMPLIED, implied),
)


def _clusters(net: Net) -> Iterator[list[Transition]]:
    """Immediate transitions with the same input arcs, at least two, at least one guarded."""
    groups: dict[tuple[object, ...], list[Transition]] = {}
    for t in net.transitions:
        if isinstance(t.trigger, Auto | Explain) and t.takes:
            key = (
                tuple(sorted((a.place, a.weight) for a in t.takes)),
                tuple(sorted((a.place, a.weight) for a in t.reads)),
            )
            groups.setdefault(key, []).append(t)
    for group in groups.values():
        if len(group) > 1 and any(t.guard is not None for t in group):
            yield group


def _faults(net: Net, cluster: list[Transition]) -> Iterator[tuple[str, dict[str, Expr]]]:
    """The ways in which a choice may fail.

    Each as conditions by transition name, all of which must hold together.
    """
    if all(t.guard is not None for t in cluster) and not _may_wait(net, cluster):
        yield "gap", {t.name: Not(t.guard) for t in cluster if t.guard is not None}
    for a, b in combinations(cluster, 2):
        both = {t.name: t.guard for t in (a, b) if t.guard is not None}
        yield "overlap", both


def _may_wait(net: Net, cluster: list[Transition]) -> bool:
    """Whether another transition takes a token that the guards ask about, so that it may wait there."""
    taken = [(a, t.guard) for t in cluster for a in t.takes]
    asked = {a.place for a, guard in taken if guard is not None and a.var in free_variables(guard)}
    places, names = asked or {a.place for a, _ in taken}, {t.name for t in cluster}
    return any(t.name not in names for place in places for t in net.taking(place))


_Slot: TypeAlias = tuple[str, str, int]
"""One token that a transition needs: taken or read, from which place, and how manieth of these."""


def _slots(t: Transition) -> list[tuple[_Slot, str | None]]:
    """The tokens that a transition needs, with their variables, in one order for a whole cluster."""
    found: list[tuple[_Slot, str | None]] = []
    arcs: tuple[tuple[str, tuple[Take | Read, ...]], ...] = (("take", t.takes), ("read", t.reads))
    for kind, some in arcs:
        counts: Counter[str] = Counter()
        for arc in sorted(some, key=lambda a: (a.place, a.weight)):
            for _ in range(arc.weight):
                found.append(((kind, arc.place, counts[arc.place]), arc.var))
                counts[arc.place] += 1
    return found


def _at_hand(graph: Graph, state: int, t: Transition) -> bool:
    """Whether there are as many tokens as a transition needs."""
    needed = Counter(key[1] for key, _ in _slots(t))
    return all(graph.count(state, place) >= n for place, n in needed.items())


def ready_together(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> Answer:
    """Whether tokens can lie ready for a choice with all the conditions true."""
    if not _together(ctx, cluster, conditions):
        return Proved(Certificate("structure", {}), "solver")
    slots = _slots(cluster[0])

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        ways = []
        for chosen in islice(choices_of_tokens(run, [(key[1], var) for key, var in slots]), _MOST_WAYS):
            tokens = {key: k.value for (key, _), k in zip(slots, chosen, strict=True)}
            ways.append(z3.And(*_encoded(ctx.net, enc, cluster, conditions, tokens)))
        return [z3.Or(*ways)]

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if _at_hand(graph, state, cluster[0]):
                yield Candidate(graph.path(state), extra)

    answer = ctx.search(find)
    if isinstance(answer, Open):
        return _by_facts(ctx, cluster, conditions) or answer
    return answer


def _by_facts(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> Answer | None:
    """Whether the tokens that get there rule the fault out, by per-place facts of the net with a probe."""
    first = cluster[0]
    parts = []
    for t in cluster:
        if t.name in conditions:
            renamed: dict[str, Expr] = {
                mine: Var(own)
                for (_, own), (_, mine) in zip(_slots(first), _slots(t), strict=True)
                if own is not None and mine is not None
            }
            if not free_variables(conditions[t.name]) <= set(renamed):
                return None
            parts.append(substitute(conditions[t.name], renamed))
    condition = And(tuple(parts))
    probe = replace(
        first,
        name=f"?probe {first.name}",
        guard=None,
        puts=(),
        fresh=(),
        ensures=None,
        requires=None,
        trigger=Auto(),
    )
    net = replace(ctx.net, transitions=(*ctx.net.transitions, probe))
    answer = ctx.never_fires([Question(probe.name, condition)], net=net)
    return answer if isinstance(answer, Proved) else None


def _together(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> bool:
    """Whether the conditions can hold together for some tokens at all."""
    enc = ctx.encoding
    try:
        tokens: dict[_Slot, SymValue] = {}
        query: list[z3.BoolRef] = []
        for number, (key, _) in enumerate(_slots(cluster[0])):
            of = ctx.net.place(key[1]).type
            tokens[key] = enc.fresh(f"{key[1]}!{number}", of)
            query.append(enc.inhabits(tokens[key], of))
        query += _encoded(ctx.net, enc, cluster, conditions, tokens)
    except Opaque:
        return True
    return bool(enc.check(query, ctx.remaining_ms()) != z3.unsat)


def _encoded(
    net: Net,
    enc: Encoding,
    cluster: list[Transition],
    conditions: dict[str, Expr],
    tokens: dict[_Slot, SymValue],
) -> list[z3.BoolRef]:
    out = []
    for t in cluster:
        if t.name in conditions:
            env = {var: tokens[key] for key, var in _slots(t) if var is not None}
            scope = {v: o for v, o in net.scope(t).items() if v in env}
            out.append(enc.encode_bool(conditions[t.name], env, scope))
    return out


def _policy(ctx: Context, info: ContractInfo) -> Verdict:
    subject = f"{info.id}: {info.policy}"
    types: dict[str, Type] = {"proposal": info.proposal, "inputs": info.inputs}
    try:
        enc = Encoding.for_exprs([(r.expr, types) for r in info.rules])
        env = {name: enc.fresh(name, of) for name, of in types.items()}
        inhabited = [enc.inhabits(env[name], of) for name, of in types.items()]
        rules = [enc.encode_bool(r.expr, env, types) for r in info.rules]
    except Opaque as error:
        return verdict("DATA-2", _POLICIES, Open(str(error)), net=ctx.net, subject=subject)
    passing = _satisfiable(ctx, enc, [*inhabited, *rules])
    if passing == "no":
        return _broken_policy(subject, "no proposal whatever passes the policy: it is unsatisfiable")
    for r, encoded in zip(info.rules, rules, strict=True):
        refusing = _satisfiable(ctx, enc, [*inhabited, z3.Not(encoded)])
        if refusing == "no":
            return _broken_policy(subject, f"the rule {r.name!r} refuses nothing: it is vacuous")
        if "unknown" in (passing, refusing):
            gave_up = Open(f"the solver gave up on the rule {r.name!r}")
            return verdict("DATA-2", _POLICIES, gave_up, net=ctx.net, subject=subject)
    return proved(
        "DATA-2", _POLICIES, "solver", Certificate("policy", {"contract": info.id}), subject=subject
    )


def _broken_policy(subject: str, reason: str) -> Verdict:
    return Verdict(
        "DATA-2",
        _POLICIES,
        Status.REFUTED,
        "solver",
        reason,
        subject,
        certificates=(Certificate("policy", {"contract": subject.split(":", maxsplit=1)[0]}),),
        mend="mend or drop the rule",
    )


def _satisfiable(
    ctx: Context, enc: Encoding, constraints: list[z3.BoolRef]
) -> Literal["yes", "no", "unknown"]:
    """Whether constraints hold together for some values."""
    # Either may ask, whatever the names stand for; the net's own encoding has a solver at hand.
    asked = ctx.encoding if enc.strings == ctx.encoding.strings else enc
    answer = asked.check(constraints, ctx.remaining_ms())
    return "no" if answer == z3.unsat else "yes" if answer == z3.sat else "unknown"


def _breaks(ctx: Context, t: Transition) -> Answer:
    """Whether a transition gets ready with its ``requires`` false; the trace ends just before it."""
    assert t.requires is not None
    wrong: Expr = Not(t.requires)
    answer = ctx.requires_hold(t)
    if isinstance(answer, Proved):
        return answer
    outside = {f.var: f for f in t.fresh}
    slots = [(key[1], var) for key, var in _slots(t)]
    scope = ctx.net.scope(t)

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        last: dict[str, SymValue] = {v: enc.fresh(f"last.{v}", f.type) for v, f in outside.items()}
        promised = [enc.inhabits(last[v], f.type) for v, f in outside.items()]
        ways = []
        for chosen in islice(choices_of_tokens(run, slots), _MOST_WAYS):
            taken = {var: k.value for (_, var), k in zip(slots, chosen, strict=True) if var is not None}
            conditions = [e for e in (t.guard, t.ensures, wrong) if e is not None]
            ways.append(z3.And(*(enc.encode_bool(e, taken | last, scope) for e in conditions)))
        return [*promised, z3.Or(*ways)]

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if _at_hand(graph, state, t):
                yield Candidate(graph.path(state), extra)

    return ctx.search(find)
