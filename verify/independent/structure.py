"""What the arcs and guards of a net show by themselves, without any evidence: SDB-2, 3, 4, 6 and DATA-1.

Where guards have to exclude or to cover each other, an obligation says so about all values of the tokens'
types. A guard that needs to know more of its tokens is beyond this: then nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from provenet.nets.expr.ast import Compare, Const, Expr, Get, Not, Or, Var, free_variables
from provenet.nets.net import Auto, Explain, Net, Read, Role, Take, Transition
from provenet.nets.schema import INT, IntType, RecordType, UnitType
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.smtlib import Obligation, Script, Term, conjuncts, equal

_LOOP = (Role.PROPOSE, Role.FAULT, Role.REJECT, Role.RETRY)


def rejects_handled(net: Net, contract: str) -> Iterator[Obligation]:
    """SDB-2: only a retry or a giving up takes a reject, one of them always can, and it is never a commit."""
    allowed = list(net.by_role(Role.RETRY, Role.GIVE_UP, contract=contract))
    rejects = list(net.by_role(Role.REJECT, Role.FAULT, contract=contract))
    if not contract or not rejects:
        raise Refused(f"{contract!r} has no reject")
    places = dict.fromkeys(p.place for t in rejects for p in t.puts)
    if not all(t.puts for t in rejects):
        raise Refused("a reject leaves nothing behind")
    for place in places:
        takers = [t for t in net.transitions if any(a.place == place for a in t.takes)]
        if any(t not in allowed for t in takers):
            raise NotHere(
                f"something else takes from {place!r}, too: whether after a reject, only the engines tell"
            )
        alone = [t for t in takers if len(t.takes) == 1 and t.takes[0].weight == 1 and not t.reads]
        if not alone:
            raise NotHere(f"what takes from {place!r} needs other tokens, too")
        if all(t.guard is not None for t in alone):
            yield _excluded(net, alone, "gap", f"no reject in {place!r} is left by all of {_names(alone)}")
    for give_up in net.by_role(Role.GIVE_UP, contract=contract):
        for commit in net.by_role(Role.COMMIT, contract=contract):
            yield from _told_apart(net, give_up, commit)


def deterministic(net: Net, contract: str) -> Iterator[Obligation]:
    """SDB-3: a policy gives the verdict, and no proposal is both accepted and rejected."""
    accepts = list(net.by_role(Role.ACCEPT, contract=contract))
    rejects = list(net.by_role(Role.REJECT, contract=contract))
    if not contract or not accepts:
        raise Refused(f"{contract!r} has no accept")
    for t in (*accepts, *rejects):
        if not isinstance(t.trigger, Auto | Explain) or (t.ensures is not None and t.fresh):
            raise NotHere(f"the verdict of {contract!r} comes from outside the net")
        _proposal_decides(net, t)
    for a in accepts:
        for b in rejects:
            if not _needed(a) & _needed(b):
                raise NotHere(f"{a.name!r} and {b.name!r} may each have a copy of one proposal")
            yield _excluded(net, (a, b), "overlap", f"{a.name!r} and {b.name!r} exclude each other")


def _needed(t: Transition) -> set[str]:
    return {x.place for x in t.takes} | {x.place for x in t.reads}


def _proposal_decides(net: Net, t: Transition) -> None:
    """That a guard reads the proposal only: of other tokens, accept and reject may choose different ones."""
    if t.guard is None:
        return
    arcs: tuple[Take | Read, ...] = (*t.takes, *t.reads)
    read = {a.var: net.place(a.place).type for a in arcs if a.var is not None}
    info = next((c for c in net.contracts if c.id == t.contract), None)
    about = [v for v, of in read.items() if isinstance(of, RecordType) and of.field("proposal")]
    about = about or [v for v, of in read.items() if info is not None and of == info.proposal] or list(read)
    if len(about) > 1 or not free_variables(t.guard) <= set(about):
        raise NotHere(f"the guard of {t.name!r} reads more than its proposal: which token, only engines tell")


def fresh(net: Net, contract: str) -> str:
    """SDB-6, where nothing ever takes away what the verifier has read."""
    accepts = list(net.by_role(Role.ACCEPT, contract=contract))
    if not contract or not accepts:
        raise Refused(f"{contract!r} has no accept")
    read = {a.place for t in accepts for a in t.reads}
    read |= {a.place for t in accepts for a in t.takes if any(p.place == a.place for p in t.puts)}
    for t in net.transitions:
        back = {(p.place, p.expr) for p in t.puts}
        for place in read & set(t.resets):
            raise NotHere(f"{t.name!r} empties {place!r}, which the verifier of {contract!r} reads")
        for a in t.takes:
            if a.place in read and (a.var is None or (a.place, Var(a.var)) not in back):
                raise NotHere(f"{t.name!r} takes from {a.place!r}, which the verifier of {contract!r} reads")
    return (
        f"nothing takes from {', '.join(map(repr, sorted(read)))}" if read else "it reads only what it takes"
    )


def attempts(net: Net, contract: str, field: str) -> Iterator[Obligation]:
    """SDB-4: a field of the loop's token counts the attempts of one begin, up to the declared number.

    Floyd ("Assigning meanings to programs", 1967): the begin puts 1 at least, every retry adds 1 at least and
    leaves no more than the bound, nothing else lowers it; between two retries the model is asked once.
    """
    info = next((c for c in net.contracts if c.id == contract), None)
    loop = list(net.by_role(*_LOOP, contract=contract))
    if info is None or info.attempts < 1 or not loop:
        raise Refused(f"{contract!r} declares no number of attempts")
    places = {a.place for t in loop for a in t.takes}
    begins = list(net.by_role(Role.BEGIN, contract=contract))
    _one_lap(net, loop, begins, places)
    retries = [t for t in loop if t.role is Role.RETRY]
    if not retries:
        return
    for t in (*begins, *loop):
        for put in (p for p in t.puts if p.place in places):
            yield _counts(net, t, put.place, field, places, info.attempts)


def choices(net: Net) -> Iterator[Obligation]:
    """DATA-1: guards of immediate transitions with the same inputs exclude each other and leave no gap."""
    for group in clusters(net):
        for a, b in combinations(group, 2):
            yield _excluded(net, (a, b), "overlap", f"{a.name!r} and {b.name!r} exclude each other")
        if all(t.guard is not None for t in group) and not _may_wait(net, group):
            yield _excluded(net, group, "gap", f"one of {_names(group)} is always open")


def _may_wait(net: Net, group: Sequence[Transition]) -> bool:
    """Whether anything else takes a token that the guards of a choice ask about."""
    taken = [(a, t.guard) for t in group for a in t.takes]
    asked = {a.place for a, guard in taken if guard is not None and a.var in free_variables(guard)}
    places = asked or {a.place for a, _ in taken}
    return any(a.place in places for t in net.transitions if t not in group for a in t.takes)


def clusters(net: Net) -> list[list[Transition]]:
    """The choices: immediate transitions with the same inputs, two or more, not all of them unguarded."""
    groups: dict[object, list[Transition]] = {}
    for t in net.transitions:
        if isinstance(t.trigger, Auto | Explain) and t.takes:
            groups.setdefault(_arcs(t), []).append(t)
    return [g for g in groups.values() if len(g) > 1 and any(t.guard is not None for t in g)]


# obligations


def _excluded(net: Net, group: Sequence[Transition], kind: str, name: str) -> Obligation:
    """That no tokens meet all guards of a group (``overlap``), or none of them (``gap``)."""
    s = Script()
    if len({_arcs(t) for t in group}) > 1:
        raise NotHere(f"{_names(group)} compete by different arcs")
    tokens: dict[tuple[str, str, int], Term] = {}
    claims: list[str] = []
    for t in group:
        env: dict[str, Term] = {}
        for slot, var in _slots(t):
            of = net.place(slot[1]).type
            if slot not in tokens:
                tokens[slot] = s.value(f"{slot[0]} {slot[1]}", of)
                claims += s.inhabits(tokens[slot], of)
            if var is not None:
                env[var] = tokens[slot]
        if t.guard is not None:
            said = s.condition(t.guard, env, net.scope(t))
            claims.append(f"(not {said})" if kind == "gap" else said)
    return s.obligation(name, claims)


def _told_apart(net: Net, give_up: Transition, commit: Transition) -> Iterator[Obligation]:
    """That a given-up proposal leaves no token that a commit leaves, too."""
    for a in give_up.puts:
        for b in commit.puts:
            if a.place != b.place:
                continue
            of = net.place(a.place).type
            if a.expr is None or b.expr is None or isinstance(of, UnitType):
                raise NotHere(f"{give_up.name!r} and {commit.name!r} put alike tokens into {a.place!r}")
            s = Script()
            tokens = []
            for t, expr in ((give_up, a.expr), (commit, b.expr)):
                scope = net.scope(t)
                env = {v: s.value(f"{t.name}.{v}", kind) for v, kind in scope.items()}
                tokens.append(s.fitted(expr, env, scope, of))
            name = f"{give_up.name!r} leaves no token in {a.place!r} that {commit.name!r} leaves"
            yield s.obligation(name, [equal(tokens[0], tokens[1])])


def _counts(net: Net, t: Transition, place: str, field: str, places: set[str], bound: int) -> Obligation:
    s = Script()
    put = next(p for p in t.puts if p.place == place)
    scope = net.scope(t)
    taken = next((a for a in t.takes if a.place in places and a.var is not None), None)
    of = net.place(place).type
    part = of.field(field) if isinstance(of, RecordType) else None
    if put.expr is None or part is None or not isinstance(part.type, IntType):
        raise Refused(f"the tokens of {place!r} have no counter {field!r}")
    after: Expr = Get(put.expr, field)
    one = Const(1, INT)
    if t.role is Role.BEGIN:
        wanted: list[Expr] = [Compare(">=", after, one)]
    elif taken is None or taken.var is None:
        raise Refused(f"{t.name!r} takes no counter of the loop")
    else:
        before: Expr = Get(Var(taken.var), field)
        wanted = [Compare(">" if t.role is Role.RETRY else ">=", after, before)]
        wanted += [Compare("<=", after, Const(bound, INT))] if t.role is Role.RETRY else []
    env = {v: s.value(v, kind) for v, kind in scope.items()}
    claims = [promise for v, kind in scope.items() for promise in s.inhabits(env[v], kind)]
    for guard in conjuncts(t.guard) if t.guard is not None else ():
        try:
            claims.append(s.condition(guard, env, scope))
        except NotHere:
            continue  # not assumed, which is weaker
    claims.append(s.condition(Or(tuple(Not(w) for w in wanted)), env, scope))
    return s.obligation(f"{t.name!r} counts the attempts up to {bound}", claims)


def _one_lap(net: Net, loop: Sequence[Transition], begins: Sequence[Transition], places: set[str]) -> None:
    """Refuse a loop that anything else puts into, that forks, or that asks twice between two retries."""
    if any(p in places for p, tokens in net.initial if tokens) or any(e.place in places for e in net.entries):
        raise Refused("a case starts inside the loop")
    for t in net.transitions:
        put = sum(p.weight for p in t.puts if p.place in places)
        if put > (1 if t in loop or t in begins else 0):
            raise Refused(f"{t.name!r} puts a token into the loop, beside the begin")
    for t in loop:
        if sum(a.weight for a in t.takes if a.place in places) != 1:
            raise Refused(f"{t.name!r} does not move the loop's one token")
    ahead: dict[str, int | None] = {}

    def asks(place: str) -> int:
        """How often the model is asked from here to the next retry, at most."""
        if place in ahead:
            found = ahead[place]
            if found is None:
                raise Refused("the loop goes round without a retry")
            return found
        ahead[place] = None
        most = 0
        for t in loop:
            if t.role is not Role.RETRY and any(a.place == place for a in t.takes):
                here = int(t.role in (Role.PROPOSE, Role.FAULT))
                most = max(most, here, *(here + asks(p.place) for p in t.puts if p.place in places))
        ahead[place] = most
        return most

    if max(map(asks, sorted(places)), default=0) > 1:
        raise Refused("the model is asked more than once between two retries")


def _arcs(t: Transition) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    takes, reads = (tuple(sorted((a.place, a.weight) for a in arcs)) for arcs in (t.takes, t.reads))
    return takes, reads


def _slots(t: Transition) -> Iterator[tuple[tuple[str, str, int], str | None]]:
    """The tokens that a transition needs, numbered within a place, with their variables."""
    both: tuple[tuple[str, tuple[Take | Read, ...]], ...] = (("take", t.takes), ("read", t.reads))
    for kind, arcs in both:
        counts: dict[str, int] = {}
        for arc in sorted(arcs, key=lambda a: (a.place, a.weight)):
            for _ in range(arc.weight):
                counts[arc.place] = counts.get(arc.place, 0) + 1
                yield (kind, arc.place, counts[arc.place]), arc.var


def _names(group: Sequence[Transition]) -> str:
    return ", ".join(t.name for t in group)
