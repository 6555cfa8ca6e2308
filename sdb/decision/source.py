"""Pieces of Python source for the skeleton: made of names that were checked, and of texts that are quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from textwrap import dedent

from provenet.sdb.decision.predicates import span_text

FRONT = (
    *("Agent", "Approval", "Child", "Contract", "Delegation", "Effect", "Gate", "KillSwitch", "Move"),
    *("NetBuilder", "NotFilledIn", "Oversight", "Peer", "Policy", "Request", "Saga"),
    *("ScatterGather", "Slot", "StateMachine", "Token"),
    *("cap", "eventually", "function", "make", "policy", "rule"),
)
"""Names of Provenet that a file may need."""

HEAD = '''"""A net to start from, written by `provenet advise`.

It verifies as it stands: `provenet verify` this file. FILL IN marks what is yours: what models propose,
what effects do, the rules of policies. A case that comes to such a place is parked until it is there.
"""'''

WRITE = dedent(
    '''
    @dataclass(frozen=True)
    class Writer:
        """Somebody who writes outside.

        Attributes:
            propose: Proposes what is written.
            says: The class of that.
            asked: The class of what the gate judges.
            draft: The policy of the proposal: asked again where it is refused.
            gate: The policy of the gate: no effect without it.
            effect: What writes.
            undo: What takes it back.
        """

        propose: Callable[..., Any]
        says: type[Token]
        asked: type[Token]
        draft: Policy
        gate: Policy
        effect: Effect
        undo: Effect | None


    @dataclass(frozen=True)
    class Write:
        """Proposes, passes the gate (P4), and only then writes; stands in any slot.

        Attributes:
            at: The slot.
            scope: The saga scope, which undoes what was written where the case fails.
            who: Who writes.
            gives: What goes on: what was said, or what was given.
        """

        at: Slot
        scope: Any
        who: Writer
        gives: Literal["says", "inputs"] = "says"
        TRAIL

        def expand(self, net: NetBuilder) -> None:
            """Add it to a net."""
            at, who = self.at, self.who
            ready = net.place(f"{at.id}.ready", who.asked)
            net.add(
                Contract(
                    at.id,
                    takes=at.takes,
                    gives=ready,
                    propose=function(who.propose),
                    returns=who.says,
                    verify=who.draft,
                    emit=lambda inputs, proposal: make(who.asked, inputs=inputs, says=proposal),
                    attempts=2,
                    otherwise=at.failed,
                )
            )
    APPROVAL
            net.add(
                Gate(
                    f"{at.id}.gate",
                    takes=ready,
                    gives=at.gives,
                    denied=at.failed,
                    failed=at.failed,
                    policy=who.gate,
                    who=lambda: at.id,
                    deny=lambda proposal: proposal.inputs,
                    work=self.act,
                )
            )

        def act(self, at: Slot) -> Contract:
            """What the gate lets pass, and nothing else."""
            who = self.who
            return Contract(
                at.id,
                takes=at.takes,
                gives=at.gives,
                verify=who.gate,
                commit=who.effect,
                undo=who.undo,
                irreversible=who.undo is None,
                saga=self.scope,
                payload=lambda proposal: proposal.says,
                emit=lambda proposal: proposal.says if self.gives == "says" else proposal.inputs,
                otherwise=at.failed,
                escalate=lambda inputs: inputs.inputs,
                on_failure=at.failed,
                fail_emit=lambda proposal: proposal.inputs,
            )
    '''
).strip()
"""The part by which all effects happen; ``APPROVAL`` is a line of its own."""

APPROVAL = dedent(
    """
    if self.on is not None:  # nothing takes it back: a person approves this very proposal (CTL-1)
        approved = net.place(f"{at.id}.approved", who.asked)
        net.add(
            Approval(
                f"{at.id}.approve",
                on=self.on,
                takes=ready,
                approve=approved,
                deny=at.failed,
                who=ROLE,
                within=DECIDE_WITHIN,
                why=f"nothing takes {who.effect.name} back",
                on_deny=lambda inputs: inputs.inputs,
            )
        )
        ready = approved
    """
).lstrip("\n")
"""What stands before the gate where an effect cannot be taken back."""


def section(title: str, parts: Iterable[str]) -> str:
    """A part of the file, under a comment."""
    return f"# {title}\n\n\n" + "\n\n\n".join(p for p in parts if p)


def token(name: str, about: str, fields: Mapping[str, str]) -> str:
    """A token model."""
    body = "\n".join(f"    {field}: {of}" for field, of in fields.items())
    return f'class {name}(Token):\n    """{about}"""\n\n{body}'


def proposer(name: str, given: str, says: str) -> str:
    """A proposer that nobody has written yet."""
    return (
        f"def propose_{name}(given: {given}) -> {says}:\n"
        f'    """FILL IN: {name.replace("_", " ")}."""\n'
        f"    raise NotFilledIn({quoted(f'{name}: nobody has written what it proposes')})"
    )


def answering(name: str, says: str, *, attempts: int) -> str:
    """A contract that only proposes, for a slot."""
    return (
        f"def ask_{name}(at: Slot) -> Contract:\n"
        '    """Proposes, and writes nothing."""\n'
        "    return Contract(\n"
        "        at.id,\n"
        "        takes=at.takes,\n"
        "        gives=at.gives,\n"
        f"        propose=function(propose_{name}),\n"
        f"        returns={says},\n"
        f"        verify={name.upper()}_POLICY,\n"
        f"        attempts={attempts},\n"
        "        otherwise=at.failed,\n"
        "    )"
    )


def effect(name: str, says: str, more: str = "") -> str:
    """An effect that nobody has written yet."""
    return (
        f"def do_{ident(name)}(request: Request) -> None:\n"
        f'    """FILL IN: {name}."""\n'
        f"    raise NotFilledIn({quoted(f'{name}: nobody has written it')})\n\n\n"
        f"{ident(name).upper()} = Effect({quoted(name)}, do_{ident(name)}, payload={says}{more})"
    )


def own_policy(name: str, *rules: str) -> str:
    """A policy with some rules, and room for others."""
    return "\n".join(
        (
            f"{name.upper()}_POLICY = policy(",
            f"    {quoted(f'{name} v1')},",
            *(f"    {rule}," for rule in rules),
            '    # FILL IN: rule("what you check", lambda proposal: proposal.amount <= 100),',
            ")",
        )
    )


def call(head: str, *arguments: str, depth: int = 4) -> str:
    """A call with each argument in a line of its own."""
    pad = " " * depth
    return "\n".join([f"{pad}{head}(", *(f"{pad}    {a}," for a in arguments), f"{pad})"])


def span(length: timedelta) -> str:
    """``timedelta(minutes=10)``."""
    count, unit = span_text(length).split(" ")
    return f"timedelta({unit.removesuffix('s')}s={count})"


def ident(name: str) -> str:
    """An effect's name as a Python name."""
    return name.replace(".", "_")


def camel(name: str) -> str:
    """A name as that of a class."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_.]", name))


def quoted(text: str) -> str:
    """A text as Python writes it, with double quotes where that is plain."""
    return f'"{text}"' if text.isprintable() and not re.search(r'["\\]', text) else repr(text)


def plain(text: str) -> str:
    """A text of a stranger on one line, without what is not seen."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def imports(body: str) -> str:
    """The imports of what a file uses."""
    words = set(re.findall(r"\b[A-Za-z]+\b", re.sub(r'"[^"\n]*"|#.*', "", body)))
    lines = []
    for module, names in (
        ("collections.abc", ("Callable",)),
        ("dataclasses", ("dataclass",)),
        ("datetime", ("datetime", "timedelta")),
        ("typing", ("Any", "Literal")),
    ):
        used = [name for name in names if name in words]
        lines += [f"from {module} import {', '.join(used)}"] if used else []
    ours = [name for name in FRONT if name in words]
    return "\n".join([*lines, "", "from provenet import (", *(f"    {n}," for n in ours), ")"])
