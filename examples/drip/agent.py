"""A drip campaign: a letter a week, until the lead answers or wants no more, or the letters are used up.

::

                ┌────────────────────────── next week ◀──────────────────────────┐
    lead ─▶ (waiting) ─▶ P4 supervised writer ─▶ P4 gate ─ mail.send_letter ─▶ (turn) ─▶ ended: used up
                              (register: consent, last letter) ┘ holds it
                                    └─ replied, unsubscribed ─▶ ended, at once
        no such address, the kill switch ─▶ mail.send_correction for each letter ─▶ withdrawn

``workload.yaml`` says what was known before it was built, and ``provenet advise`` what follows: no durable
spine, nobody to coordinate, and P4, a supervisor and a gate. The pauses are long and the world moves in
them, but what waits says nothing that the input does not: the day says which letter is next. So there is no
row with versions and no log of events here, only the case; ``again`` makes the input with which a campaign
goes on whose case is lost, and it is proved that what waits is a week of the plan.

What may change meanwhile is whether the lead wants letters, and that is one token, the *register*. The gate
holds it while a letter is on its way; a reply or an unsubscribe takes it away for good. So an event comes
before a letter or after it, never during, and after it comes nothing.

Nothing here needs a key or a network: the writer is a stand-in that misbehaves, seeded, and so does the mail
office (``outside``)::

    provenet verify provenet.examples.drip.agent
    python -m provenet.examples.drip
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from provenet import (
    Agent,
    Budget,
    Contract,
    Effect,
    Gate,
    NetBuilder,
    Request,
    Saga,
    Slot,
    Supervised,
    Token,
    always,
    cap,
    eventually,
    function,
    machine,
    make,
    never,
    policy,
    precedes,
    rule,
)
from provenet.examples.drip.outside import Office, Writer

MOST_LETTERS = 6
"""As many letters as any lead gets."""
MOST_DISCOUNT = 15
"""What a letter may offer, in per cent."""
PROMISE = "uarantee"
"""What no letter may say, with a capital or without."""
CONSENT = "consent"
"""The gate's rule that ends a campaign where it is broken."""
WEEK = timedelta(days=7)
DAYS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Campaigns begin between these."""

Id = Annotated[str, Field(max_length=64)]


# tokens


class Lead(Token):
    """Somebody who once asked for information: the input, and all that a campaign needs to begin, or go on.

    Attributes:
        id: Who.
        product: What they asked about.
        letters: How many letters are to come.
        since: The day of the first of them.
        done: How many came before, where the campaign begins again.
        consents: Whether they want letters.
    """

    id: Id
    product: Id
    letters: int
    since: datetime
    done: int = 0
    consents: bool = True


class Plan(Token):
    """Where a campaign is: the input, and the week that it is in, from 1; which the day says as well."""

    lead: Lead
    week: int


class Register(Token):
    """What is known of the lead's wishes."""

    consents: bool
    last: int  # number of the last letter


class Letter(Token):
    """What the writer proposes, and the mail office sends."""

    lead: Id
    number: int
    product: Id
    discount_pct: int
    text: str


class Asked(Token):
    """What the gate judges."""

    plan: Plan
    letter: Letter


class Denied(Token):
    """A letter that the gate let not pass."""

    plan: Plan
    why: str


class Outcome(Token):
    """How a campaign ends."""

    result: Literal["replied", "unsubscribed", "used up", "bounced", "withdrawn"]


def again(lead: Lead, now: datetime) -> Lead | None:
    """The input with which a campaign goes on whose case is lost; null where its letters are used up.

    Start it under another id: what the mail office knows letters by comes of the id of the case.

    Args:
        lead: What it began with.
        now: The time: the letters of days before it were sent, or left out for good.
    """
    gone = max(0, (now - lead.since) // WEEK + 1)
    went_on = {"letters": lead.letters - gone, "since": lead.since + gone * WEEK, "done": lead.done + gone}
    return lead.model_copy(update=went_on) if gone < lead.letters else None


# what is checked, by rule

DRAFT = policy(
    "drafts v1",
    rule("its own lead", lambda proposal, inputs: proposal.lead == inputs.lead.id, field="lead"),
    rule(
        "its own number",
        lambda proposal, inputs: proposal.number == inputs.lead.done + inputs.week,
        field="number",
    ),
    rule(
        "its own product", lambda proposal, inputs: proposal.product == inputs.lead.product, field="product"
    ),
)
MAIL = policy(
    "letters v1",
    rule(CONSENT, lambda register: register.consents),
    rule(
        "no letter twice",
        lambda proposal, register: proposal.letter.number > register.last,
        field="letter.number",
    ),
    rule(
        "what may be offered",
        lambda proposal: (
            (proposal.letter.discount_pct >= 0) & (proposal.letter.discount_pct <= MOST_DISCOUNT)
        ),
        field="letter.discount_pct",
    ),
    rule(
        "nothing is guaranteed",
        lambda proposal: ~proposal.letter.text.contains(PROMISE),
        field="letter.text",
    ),
)
SENDS = policy(
    "mail v1", rule("to its own lead", lambda proposal: proposal.letter.lead == proposal.plan.lead.id)
)


# the net


def agent(*, writer: Callable[[Request], Any] | None = None, office: Office | None = None) -> Agent:
    """The drip agent.

    Args:
        writer: What writes letters; by default a stand-in that misbehaves.
        office: The mail office; by default one that works.
    """
    return Agent.of(build(writer or Writer(), office or Office()))


def build(writer: Callable[[Request], Any], office: Office) -> NetBuilder:
    """The net of the drip agent, with its handlers."""
    net = NetBuilder("drip campaign")
    leads = net.entry(
        "leads",
        Lead,
        where=lambda it: (
            (it.letters >= 1)
            & (it.done >= 0)
            & (it.letters + it.done <= MOST_LETTERS)
            & (it.since >= DAYS[0])
            & (it.since <= DAYS[1])
        ),
    )
    net.known_by("lead", at=leads, value=lambda it: it.id)
    waiting, due, asked = net.place("waiting", Plan), net.place("due", Plan), net.place("asked", Asked)
    sent, turn, unwritten = (net.place(name, Plan) for name in ("sent", "turn", "unwritten"))
    denied, bounced = net.place("denied", Denied), net.place("bounced", Asked)
    register = net.place("register", Register)
    finished, stop = net.place("finished", Outcome), net.place("stop", Outcome)
    ended, withdrawn = net.final("ended", Outcome), net.final("withdrawn", Outcome)
    scope = net.add(Saga("campaign", outcome=Outcome, completes=ended, aborts=withdrawn))

    net.route(
        "begin",
        takes={"lead": leads},
        puts={
            waiting: lambda lead: make(Plan, lead=lead, week=1),
            register: lambda lead: make(Register, consents=lead.consents, last=lead.done),
        },
    )
    net.timer(
        "its day", after=lambda p: p.lead.since + WEEK * (p.week - 1), takes={"p": waiting}, puts={due: "p"}
    )
    net.add(
        Supervised(
            "write",
            takes=due,
            gives=asked,
            escalated=unwritten,
            work=lambda at: _writes(at, writer),
            within=timedelta(hours=1),
            restarts=3,
            first=timedelta(minutes=1),
        )
    )
    net.add(
        Gate(
            "mail",
            takes=asked,
            gives=sent,
            denied=denied,
            failed=bounced,
            policy=MAIL,
            reads={"register": register},
            who=lambda: "write",
            budgets=[Budget("letters", most=MOST_LETTERS)],
            deny=lambda proposal, why: make(Denied, plan=proposal.plan, why=why),
            work=lambda at: Contract(
                at.id,
                takes=at.takes,
                gives=at.gives,
                verify=SENDS,
                payload=lambda proposal: proposal.letter,
                commit=Effect(
                    "mail.send_letter", office.does("mail.send_letter"), payload=Letter, tries=None
                ),
                undo=Effect(
                    "mail.send_correction", office.does("mail.send_correction"), payload=Letter, tries=10
                ),
                saga=scope,
                emit=lambda proposal: proposal.plan,
                otherwise=at.failed,
                on_failure=at.failed,
            ),
        )
    )
    net.route(
        "note",
        takes={"p": sent, "r": register},
        puts={turn: "p", register: lambda p, r: r.with_(last=p.lead.done + p.week)},
    )
    net.route("nothing this week", takes={"p": unwritten}, puts={turn: "p"})
    net.route(
        "not this one", takes={"d": denied}, when=lambda d: d.why != CONSENT, puts={turn: lambda d: d.plan}
    )
    net.route(
        "no consent",
        takes={"d": denied},
        when=lambda d: d.why == CONSENT,
        puts={finished: Outcome(result="unsubscribed")},
    )
    net.route(
        "next week",
        takes={"p": turn},
        when=lambda p: (p.week < p.lead.letters) & (p.week < MOST_LETTERS),
        puts={waiting: lambda p: p.with_(week=p.week + 1)},
    )
    net.route(
        "used up",
        takes={"p": turn},
        when=lambda p: (p.week >= p.lead.letters) | (p.week >= MOST_LETTERS),
        puts={finished: Outcome(result="used up")},
    )
    for event in ("replied", "unsubscribed"):
        net.event(event, event=event, takes={"r": register}, puts={stop: Outcome(result=event)})
        net.ignore(event, unless=[register])
        net.delivery(event, early="keep")
    for name, place in {"finishes": finished, "stops": stop}.items():
        scope.complete(net, name, takes={"o": place}, outcome="o")
    scope.abort(net, "no such address", takes={"a": bounced}, outcome=Outcome(result="bounced"))
    scope.kill(net, "withdraw", outcome=Outcome(result="withdrawn"))
    net.require(
        *("SDB", "SAGA", "CTL-2", "CTL-3", "STATE-1", "STATE-2", "STATE-3", "DATA", "EVT"),
        cap("mail.send_letter", most=1, per="its day", name="one letter a week at most"),
        precedes("its day", "mail.send_letter", name="no letter before its day"),
        never(
            effect="mail.send_letter",
            of=Letter,
            where=lambda payload: (payload.discount_pct > MOST_DISCOUNT) | payload.text.contains(PROMISE),
            name=f"no letter offers more than {MOST_DISCOUNT}%, or guarantees anything",
        ),
        always(
            "waiting",
            of=Plan,
            where=lambda it: it.week <= it.lead.letters,
            name="what waits is a week of the plan: it can be made again from the input and the day",
        ),
        machine(
            states={
                "about to begin": "leads",
                "wants letters": "register",
                "gets one": "mail.held",
                "over": (
                    *("stop", "campaign.completing", "campaign.aborting", "mail.act.undoing"),
                    *("ended", "withdrawn"),
                ),
            },
            moves={
                "about to begin": ("wants letters", "over"),
                "wants letters": ("gets one", "over"),
                "gets one": ("wants letters", "over"),
            },
            name="over is over: no letter begins after a reply or an unsubscribe",
        ),
        eventually("ended", "withdrawn", name="every campaign ends"),
    )
    return net


def _writes(at: Slot, writer: Callable[[Request], Any]) -> Contract:
    """The worker: it proposes a letter, once; trying again is its supervisor's."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        propose=function(writer, gets="request"),
        returns=Letter,
        verify=DRAFT,
        emit=lambda inputs, proposal: make(Asked, plan=inputs, letter=proposal),
        attempts=1,
        otherwise=at.failed,
    )
