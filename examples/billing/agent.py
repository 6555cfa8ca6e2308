"""Billing and payment assist: a conversation as a log of events, and money behind a gate and a person.

::

    asked ──▶ P3 ┌ assistant (P6 turns, escalation) ─▶ advised ─▶ cashier ┬ answer ──────────────┐
    payment ▶    │                                                        ├ plan ─── gate ─ plans.set_up
                 │    P6 approval of what is large ◀──────────────────────┤                      │
                 │         └──────────────────────────────────────────────┴ refund ─ gate ─ payments.refund
                 └ chat (chat.post) ◀─────────────────────────── settled ◀┴──────────────────────┘

``workload.yaml`` says what was known before it was built, and ``provenet advise`` what follows: P3, with P4
and all of P6. Messages and payments are taken in the order of their numbers, each once; what comes too late
changes nothing. A model proposes: answer, refund, or a plan of instalments. Money moves only through a gate,
which looks at the customer's role, at what the log says was paid, and at a budget; a large refund is approved
by a person before. The customer is told what was done, after it was done. Where a payment bounces, where a
system refuses what the gate let pass (so the log and its books differ), and where the kill switch is pulled,
all that was done in the conversation is undone.

While a person decides, the log waits: what was approved is still true when it is done. Tokens and rules are
in ``rules``. Nothing here needs a key or a network: models and systems are stand-ins that misbehave, seeded
(``outside``)::

    provenet verify provenet.examples.billing.agent
    python -m provenet.examples.billing
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from provenet import (
    Agent,
    Approval,
    Budget,
    Consumer,
    Contract,
    Effect,
    Escalation,
    EventType,
    Gate,
    KillSwitch,
    Level,
    NetBuilder,
    Oversight,
    RateLimit,
    Saga,
    Sequencing,
    Slot,
    Term,
    Token,
    cap,
    choose,
    function,
    make,
    never,
    within,
)
from provenet.examples.billing.outside import Outside, Proposers, post
from provenet.examples.billing.rules import (
    ADVICE,
    ALONE,
    MOST_REFUNDED,
    MOST_REFUNDS,
    PLANS,
    REFUNDS,
    Account,
    Advice,
    Customer,
    Letter,
    Message,
    Outcome,
    Payment,
    Plan,
    PlanAsked,
    Proposed,
    Refund,
    RefundAsked,
    Settled,
)

QUIET = timedelta(hours=4)
"""How long nobody says anything until a conversation is over."""
LATE = timedelta(days=1)
"""How much older than the newest one an event may be."""

UNDONE_BY = {"payments.take_back": "payments.refund", "plans.cancel": "plans.set_up"}
"""What takes what back."""


# the net


@dataclass(frozen=True)
class Assists:
    """Asks the model so often in a span of time, and a person what to do where it says nothing usable.

    Attributes:
        at: The slot.
        propose: The model's stand-in.
        desk: The trail of oversight.
    """

    at: Slot
    propose: Any
    desk: Any

    def expand(self, net: NetBuilder) -> None:
        """Add it to a net."""
        at, seen = self.at, self.at.takes.type
        turn, lost = net.place(f"{at.id}.turn", seen), net.place(f"{at.id}.lost", seen)
        net.add(
            RateLimit(
                f"{at.id}.turns", on=self.desk, takes=at.takes, gives=turn, most=1, per=timedelta(seconds=2)
            )
        )
        net.add(
            Contract(
                at.id,
                takes=turn,
                gives=at.gives,
                propose=function(self.propose, gets="request"),
                returns=Proposed,
                verify=ADVICE,
                emit=lambda inputs, proposal: make(Advice, says=proposal, by=inputs.payload.by),
                attempts=2,
                timeout=timedelta(seconds=10),
                otherwise=lost,
            )
        )
        net.add(
            Escalation(
                f"{at.id}.look",
                on=self.desk,
                takes=lost,
                resumes=turn,
                ends=at.failed,
                levels=[Level("billing_desk", timedelta(minutes=30)), Level("lead", timedelta(hours=1))],
                why="no proposal passed advice v1",
            )
        )


@dataclass(frozen=True)
class Settles:
    """Does what was advised: nothing, a refund or a plan; what is refused on the way is declined.

    Attributes:
        at: The slot.
        desk: The trail of oversight.
        scope: The saga scope that takes it back.
        outside: The systems.
    """

    at: Slot
    desk: Any
    scope: Any
    outside: Outside

    def expand(self, net: NetBuilder) -> None:
        """Add it to a net."""
        at = self.at
        asked, large, granted, refused = (
            net.place(f"{at.id}.{name}", RefundAsked) for name in ("refund", "large", "granted", "no refund")
        )
        undone = net.place(f"{at.id}.not refunded", RefundAsked)
        plan, no_plan, unplanned = (
            net.place(f"{at.id}.{name}", PlanAsked) for name in ("plan", "no plan", "not planned")
        )
        takes = {"it": at.takes}

        def is_(kind: str) -> Any:
            return lambda it: it.payload.says.kind == kind

        def settled(it: Any) -> Any:
            return make(Settled, result="answered", cents=0, text=it.payload.says.text)

        def refund(it: Any) -> Any:
            says = make(Refund, account=it.view.id, cents=it.payload.says.cents, by=it.payload.by)
            return make(RefundAsked, account=it.view, says=says, text=it.payload.says.text)

        def plans(it: Any) -> Any:
            says = make(Plan, account=it.view.id, months=it.payload.says.months, by=it.payload.by)
            return make(PlanAsked, account=it.view, says=says, text=it.payload.says.text)

        # Under the part's own name, since the log names its consumers.
        net.route(at.id, takes=takes, when=is_("answer"), puts={at.gives: settled})
        net.route(f"{at.id}.plans", takes=takes, when=is_("plan"), puts={plan: plans})
        net.route(f"{at.id}.refunds", takes=takes, when=is_("refund"), puts={asked: refund})
        due = net.place(f"{at.id}.due", RefundAsked)
        asks = {"r": asked}
        net.route(f"{at.id}.small", takes=asks, when=lambda r: r.says.cents <= ALONE, puts={due: "r"})
        net.route(f"{at.id}.large one", takes=asks, when=lambda r: r.says.cents > ALONE, puts={large: "r"})
        net.add(
            Approval(
                "approve refund",
                on=self.desk,
                takes=large,
                approve=granted,
                deny=refused,
                who="billing_desk",
                within=timedelta(hours=2),
                why="more than is given back without a person",
            )
        )
        net.route(f"{at.id}.approved", takes={"r": granted}, puts={due: "r"})
        net.add(
            Gate(
                "refund gate",
                takes=due,
                gives=at.gives,
                denied=refused,
                failed=undone,
                policy=REFUNDS,
                who=lambda proposal: proposal.says.by,
                may=lambda proposal: proposal.says.by == "owner",
                budgets=[
                    Budget("refunds", most=MOST_REFUNDS),
                    Budget("cents", most=MOST_REFUNDED, amount=lambda proposal: proposal.says.cents),
                ],
                work=lambda slot: self.does(
                    slot, REFUNDS, Refund, ("payments.refund", "payments.take_back"), "refunded"
                ),
            )
        )
        net.add(
            Gate(
                "plan gate",
                takes=plan,
                gives=at.gives,
                denied=no_plan,
                failed=unplanned,
                policy=PLANS,
                who=lambda proposal: proposal.says.by,
                may=lambda proposal: proposal.says.by == "owner",
                budgets=[Budget("plans", most=1)],
                work=lambda slot: self.does(slot, PLANS, Plan, ("plans.set_up", "plans.cancel"), "planned"),
            )
        )
        for place in (undone, unplanned):
            self.scope.abort(
                net,
                f"{place.name} outside",
                takes={"it": place},
                outcome=lambda it: make(
                    Outcome, result="taken back", paid=it.account.paid, refunded=it.account.refunded
                ),
            )
        no = Settled(result="declined", cents=0, text="I cannot do that here; nothing was changed.")
        net.route(f"{at.id}.declines", takes={"r": refused}, puts={at.gives: lambda: no})
        net.route(f"{at.id}.declines a plan", takes={"r": no_plan}, puts={at.gives: lambda: no})

    def does(self, at: Slot, gate: Any, says: type[Token], names: tuple[str, str], result: Any) -> Contract:
        """What a gate lets pass, and nothing else."""
        effect, undo = names

        def emit(proposal: Any) -> Any:
            cents = proposal.says.cents if says is Refund else 0
            return make(Settled, result=result, cents=cents, text=proposal.text)

        return Contract(
            at.id,
            takes=at.takes,
            gives=at.gives,
            verify=gate,
            commit=Effect(effect, self.outside.does(effect), payload=says, tries=None),
            undo=Effect(undo, self.outside.does(undo, may_refuse="no"), payload=says, tries=10),
            saga=self.scope,
            payload=lambda proposal: proposal.says,
            emit=emit,
            otherwise=at.failed,
            on_failure=at.failed,
            fail_emit=lambda proposal: proposal,
        )


def tells(at: Slot) -> Contract:
    """The customer reads what has become of it."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        verify=within(at.takes.type, lambda it: it.payload.text != "", name="letters v1"),
        commit=Effect("chat.post", post, payload=Letter, external=False),
        payload=lambda inputs: make(
            Letter, account=inputs.view.id, result=inputs.payload.result, text=inputs.payload.text
        ),
        emit=lambda inputs: inputs.payload,
        otherwise=at.failed,
    )


def agent(*, proposers: Proposers | None = None, outside: Outside | None = None) -> Agent:
    """The billing agent.

    Args:
        proposers: What proposes; by default stand-ins that misbehave.
        outside: The systems; by default some that work.
    """
    return Agent.of(build(proposers or Proposers(), outside or Outside()))


def build(models: Proposers, outside: Outside) -> NetBuilder:
    """The net of the billing agent, with its handlers."""
    net = NetBuilder("billing and payment assist")
    opened, quiet = net.entry("opened", Customer), net.place("quiet", Account)
    over, back = net.final("over", Outcome), net.final("taken back", Outcome)
    net.known_by("account", at=opened, value=lambda it: it.id)
    scope = net.add(Saga("conversation", outcome=Outcome, completes=over, aborts=back))
    desk = net.add(Oversight("oversight", policy="oversight v1"))
    net.add(
        Sequencing(
            "log",
            takes=opened,
            done=quiet,
            quiet=QUIET,
            lateness=LATE,
            view=lambda inputs: make(
                Account,
                id=inputs.id,
                due=inputs.due,
                paid=inputs.paid,
                refunded=0,
                planned=False,
                bounced=False,
            ),
            events=[
                EventType("asked", Message),
                EventType("payment", Payment, fold=_paid),
                EventType("advised", Advice, source="consumers"),
                EventType("settled", Settled, source="consumers", fold=_settled),
            ],
            consumers=[
                Consumer(
                    "assistant", "asked", Advice, lambda at: Assists(at, models.advise, desk), "advised"
                ),
                Consumer(
                    "cashier", "advised", Settled, lambda at: Settles(at, desk, scope, outside), "settled"
                ),
                Consumer("chat", "settled", Settled, tells),
            ],
        )
    )
    ended: dict[str, Any] = {"takes": {"a": quiet}}
    scope.complete(
        net,
        "close",
        when=lambda a: ~a.bounced,
        outcome=lambda a: make(Outcome, result="over", paid=a.paid, refunded=a.refunded),
        **ended,
    )
    scope.abort(
        net,
        "payment bounced",
        when=lambda a: a.bounced,
        outcome=lambda a: make(Outcome, result="taken back", paid=a.paid, refunded=a.refunded),
        **ended,
    )
    net.add(KillSwitch("kill", on=desk, scope=scope, outcome=Outcome(result="killed", paid=0, refunded=0)))
    _required(net)
    return net


def _paid(view: Term, event: Term) -> Any:
    cents, bounced = event.payload.cents, event.payload.kind == "bounced"
    return view.with_(
        paid=choose(bounced, view.paid - cents, view.paid + cents), bounced=view.bounced | bounced
    )


def _settled(view: Term, event: Term) -> Any:
    said = event.payload
    return view.with_(
        refunded=choose(said.result == "refunded", view.refunded + said.cents, view.refunded),
        planned=view.planned | (said.result == "planned"),
    )


def _required(net: NetBuilder) -> None:
    """What whoever buys this wants to know; what the patterns promise they require themselves."""
    net.require(
        *("SDB", "SAGA", "CTL", "STATE", "DATA", "EVT"),
        never(
            effect="payments.refund",
            of=Refund,
            where=lambda payload: payload.cents > ALONE,
            unless="approve refund",
            name=f"never more than {ALONE // 100} is given back that no person approved",
        ),
        never(
            effect="payments.refund",
            of=Refund,
            where=lambda payload: (payload.cents <= 0) | (payload.by != "owner"),
            name="money goes back to the owner of the account only",
        ),
        cap(
            "payments.refund",
            most=MOST_REFUNDED,
            amount=lambda payload: payload.cents,
            of=Refund,
            name=f"never more than {MOST_REFUNDED // 100} is given back in a conversation",
        ),
    )
