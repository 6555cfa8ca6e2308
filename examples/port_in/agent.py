"""Number port-in: one row for weeks of waiting, two systems that are told all or nothing, people who approve.

::

    planning ─▶ approving ─▶ submitting ─▶ waiting ─7 days─▶ chasing ─wait on─▶ waiting longer
    a model     a person         │            └─────────────────┴────────┬─────────────┘
              P2 ┌ order ─ gate ─┴▶ clearing.submit               donor confirms
                 └ line  ─ gate ──▶ network.provision                    ▼
                                                          confirmed ─ number moved ─▶ ported
    off ◀── no plan, no approval, the customer cancels, the donor rejects or does not answer
     └─▶ what was ordered and set up is taken back

``workload.yaml`` says what was known before it was built, and ``provenet advise`` what follows. A number
moves in weeks, and the world changes meanwhile: so a row with a version is the spine (P5). What the donor
confirmed is in the row, for it follows from no input. Ordering and setting up the line stand or fall
together (P2), each behind a gate (P4). A person approves the very order that is sent, the desk is asked
where the donor is silent, and there is a switch (P6); how many orders a minute the clearing house takes, of
all cases together, is a throttle of the engine (``__main__``). What the donor or the customer says while
the two systems are being told is kept until that is done.

Nothing here needs a key or a network: the models are stand-ins that misbehave, seeded, and so do the systems,
the donor and the customer (``outside``)::

    provenet verify provenet.examples.port_in.agent
    python -m provenet.examples.port_in
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provenet import (
    Agent,
    Approval,
    Contract,
    Effect,
    Escalation,
    Gate,
    KillSwitch,
    Level,
    Move,
    NetBuilder,
    Oversight,
    Peer,
    Saga,
    ScatterGather,
    Slot,
    StateMachine,
    Term,
    Token,
    Worker,
    always,
    cap,
    eventually,
    function,
    make,
    precedes,
)
from provenet.examples.port_in.outside import DAY, Outside, Proposers
from provenet.examples.port_in.rules import (
    LINE,
    LINE_GATE,
    NOTICE,
    ORDER_GATE,
    PLAN,
    Confirmed,
    GoOn,
    Line,
    LineAsked,
    Order,
    Outcome,
    Port,
    PortRequest,
    Submitted,
    useful,
)

UNDONE_BY = {"clearing.cancel": "clearing.submit", "network.deprovision": "network.provision"}
"""What takes what back."""


def agent(*, proposers: Proposers | None = None, outside: Outside | None = None) -> Agent:
    """The port-in agent.

    Args:
        proposers: What proposes; by default stand-ins that misbehave.
        outside: The two systems; by default some that work.
    """
    return Agent.of(build(proposers or Proposers(), outside or Outside()))


def build(models: Proposers, outside: Outside) -> NetBuilder:
    """The net of the port-in agent, with its handlers."""
    net = NetBuilder("number port-in")
    inbox, known = net.entry("inbox", PortRequest), net.place("known", Port)
    moved, off = net.place("moved", Port), net.place("called off", Port)
    ported, stayed = net.final("ported", Outcome), net.final("stayed", Outcome)
    scope = net.add(Saga("case", outcome=Outcome, completes=ported, aborts=stayed))
    trail = net.add(Oversight("oversight", policy="porting v1"))
    net.known_by("number", at=inbox, value=lambda it: it.number)

    net.route("open", takes={"it": inbox}, puts={known: _opened})
    waits = ("waiting", "chasing", "waiting longer")
    row = net.add(
        StateMachine(
            "port",
            takes=known,
            states=("planning", "approving", "submitting", *waits, "confirmed", "ported", "off"),
            moves=[
                Move("plan", "planning", "approving", by="planner", sets=lambda answer: answer),
                Move("no plan", "planning", "off", without="planner", sets=_because("no plan passed policy")),
                Move("approve", "approving", "submitting", by="approver", sets=lambda answer: answer),
                Move("deny", "approving", "off", without="approver", sets=_because("not approved")),
                Move("submitted", "submitting", "waiting", by="porter"),
                Move("not submitted", "submitting", "off", without="porter"),
                Move("donor is silent", "waiting", "chasing", after=7 * DAY),
                Move("wait on", "chasing", "waiting longer", by="desk"),
                Move("give up", "chasing", "off", without="desk", sets=_because("the desk gave up")),
                Move("still silent", "waiting longer", "off", after=3 * DAY, sets=_because("no answer")),
                Move(
                    "donor confirms",
                    waits,
                    "confirmed",
                    on="donor.confirmed",
                    brings=Confirmed,
                    when=_in_time,
                    sets=lambda data, said: data.with_(date=said.date),
                ),
                Move(
                    "donor names another day",
                    waits,
                    "off",
                    on="donor.confirmed",
                    brings=Confirmed,
                    when=lambda data, said: ~_in_time(data, said),
                    sets=_because("the donor's day is of no use"),
                ),
                Move("donor rejects", waits, "off", on="donor.rejected", sets=_because("rejected")),
                Move("number moved", "confirmed", "ported", on="number.moved"),
                Move(
                    "never moved",
                    "confirmed",
                    "off",
                    after=lambda data: data.date + 2 * DAY,
                    sets=_because("it did not move"),
                ),
                Move(
                    "customer cancels",
                    ("planning", "approving", *waits, "confirmed"),
                    "off",
                    on="customer.cancelled",
                    sets=_because("cancelled"),
                ),
            ],
            ends={"ported": moved, "off": off},
            workers=[
                Worker("planner", Port, _plans(models)),
                Worker("approver", Port, _approves(trail), overtaken="is withdrawn"),
                Worker("porter", Submitted, lambda at: Submits(at, scope, models, outside)),
                Worker("desk", GoOn, _asks(trail), overtaken="is withdrawn"),
            ],
            conflicts=0,
            scope=scope,
        )
    )
    # What is said before both systems have been told waits until they have: nobody moves the row meanwhile.
    for event in ("donor.confirmed", "donor.rejected", "number.moved", "customer.cancelled"):
        net.delivery(event, early="keep", keep_for=30 * DAY)
    scope.complete(
        net, "arrive", takes={"it": moved}, outcome=lambda it: make(Outcome, result="ported", why=it.why)
    )
    scope.abort(
        net, "call off", takes={"it": off}, outcome=lambda it: make(Outcome, result="stayed", why=it.why)
    )
    killed = Outcome(result="killed", why="the kill switch was pulled")
    net.add(KillSwitch("kill", on=trail, scope=scope, outcome=killed))

    here, submitting = row.rows["ported"], row.rows["submitting"]
    net.require(
        *("SDB", "SAGA", "CTL-2", "CTL-3", "STATE", "DATA", "EVT"),
        *(cap(effect, most=1, name=f"{effect} happens once at most") for effect in UNDONE_BY.values()),
        always(
            submitting.name,
            of=submitting.type,
            where=lambda it: (
                (it.data.order.number == it.data.request.number)
                & (it.data.order.wish >= it.data.request.asked + NOTICE)
            ),
            name="what is ordered is the number that was asked for, with notice to the donor",
        ),
        always(
            here.name,
            of=here.type,
            where=lambda it: useful(it.data.order, it.data.date),
            name="a number moves on a day that the donor has confirmed, and that is of use",
        ),
        precedes("clearing.submit", "port.number moved", name="nothing moves that was not ordered"),
        eventually("ported", "stayed", name="every number moves, or stays where it was"),
    )
    return net


@dataclass(frozen=True)
class Submits:
    """Both systems are told, or neither: a worker's part.

    Attributes:
        at: The slot of the worker.
        scope: The saga scope that takes back what was done where the rest fails, or later.
        models: What proposes a line.
        outside: The two systems.
    """

    at: Slot
    scope: Any
    models: Proposers
    outside: Outside

    def expand(self, net: NetBuilder) -> None:
        """Add it to a net."""
        at = self.at
        task = net.place(f"{at.id}.order and line", Port)
        net.route(f"{at.id}.begin", takes={"seen": at.takes}, puts={task: lambda seen: seen.data})
        net.add(
            ScatterGather(
                at.id,
                takes=task,
                scope=self.scope,
                peers=[
                    Peer("order", Order, self._orders, within=DAY),
                    Peer("line", Line, lambda slot: Provisions(slot, self), within=DAY),
                ],
                merge=lambda inputs: make(Submitted, number=inputs.request.number),
                gives=at.gives,
                fails=lambda why: make(Outcome, result="stayed", why=why),
            )
        )

    def _orders(self, at: Slot) -> Gate:
        """Sends the order that was approved."""
        return Gate(
            at.id,
            takes=at.takes,
            gives=at.gives,
            denied=at.failed,
            failed=at.failed,
            policy=ORDER_GATE,
            who=lambda: "the porting desk",
            work=lambda slot: self.tells(slot, ORDER_GATE, Order, "order", "clearing.submit"),
        )

    def tells(self, at: Slot, rules: Any, of: type[Token], part: str, effect: str) -> Contract:
        """What a gate lets pass, and nothing else.

        Args:
            at: The slot of the gate.
            rules: The gate's policy.
            of: What the system is told.
            part: The field of the request that is told.
            effect: What tells the system.
        """
        undo = next(back for back, done in UNDONE_BY.items() if done == effect)
        return Contract(
            at.id,
            takes=at.takes,
            gives=at.gives,
            verify=rules,
            commit=Effect(effect, self.outside.does(effect), payload=of, tries=None),
            undo=Effect(undo, self.outside.does(undo, may_refuse="no"), payload=of, tries=10),
            saga=self.scope,
            payload=lambda proposal: getattr(proposal, part),
            emit=lambda proposal: getattr(proposal, part),
            otherwise=at.failed,
            escalate=lambda inputs: inputs if at.failed.type == at.takes.type else inputs.port,
            on_failure=at.failed,
            fail_emit=lambda proposal: proposal if at.failed.type == at.takes.type else proposal.port,
        )


@dataclass(frozen=True)
class Provisions:
    """A model chooses a profile, a gate judges it, and the line is set up; a peer's part.

    Attributes:
        at: The slot of the peer.
        of: What it is a part of.
    """

    at: Slot
    of: Submits

    def expand(self, net: NetBuilder) -> None:
        """Add it to a net."""
        at, of = self.at, self.of
        ready = net.place(f"{at.id}.ready", LineAsked)
        net.add(
            Contract(
                at.id,
                takes=at.takes,
                gives=ready,
                propose=function(of.models.profile, gets="request"),
                returns=Line,
                verify=LINE,
                emit=lambda inputs, proposal: make(LineAsked, port=inputs, says=proposal),
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
                policy=LINE_GATE,
                who=lambda: "line",
                deny=lambda proposal: proposal.port,
                work=lambda slot: of.tells(slot, LINE_GATE, Line, "says", "network.provision"),
            )
        )


def _plans(models: Proposers) -> Any:
    """A model says when; it is asked three times."""
    return lambda at: Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        propose=function(models.plan, gets="request"),
        returns=Order,
        verify=PLAN,
        emit=lambda inputs, proposal: inputs.data.with_(order=proposal, date=proposal.wish),
        attempts=3,
        otherwise=at.failed,
    )


def _approves(trail: Any) -> Any:
    """Somebody of the porting desk approves the very order that is sent."""
    return lambda at: Approval(
        at.id,
        on=trail,
        takes=at.takes,
        approve=at.gives,
        deny=at.failed,
        who="porting_desk",
        within=DAY,
        before=["clearing.submit"],
        why="an order binds the customer and the donor",
        about=lambda inputs: inputs.data,
        on_approve=lambda inputs: inputs.data,
    )


def _asks(trail: Any) -> Any:
    """The desk, and then its head, say whether it is worth waiting for the donor."""
    return lambda at: Escalation(
        at.id,
        on=trail,
        takes=at.takes,
        resumes=at.gives,
        ends=at.failed,
        levels=[Level("porting_desk", DAY), Level("head_of_porting", DAY)],
        why="the donor has not answered in seven days",
        on_resume=lambda inputs: make(GoOn, number=inputs.data.request.number),
    )


def _opened(it: Term) -> Term:
    order = make(Order, number=it.number, donor=it.donor, account=it.account, wish=it.wish)
    return make(Port, request=it, order=order, date=it.wish, why="")


def _because(why: str) -> Any:
    """The row's data, with why it was called off."""
    return lambda data: data.with_(why=why)


def _in_time(data: Term, said: Term) -> Term:
    return useful(data.order, said.date)
