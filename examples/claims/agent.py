"""Claims triage: two advisers, a rule that merges them, and three systems that are told; all of it, or none.

::

    claim ─▶ P1 ┌ urgency ┐ merge ─▶ findings ─▶ P2 ┌ queue   ─ gate ─▶ desk.assign       ┐ ─▶ sorted
                └ oddity  ┘                         ├ reserve ─ gate ─▶ ledger.reserve    ┤
                                                    └ notice  ─ gate ─▶ mail.send_receipt ┘ ─▶ undone ─▶ left

``workload.yaml`` says what was known before it was built, and ``provenet advise`` what follows: P1 and P2,
bounded by P4. An adviser that fails or is late is left out, since what the other found is still of use. What
is told to the three systems stands or falls together: a claim that is in a queue and has no money set aside
is worse than one in neither. Each of the three passes a gate, whose rules look at what was found.

Nothing here needs a key or a network: the models are stand-ins that misbehave, seeded, and so do the systems
(``outside``)::

    provenet verify provenet.examples.claims.agent
    python -m provenet.examples.claims
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from provenet import (
    Agent,
    Budget,
    Child,
    Contract,
    Delegation,
    Effect,
    Gate,
    NetBuilder,
    Peer,
    Policy,
    Proposer,
    Saga,
    ScatterGather,
    Slot,
    Term,
    Token,
    cap,
    eventually,
    function,
    make,
    never,
    policy,
    rule,
)
from provenet.examples.claims.outside import ODD, URGENT, Outside, Proposers

Kind = Literal["motor", "property", "injury"]
Desk = Literal["motor", "property", "injury", "special"]
Id = Annotated[str, Field(max_length=64)]
Cents = Annotated[int, Field(ge=0)]

MOST_RESERVED = 5_000_000
"""As much as may be set aside for a claim, in cents."""

UNDONE_BY = {
    "desk.unassign": "desk.assign",
    "ledger.release": "ledger.reserve",
    "mail.send_correction": "mail.send_receipt",
}
"""What takes what back."""


# tokens


class Claim(Token):
    """A claim as it comes in."""

    id: Id
    kind: Kind
    cents: Cents


class Urgency(Token):
    """How urgent a claim is."""

    claim: Id
    level: int


class Oddity(Token):
    """How odd a claim looks."""

    claim: Id
    pct: int


class Findings(Token):
    """What is known of a claim; what an adviser did not say is null."""

    id: Id
    claim: Claim
    urgency: Urgency | None
    oddity: Oddity | None


class Queue(Token):
    """The desk that goes on with a claim."""

    claim: Id
    desk: Desk


class Reserve(Token):
    """The money that is set aside for a claim."""

    claim: Id
    cents: int


class Notice(Token):
    """What the customer is told."""

    claim: Id
    letter: Literal["receipt", "call"]


class QueueAsked(Token):
    """What the gate before the desks judges."""

    found: Findings
    says: Queue


class ReserveAsked(Token):
    """What the gate before the ledger judges."""

    found: Findings
    says: Reserve


class NoticeAsked(Token):
    """What the gate before the mail judges."""

    found: Findings
    says: Notice


class Outcome(Token):
    """How a case ends."""

    result: Literal["sorted", "left", "killed"]
    why: str


# what is checked, by rule

OWN = rule("its own claim", lambda proposal, inputs: proposal.claim == inputs.id, field="claim")

URGENCY = policy(
    "urgency v1",
    OWN,
    rule("from 1 to 5", lambda proposal: (proposal.level >= 1) & (proposal.level <= 5), field="level"),
    rule(
        "injuries are urgent",
        lambda proposal, inputs: (inputs.kind != "injury") | (proposal.level >= URGENT),
        field="level",
    ),
)
ODDITY = policy(
    "oddity v1",
    OWN,
    rule("in per cent", lambda proposal: (proposal.pct >= 0) & (proposal.pct <= 100), field="pct"),
)
DRAFT = policy("draft v1", OWN)


def _odd(found: Term) -> Term:
    """A claim that looks odd, or that nobody has looked at."""
    odd: Term = found.oddity.is_null() | (found.oddity.or_else(_UNSEEN).pct >= ODD)
    return odd


def _urgent(found: Term) -> Term:
    urgent: Term = ~found.urgency.is_null() & (found.urgency.or_else(_CALM).level >= URGENT)
    return urgent


_UNSEEN, _CALM = Oddity(claim="", pct=100), Urgency(claim="", level=1)

QUEUE_GATE = policy(
    "desks v1",
    rule(
        "odd claims go to the special desk",
        lambda proposal: ~_odd(proposal.found) | (proposal.says.desk == "special"),
        field="says.desk",
    ),
)
RESERVE_GATE = policy(
    "reserves v1",
    rule(
        "no more than is claimed",
        lambda proposal: (proposal.says.cents >= 0) & (proposal.says.cents <= proposal.found.claim.cents),
        field="says.cents",
    ),
)
NOTICE_GATE = policy(
    "letters v1",
    rule(
        "nobody is called about a claim that can wait",
        lambda proposal: _urgent(proposal.found) | (proposal.says.letter == "receipt"),
        field="says.letter",
    ),
)


# the net


@dataclass(frozen=True)
class Tells:
    """Proposes, passes its gate, and only then tells a system; stands in any slot.

    Attributes:
        at: The slot.
        scope: The saga scope that takes it back where another one fails.
        propose: What is to be told.
        says: Its class.
        asked: The class of what the gate judges.
        gate: The gate's policy.
        effect: What tells the system.
        undo: What takes that back.
        budgets: What the gate counts.
    """

    at: Slot
    scope: Any
    propose: Proposer
    says: type[Token]
    asked: type[Token]
    gate: Policy
    effect: Effect
    undo: Effect
    budgets: tuple[Budget, ...] = ()

    def expand(self, net: NetBuilder) -> None:
        """Add it to a net."""
        at = self.at
        ready = net.place(f"{at.id}.ready", self.asked)
        net.add(
            Contract(
                at.id,
                takes=at.takes,
                gives=ready,
                propose=self.propose,
                returns=self.says,
                verify=DRAFT,
                emit=lambda inputs, proposal: make(self.asked, found=inputs, says=proposal),
                attempts=2,
                otherwise=at.failed,
            )
        )
        net.add(
            Gate(
                f"{at.id}.gate",
                takes=ready,
                gives=at.gives,
                denied=at.failed,
                failed=at.failed,
                policy=self.gate,
                who=lambda: at.id,
                budgets=self.budgets,
                deny=lambda proposal: proposal.found,
                work=self.tell,
            )
        )

    def tell(self, at: Slot) -> Contract:
        """What the gate lets pass, and nothing else."""
        return Contract(
            at.id,
            takes=at.takes,
            gives=at.gives,
            verify=self.gate,
            commit=self.effect,
            undo=self.undo,
            saga=self.scope,
            payload=lambda proposal: proposal.says,
            emit=lambda proposal: proposal.says,
            otherwise=at.failed,
            escalate=lambda inputs: inputs.found,
            on_failure=at.failed,
            fail_emit=lambda proposal: proposal.found,
        )


def agent(*, proposers: Proposers | None = None, outside: Outside | None = None) -> Agent:
    """The claims agent.

    Args:
        proposers: What proposes; by default stand-ins that misbehave.
        outside: The three systems; by default some that work.
    """
    return Agent.of(build(proposers or Proposers(), outside or Outside()))


def build(models: Proposers, outside: Outside) -> NetBuilder:
    """The net of the claims agent, with its handlers."""
    net = NetBuilder("claims triage")
    inbox = net.entry("inbox", Claim)
    findings = net.place("findings", Findings)
    done, left = net.final("sorted", Outcome), net.final("left", Outcome)
    scope = net.add(Saga("case", outcome=Outcome, completes=done, aborts=left))
    net.known_by("claim", at=inbox, value=lambda it: it.id)

    net.add(
        Delegation(
            "advise",
            takes=inbox,
            gives=findings,
            children=[
                Child("urgency", Urgency, adviser(models.urgency, Urgency, URGENCY), timedelta(minutes=1)),
                Child("oddity", Oddity, adviser(models.oddity, Oddity, ODDITY), timedelta(minutes=1)),
            ],
            merge=lambda inputs, urgency, oddity: make(
                Findings, id=inputs.id, claim=inputs, urgency=urgency, oddity=oddity
            ),
            partial="drop",
            retries=2,
        )
    )

    def peer(name: str, says: type[Token], asked: type[Token], gate: Policy, *told: Any) -> Peer:
        propose, effect, undo, *budgets = told
        return Peer(
            name,
            says,
            lambda at: Tells(
                at,
                scope,
                function(propose, gets="request"),
                says,
                asked,
                gate,
                Effect(effect, outside.does(effect), payload=says, tries=None),
                Effect(undo, outside.does(undo, may_refuse="no"), payload=says, tries=10),
                tuple(budgets),
            ),
            within=timedelta(hours=1),
        )

    spent = Budget("cents", most=MOST_RESERVED, amount=lambda proposal: proposal.says.cents)
    net.add(
        ScatterGather(
            "tell",
            takes=findings,
            scope=scope,
            peers=[
                peer("queue", Queue, QueueAsked, QUEUE_GATE, models.queue, "desk.assign", "desk.unassign"),
                peer(
                    *("reserve", Reserve, ReserveAsked, RESERVE_GATE, models.reserve),
                    *("ledger.reserve", "ledger.release", spent),
                ),
                peer(
                    *("notice", Notice, NoticeAsked, NOTICE_GATE, models.notice),
                    *("mail.send_receipt", "mail.send_correction"),
                ),
            ],
            merge=lambda queue: make(Outcome, result="sorted", why=queue.desk),
            fails=lambda why: make(Outcome, result="left", why=why),
        )
    )
    scope.kill(net, "kill", outcome=Outcome(result="killed", why="the kill switch was pulled"))
    net.require(
        *("SDB", "SAGA", "CTL-2", "CTL-3", "STATE-1", "STATE-2", "STATE-3", "DATA", "EVT"),
        *(cap(effect, most=1, name=f"{effect} happens once at most") for effect in UNDONE_BY.values()),
        never(
            effect="ledger.reserve",
            of=Reserve,
            where=lambda payload: (payload.cents < 0) | (payload.cents > MOST_RESERVED),
            name=f"never more than {MOST_RESERVED // 100:,} is set aside for a claim",
        ),
        eventually("sorted", "left", name="every claim is sorted, or left as it was"),
    )
    return net


def adviser(propose: Callable[..., Any], says: type[Token], verify: Policy) -> Callable[[Slot], Contract]:
    """Somebody who is asked, and writes nothing."""
    return lambda at: Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        propose=function(propose, gets="request"),
        returns=says,
        verify=verify,
        attempts=1,
        otherwise=at.failed,
    )
