"""A net to start from: the recommended patterns, composed, as a Python file that verifies.

What the description says is in it: tokens, sub-tasks, effects and what undoes them. What it cannot say is
left to fill in, and says so when it is run: a model's prompt, an effect's code, the rules of a policy.
Everything in the file is made of names that the description was checked for, so a stranger's description
writes no code of its own; its free texts stand in comments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from textwrap import indent, wrap
from typing import TypeAlias

from provenet.nets.quick import dataclass
from provenet.sdb.decision.record import Record
from provenet.sdb.decision.source import (
    APPROVAL,
    FRONT,
    HEAD,
    WRITE,
    answering,
    call,
    camel,
    effect,
    ident,
    imports,
    own_policy,
    plain,
    proposer,
    quoted,
    section,
    span,
    token,
)
from provenet.sdb.decision.workload import Act, Fields, Part, Workload

PEERS_AT_ONCE = 2
"""Writers that go side by side. More go in waves: a proof counts the orders in which they commit, and finds
no end of eight at once, where two by two take seconds."""

_Stage: TypeAlias = Callable[[str], Iterator[str]]
"""The lines that build a part of the net, given the place that it begins at."""

_WIDTH = 108
_KINDS = {"text": "str", "whole number": "int", "yes or no": "bool", "point in time": "datetime"}
_OURS = ("Any", "Callable", "Findings", "Literal", "Outcome", "StillRight", "Work", "Write", "Writer")
_REQUIRED = (
    *("SDB", "SAGA", "CTL-1", "CTL-2", "CTL-3", "STATE-1", "STATE-2", "STATE-3", "STATE-4", "DATA", "EVT"),
)


def skeleton(workload: Workload, record: Record) -> str:
    """The text of the file.

    Args:
        workload: The workload.
        record: Its decision record.
    """
    return _Skeleton(workload, record).text()


@dataclass(frozen=True, slots=True)
class _Writer:
    """Somebody who writes outside, with the names of what is made for it.

    Attributes:
        name: Its name.
        says: The class of what it proposes.
        asked: The class of what its gate judges.
        act: What it does.
        gives: The fields of what it proposes.
        within: Its deadline.
    """

    name: str
    says: str
    asked: str
    act: Act
    gives: Fields
    within: timedelta | None


class _Skeleton:
    """One file, and who is who in it."""

    def __init__(self, w: Workload, record: Record) -> None:
        self.w, self.record = w, record
        self.names = _Names()
        self.unit = self.names.make(w.unit.called, other="Input")
        self.names.taken |= {p.name for p in w.parts}
        readers = [p for p in w.parts if p.effect is None]
        # A child never writes. Where all parts write, they are peers, and the join merges by rule.
        self.children = readers if "P1" in record.coordination else []
        peers = [p for p in w.parts if p not in self.children] if "P2" in record.coordination else []
        self.readers = [p for p in peers if p.effect is None]
        self.writers = [self._writer(p.name, p, p.gives, p.within) for p in peers if p.effect is not None]
        self.owned = [self._writer(self.names.make(ident(a.effect)), a, {}, None) for a in w.effects]
        self.acting = (*self.writers, *self.owned)
        self.says = {p.name: self.names.make(f"{camel(p.name)}Says") for p in (*self.children, *self.readers)}
        self.is_alone = not record.coordination
        self.consults = bool(self.children) or self.is_alone
        self.plan = "Findings" if self.consults else self.unit
        """The class of what is known before anything is done."""
        self.has_scope = bool(self.acting or self.readers)
        self.pauses = record.spine == "P5"
        self.asks = "P6" in record.control
        self.drops = w.tasks is not None and w.tasks.partial_useful
        self.may_lose = self.pauses or bool(self.owned)
        self.may_be_unanswered = self.is_alone or (bool(self.children) and not self.drops)

    def _writer(self, name: str, act: Act | Part, gives: Fields, within: timedelta | None) -> _Writer:
        assert act.effect is not None
        one = Act(effect=act.effect, undo=act.undo, irreversible=act.irreversible)
        says = self.names.make(f"{camel(name)}Says")
        asked = self.names.make(f"{camel(name)}Asked")
        # Whoever waits for a person waits as long as the person may take.
        return _Writer(name, says, asked, one, gives, None if one.irreversible else within)

    def text(self) -> str:
        """The file."""
        body = "\n\n\n".join(
            (
                section("Tokens", self._tokens()),
                section("What models propose", self._proposers()),
                section("What reaches the outside", self._effects()),
                section("What is checked, by rule, of every proposal", self._policies()),
                section("The net", self._net()),
            )
        )
        r = self.record
        about = [f"# {plain(r.workload)}: {r.on.isoformat()}, for {plain(r.model)}"]
        about += wrap(plain(self.w.about), _WIDTH, initial_indent="# ", subsequent_indent="# ")
        about += ["#", *(f"#   {line.subject:<14}{line.choice}" for line in r.lines[:4])]
        future = "from __future__ import annotations"
        return "\n\n".join([HEAD, "\n".join(about), future, imports(body), f"\n{body}\n"])

    # its sections

    def _tokens(self) -> Iterator[str]:
        yield token(self.unit, "What a case begins with.", {"id": "str", **_typed(self.w.unit.fields)})
        for p in (*self.children, *self.readers):
            about = f"What {p.name!r} proposes; `task` is the id of the case that it is about."
            yield token(self.says[p.name], about, {"task": "str", **_typed(p.gives)})
        held = {p.name: self.says[p.name] + (" | None" if self.drops else "") for p in self.children}
        if self.is_alone:
            held = {"work": "Work"}
            yield token(
                "Work", "What the agent proposes; FILL IN its fields.", {"task": "str", "says": "str"}
            )
        if self.consults:
            about = "What is known before anything is done."
            yield token("Findings", about, {"id": "str", "task": self.unit, **held})
        if self.pauses:
            about = "Whether what was found before a pause is right after it."
            yield token("StillRight", about, {"task": "str", "right": "bool"})
        for w in self.acting:
            about = f"What {w.name!r} proposes to do: what {w.act.effect} is given."
            yield token(w.says, about, {"task": "str", **_typed(w.gives)})
            about = f"What the gate before {w.act.effect} judges."
            yield token(w.asked, about, {"inputs": self.plan, "says": w.says})
        results = dict.fromkeys(result for _, _, result, _ in self._ends(""))
        results |= dict.fromkeys(["failed"] if self.readers or self.writers else [])
        results |= dict.fromkeys(["killed"] if self.has_scope else [])
        one_of = ", ".join(map(quoted, results))
        yield token("Outcome", "How a case ends.", {"result": f"Literal[{one_of}]", "why": "str"})

    def _proposers(self) -> Iterator[str]:
        model = quoted(plain(self.record.model))
        yield f"# FILL IN each: a function like these, or a model: model({model}, prompt=...)"
        for p in self.children:
            yield proposer(p.name, self.unit, self.says[p.name])
        if self.is_alone:
            yield proposer("work", self.unit, "Work")
        if self.pauses:
            yield proposer("look_again", self.plan, "StillRight")
        for p in self.readers:
            yield proposer(p.name, self.plan, self.says[p.name])
        for w in self.acting:
            yield proposer(w.name, self.plan, w.says)

    def _effects(self) -> Iterator[str]:
        if not self.acting:
            yield "# Nothing of it does."
            return
        yield (
            "# FILL IN each: the same request.key is the same effect, however often it comes. What cannot\n"
            "# happen raises EffectRefused; whatever else is raised may have happened, and is tried again."
        )
        for w in self.acting:
            yield effect(w.act.effect, w.says, ", tries=None")
            if w.act.undo is not None:
                yield effect(w.act.undo, w.says)

    def _policies(self) -> Iterator[str]:
        names = [*(p.name for p in (*self.children, *self.readers)), *(["work"] if self.is_alone else [])]
        if names or self.pauses:
            own = "lambda proposal, inputs: proposal.task == inputs.id"
            yield f'OWN = rule("about its own task", {own}, field="task")'
        if self.pauses:
            right = 'rule("still right", lambda proposal: proposal.right, field="right")'
            yield own_policy("look_again", "OWN", right)
        for name in names:
            yield own_policy(name, "OWN")
        if self.acting:
            yield (
                'NAMED = rule("names its task", lambda proposal: proposal.task != "", field="task")\n'
                "ALLOWED = rule(\n"
                '    "about its own task", lambda proposal: proposal.says.task == proposal.inputs.id, '
                'field="says.task"\n)'
            )

    def _net(self) -> Iterator[str]:
        if self.acting:
            needs_approval = any(w.act.irreversible for w in self.acting)
            trail = "    on: Any = None\n" if needs_approval else ""
            approval = indent(APPROVAL, " " * 8) if needs_approval else ""
            yield WRITE.replace("    TRAIL\n", trail).replace("APPROVAL\n", approval)
            yield "\n".join(map(_one_who_writes, self.acting))
        for p in self.children:
            yield answering(p.name, self.says[p.name], attempts=1)
        for p in self.readers:
            yield answering(p.name, self.says[p.name], attempts=2)
        if self.asks:
            yield f"ROLE = {quoted(self.w.risk.role)}\nDECIDE_WITHIN = {span(self.w.risk.decide_within)}"
        yield "\n".join(self._agent())

    # the net

    def _agent(self) -> Iterator[str]:
        yield "def agent() -> Agent:"
        yield '    """The agent: the net, with what its names stand for."""'
        yield f"    net = NetBuilder({quoted(plain(self.w.workload))})"
        yield f'    begin = net.entry("begin", {self.unit})'
        yield '    done, stopped = net.final("done", Outcome), net.final("stopped", Outcome)'
        if self.may_be_unanswered:
            yield f'    unanswered = net.place("unanswered", {self.unit})'
        if self.may_lose:
            yield f'    lost = net.place("lost", {self.plan})'
        if self.asks:
            yield f'    denied = net.place("denied", {self.plan})'
            yield '    trail = net.add(Oversight("oversight", policy="oversight v1"))'
        if self.has_scope:
            yield '    scope = net.add(Saga("case", outcome=Outcome, completes=done, aborts=stopped))'
        at = "begin"
        for stage, to in self._stages():
            yield ""
            yield from stage(at)
            at = to
        yield ""
        yield from self._ending(at)
        yield "    return Agent.of(net)"

    def _stages(self) -> Iterator[tuple[_Stage, str]]:
        """What comes one after the other: the lines that build it, and the place that it leads to."""
        if self.is_alone:
            yield self._work, "findings"
        elif self.consults:
            yield self._delegation, "findings"
        if self.pauses:
            yield self._machine, "acting"
        if self.asks:
            yield self._approval, "approved"
        names = [*(p.name for p in self.readers), *(w.name for w in self.writers)]
        for number, wave in enumerate(_waves(names), 1):
            yield self._scatter(number, wave), f"written_{number}"
        for number, w in enumerate(self.owned):
            if number:
                yield self._on(w), f"before_{w.name}"
            yield self._own(w), f"after_{w.name}"

    def _work(self, at: str) -> Iterator[str]:
        yield '    findings = net.place("findings", Findings)'
        yield call(
            "net.add",
            _lines(
                "Contract(",
                '    "work",',
                f"    takes={at},",
                "    gives=findings,",
                "    propose=function(propose_work),",
                "    returns=Work,",
                "    verify=WORK_POLICY,",
                "    emit=lambda inputs, proposal: make(Findings, id=inputs.id, task=inputs, work=proposal),",
                "    otherwise=unanswered,",
                ")",
            ),
        )

    def _delegation(self, at: str) -> Iterator[str]:
        names = [p.name for p in self.children]
        merged = ", ".join(["id=inputs.id", "task=inputs", *(f"{n}={n}" for n in names)])
        yield '    findings = net.place("findings", Findings)'
        yield "    net.add(  # P1: the owner merges by a rule, and has the one budget of retries"
        yield "        Delegation("
        yield '            "consult",'
        yield f"            takes={at},"
        yield "            gives=findings,"
        yield "            children=["
        for p in self.children:
            within = span(p.within)
            child = f"{quoted(p.name)}, {self.says[p.name]}, ask_{p.name}, within={within}"
            yield f"                Child({child}),"
        yield "            ],"
        yield f"            merge=lambda {', '.join(['inputs', *names])}: make("
        yield f"                Findings, {merged}"
        yield "            ),"
        yield '            partial="drop",' if self.drops else '            partial="fail fast",'
        if not self.drops:
            yield "            fails=unanswered,"
        yield "            retries=2,"
        yield "        )"
        yield "    )"

    def _machine(self, at: str) -> Iterator[str]:
        assert self.w.pauses is not None
        longest = span(self.w.pauses.longest or timedelta(days=30))
        waits = plain(", ".join(self.w.pauses.waits_on)) or "time"
        yield f'    back, acting = net.place("back", {self.plan}), net.place("acting", {self.plan})'
        yield "    net.add(  # P5: the row outlives every process; FILL IN its other states and moves"
        yield "        StateMachine("
        yield '            "row",'
        yield f"            takes={at},"
        yield '            states=("waiting", "back", "given up"),'
        yield "            moves=["
        yield f"                # waits on {waits}"[:_WIDTH]
        yield '                Move("go on", at="waiting", to="back", on="go on"),'
        yield f'                Move("give up waiting", at="waiting", to="given up", after={longest}),'
        yield "            ],"
        yield '            ends={"back": back, "given up": lost},'
        if self.has_scope:
            yield "            scope=scope,"
        yield "        )"
        yield "    )"
        yield "    # The world may have changed meanwhile."
        yield call(
            "net.add",
            _lines(
                "Contract(",
                '    "look again",',
                "    takes=back,",
                "    gives=acting,",
                "    propose=function(propose_look_again),",
                "    returns=StillRight,",
                "    verify=LOOK_AGAIN_POLICY,",
                "    emit=lambda inputs: inputs,",
                "    attempts=1,",
                "    otherwise=lost,",
                ")",
            ),
        )

    def _approval(self, at: str) -> Iterator[str]:
        yield f'    approved = net.place("approved", {self.plan})'
        yield "    # P6: no answer in time is a no. FILL IN: an Escalation where somebody else has to look."
        yield call(
            "net.add",
            _lines(
                "Approval(",
                '    "approve",',
                "    on=trail,",
                f"    takes={at},",
                "    approve=approved,",
                "    deny=denied,",
                "    who=ROLE,",
                "    within=DECIDE_WITHIN,",
                '    why="before anything is done",',
                ")",
            ),
        )

    def _scatter(self, number: int, wave: Sequence[str]) -> _Stage:
        def lines(at: str) -> Iterator[str]:
            yield f'    written_{number} = net.place("written {number}", {self.plan})'
            yield "    net.add(  # P2: all of it stays, or none"
            yield "        ScatterGather("
            yield f'            "write {number}",'
            yield f"            takes={at},"
            yield "            scope=scope,"
            yield "            peers=["
            for name in wave:
                yield f"                {self._peer(name)},"
            yield "            ],"
            given = ", ".join(["inputs", *wave])
            yield f"            merge=lambda {given}: inputs,  # FILL IN: what is kept of it"
            yield '            fails=lambda why: make(Outcome, result="failed", why=why),'
            yield f"            gives=written_{number},"
            yield "        )"
            yield "    )"

        return lines

    def _peer(self, name: str) -> str:
        reader = next((p for p in self.readers if p.name == name), None)
        if reader is not None:
            return f"Peer({quoted(name)}, {self.says[name]}, ask_{name}, within={span(reader.within)})"
        w = next(w for w in self.writers if w.name == name)
        within = "" if w.within is None else f", within={span(w.within)}"
        write = f"Write(at, scope, {name.upper()}_WRITER{_trail(w)})"
        return f"Peer({quoted(name)}, {w.says}, lambda at: {write}{within})"

    def _on(self, w: _Writer) -> _Stage:
        """On to the next effect, unless the scope aborts: nothing follows what is in flight then."""

        def lines(at: str) -> Iterator[str]:
            yield f'    before_{w.name} = net.place("before {w.name}", {self.plan})'
            yield call(
                "net.route",
                quoted(f"on to {w.name}"),
                f'takes={{"it": {at}, "_scope": scope.open}}',
                f'puts={{before_{w.name}: "it", scope.open: "_scope"}}',
            )

        return lines

    def _own(self, w: _Writer) -> _Stage:
        def lines(at: str) -> Iterator[str]:
            yield f'    after_{w.name} = net.place("after {w.name}", {self.plan})'
            yield f"    at = Slot({quoted(w.name)}, takes={at}, gives=after_{w.name}, failed=lost)"
            yield f'    net.add(Write(at, scope, {w.name.upper()}_WRITER{_trail(w)}, gives="inputs"))'

        return lines

    def _ends(self, at: str) -> Iterator[tuple[str, str, str, str]]:
        """How cases end: what it is called, the place that it takes from, the result, and why."""
        yield "finish", at, "done", ""
        if self.may_lose:
            yield "give up", "lost", "failed", "it could not be done"
        if self.may_be_unanswered:
            yield "go without", "unanswered", "failed", "nobody answered"
        if self.asks:
            yield "say no", "denied", "denied", "a person said no, or nothing in time"

    def _ending(self, at: str) -> Iterator[str]:
        for name, place, result, why in self._ends(at):
            outcome = f"make(Outcome, result={quoted(result)}, why={quoted(why)})"
            if not self.has_scope:
                to = "done" if result == "done" else "stopped"
                yield call("net.route", quoted(name), f"takes={place}", f"puts={{{to}: lambda: {outcome}}}")
            else:
                how = "scope.complete" if result == "done" else "scope.abort"
                yield call(how, "net", quoted(name), f"takes={place}", f"outcome=lambda: {outcome}")
        if self.has_scope:
            killed = 'outcome=Outcome(result="killed", why="the kill switch was pulled")'
            if self.asks:
                yield call("net.add", f'KillSwitch("kill", on=trail, scope=scope, {killed})')
            else:
                yield f'    scope.kill(net, "kill", {killed})'
        yield ""
        yield "    # The patterns require their own guarantees; these are of the whole."
        acts = [w.act.effect for w in self.acting]
        yield call(
            "net.require",
            *map(quoted, _REQUIRED),
            *(f"cap({quoted(a)}, most=1, name={quoted(f'{a} is done once at most')})" for a in acts),
            'eventually("done", "stopped", name="every case ends")',
        )


def _lines(first: str, *others: str) -> str:
    """Lines of a call's argument, as deep as it stands."""
    return "\n        ".join((first, *others))


class _Names:
    """Names that are given once."""

    def __init__(self) -> None:
        self.taken = {*_OURS, *FRONT}

    def make(self, name: str, *, other: str = "") -> str:
        """The name, or the next that is free."""
        found, number = name, 2
        while found in self.taken:
            found, number = f"{name}{other or f'_{number}'}", number + 1
        self.taken.add(found)
        return found


def _typed(fields: Fields) -> dict[str, str]:
    return {name: _KINDS[kind] for name, kind in fields.items()}


def _trail(w: _Writer) -> str:
    return ", on=trail" if w.act.irreversible else ""


def _waves(names: Sequence[str]) -> list[Sequence[str]]:
    """Those who go side by side."""
    return [names[n : n + PEERS_AT_ONCE] for n in range(0, len(names), PEERS_AT_ONCE)]


def _one_who_writes(w: _Writer) -> str:
    undo = "None" if w.act.undo is None else ident(w.act.undo).upper()
    return "\n".join(
        (
            f"{w.name.upper()}_WRITER = Writer(",
            f"    propose=propose_{w.name},",
            f"    says={w.says},",
            f"    asked={w.asked},",
            "    # FILL IN: more rules of both; the gate's are over proposal.says and proposal.inputs",
            f"    draft=policy({quoted(f'draft of {w.name} v1')}, NAMED),",
            f"    gate=policy({quoted(f'gate of {w.name} v1')}, ALLOWED),",
            f"    effect={ident(w.act.effect).upper()},",
            f"    undo={undo},",
            ")",
        )
    )
