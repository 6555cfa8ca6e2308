"""DATA-1, 2, 3: guards leave no gap and do not overlap, policies say something, commits get what they rely on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import z3

from provenet.nets.expr.ast import And, Expr, Not, Or, free_variables
from provenet.nets.net import Auto, ContractInfo, Explain, Net, Requirement, Transition
from provenet.nets.schema import Type
from provenet.verify.context import Answer, Candidate, Context, Open, Proved
from provenet.verify.graph import Graph
from provenet.verify.properties.common import Property, proved, vacuous, verdict
from provenet.verify.questions import Question
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.trace import SymRun
from provenet.verify.verdict import Certificate, Status, Verdict

_CHOICES = "guards of a choice are exhaustive and disjoint"
_POLICIES = "policies are neither unsatisfiable nor vacuous"
_IMPLIED = "each commit's precondition is implied by what was verified"


def choices(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """DATA-1: for immediate transitions that compete for the same tokens."""
    clusters = list(_clusters(ctx.net))
    if not clusters:
        yield vacuous("DATA-1", _CHOICES, "the net has no guarded choice")
        return
    checked = []
    for cluster in clusters:
        names = ", ".join(t.name for t in cluster)
        for kind, condition in _faults(ctx.net, cluster):
            answer = _reachable(ctx, cluster, condition)
            if not isinstance(answer, Proved):
                yield verdict(
                    "DATA-1",
                    _CHOICES,
                    answer,
                    net=ctx.net,
                    subject=names,
                    broken=f"{'no guard' if kind == 'gap' else 'more than one guard'} of the choice between {names} holds",
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
    """The ways in which a choice may fail; each as conditions by transition name, all of which must hold together."""
    place = cluster[0].takes[0].place
    waits = any(t not in cluster and any(a.place == place for a in t.takes) for t in net.transitions)
    if not waits:
        if all(t.guard is not None for t in cluster):
            yield "gap", {t.name: Not(t.guard) for t in cluster if t.guard is not None}
    for a, b in combinations(cluster, 2):
        both = {t.name: t.guard for t in (a, b) if t.guard is not None}
        yield "overlap", both


def _reachable(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> Answer:
    """Whether tokens can lie ready for a choice with all the conditions true."""
    if not _together(ctx, cluster, conditions):
        return Proved(Certificate("structure", {}), "solver")
    places = [a.place for a in (*cluster[0].takes, *cluster[0].reads)]

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        tokens: dict[str, SymValue] = {}
        for place in places:
            if not run.tokens.get(place):
                return [z3.BoolVal(False)]
            tokens[place] = run.tokens[place][-1].value
        return _encoded(ctx.net, enc, cluster, conditions, tokens)

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if all(graph.count(state, p) for p in places):
                yield Candidate(graph.path(state), extra)

    answer = ctx.search(find)
    if isinstance(answer, Open):
        return _by_facts(ctx, cluster, conditions) or answer
    return answer


def _by_facts(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> Answer | None:
    """Whether the tokens that get there rule the fault out, by per-place facts of the net with a probe."""
    from dataclasses import replace

    from provenet.nets.expr.ast import Var, substitute

    first = cluster[0]
    parts = []
    for t in cluster:
        if t.name in conditions:
            renamed = {
                mine.var: Var(own.var)
                for own, mine in zip(first.takes, t.takes, strict=True)
                if own.var is not None and mine.var is not None
            }
            parts.append(substitute(conditions[t.name], dict(renamed)))
    condition = And(tuple(parts))
    probe = replace(
        first, name="?probe", guard=None, puts=(), fresh=(), ensures=None, requires=None, trigger=Auto()
    )
    if not free_variables(condition) <= set(ctx.net.scope(probe)):
        return None
    net = replace(ctx.net, transitions=(*ctx.net.transitions, probe))
    answer = ctx.never_fires([Question("?probe", condition)], net=net)
    return answer if isinstance(answer, Proved) else None


def _together(ctx: Context, cluster: list[Transition], conditions: dict[str, Expr]) -> bool:
    """Whether the conditions can hold together for some tokens at all."""
    enc = ctx.encoding
    try:
        tokens: dict[str, SymValue] = {}
        solver = z3.SimpleSolver()
        solver.set("timeout", ctx.remaining_ms())
        for arc in (*cluster[0].takes, *cluster[0].reads):
            of = ctx.net.place(arc.place).type
            tokens[arc.place] = enc.fresh(arc.place, of)
            solver.add(enc.inhabits(tokens[arc.place], of))
        solver.add(*_encoded(ctx.net, enc, cluster, conditions, tokens))
    except Opaque:
        return True
    return bool(solver.check() != z3.unsat)


def _encoded(
    net: Net,
    enc: Encoding,
    cluster: list[Transition],
    conditions: dict[str, Expr],
    tokens: dict[str, SymValue],
) -> list[z3.BoolRef]:
    out = []
    for t in cluster:
        if t.name in conditions:
            env = {a.var: tokens[a.place] for a in (*t.takes, *t.reads) if a.var is not None}
            scope = {v: o for v, o in net.scope(t).items() if v in env}
            out.append(enc.encode_bool(conditions[t.name], env, scope))
    return out


def _policy(ctx: Context, info: ContractInfo) -> Verdict:
    subject = f"{info.id}: {info.policy}"
    types: dict[str, Type] = {"proposal": info.proposal, "inputs": info.inputs}
    free = frozenset().union(*(free_variables(r.expr) for r in info.rules))
    if not free <= set(types):
        types |= _taken(ctx.net, info)
    try:
        enc = Encoding.for_exprs([(r.expr, types) for r in info.rules])
        env = {name: enc.fresh(name, of) for name, of in types.items()}
        inhabited = [enc.inhabits(env[name], of) for name, of in types.items()]
        rules = [enc.encode_bool(r.expr, env, types) for r in info.rules]
    except Opaque as error:
        return verdict("DATA-2", _POLICIES, Open(str(error)), net=ctx.net, subject=subject)
    passing = _model(ctx, [*inhabited, *rules])
    if passing is None:
        return _broken_policy(subject, "no proposal whatever passes the policy: it is unsatisfiable")
    for r, encoded in zip(info.rules, rules, strict=True):
        if _model(ctx, [*inhabited, z3.Not(encoded)]) is None:
            return _broken_policy(subject, f"the rule {r.name!r} refuses nothing: it is vacuous")
    return proved(
        "DATA-2", _POLICIES, "solver", Certificate("policy", {"contract": info.id}), subject=subject
    )


def _taken(net: Net, info: ContractInfo) -> dict[str, Type]:
    """Rules may name the variables that the contract takes."""
    out: dict[str, Type] = {}
    for t in net.transitions:
        if t.contract == info.id:
            out = {**net.scope(t), **out}
    return out


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


def _model(ctx: Context, constraints: list[z3.BoolRef]) -> bool | None:
    """True for satisfiable or not known, ``None`` for unsatisfiable."""
    solver = z3.SimpleSolver()
    solver.set("timeout", ctx.remaining_ms())
    solver.add(*constraints)
    return None if solver.check() == z3.unsat else True


def _breaks(ctx: Context, t: Transition) -> Answer:
    """Whether a transition gets ready with its ``requires`` false; the trace ends just before it."""
    assert t.requires is not None
    wrong: Expr = Not(t.requires)
    answer = ctx.requires_hold(t)
    if isinstance(answer, Proved):
        return answer
    outside = {f.var: f for f in t.fresh}
    places = [(a.place, a.var) for a in (*t.takes, *t.reads)]

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        env: dict[str, SymValue] = {}
        for place, var in places:
            if not run.tokens.get(place):
                return [z3.BoolVal(False)]
            if var is not None:
                env[var] = run.tokens[place][-1].value
        parts = []
        for var, fresh in outside.items():
            env[var] = enc.fresh(f"last.{var}", fresh.type)
            parts.append(enc.inhabits(env[var], fresh.type))
        scope = ctx.net.scope(t)
        for e in (t.guard, t.ensures):
            if e is not None:
                parts.append(enc.encode_bool(e, env, scope))
        return [*parts, enc.encode_bool(wrong, env, scope)]

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if all(graph.count(state, p) for p, _ in places):
                yield Candidate(graph.path(state), extra)

    return ctx.search(find)


__all__ = ["CATALOGUE", "Or", "choices", "implied", "policies"]
