"""Hold some conversations, and look what stands outside: ``python -m provenet.examples.billing [COUNT]``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from provenet import Agent, Decision, Engine, EngineError, Report, Task, Throttle, VirtualClock, prove
from provenet.examples.billing.agent import UNDONE_BY, agent
from provenet.examples.billing.outside import Outside, Proposers
from provenet.examples.billing.rules import By, Customer, Message, Payment
from provenet.examples.systems import Failures, drawn

START = datetime(2026, 1, 1, tzinfo=UTC)
WISHES = ("why", "refund 900", "refund 2500", "plan 6", "refund 15000", "plan 40")
THROTTLE = Throttle(name="models", per=timedelta(seconds=10), calls=40)
"""What all conversations together may ask of models."""


@dataclass(frozen=True)
class Delivery:
    """An event as it is delivered: perhaps again, perhaps after a newer one.

    Attributes:
        event: Its name.
        number: Its place in the channel's log.
        payload: What it says.
    """

    event: str
    number: int
    payload: Message | Payment


@dataclass(frozen=True)
class Conversation:
    """A customer, and what comes of them.

    Attributes:
        customer: Who begins it.
        deliveries: What comes, in the order of its coming.
        killed: Whether the switch is pulled while it lasts.
    """

    customer: Customer
    deliveries: tuple[Delivery, ...]
    killed: bool = False

    @property
    def paid(self) -> int:
        """What is paid in the end: each event counts once, and none that comes after a newer one."""
        last, paid = 0, self.customer.paid
        for it in self.deliveries:
            if it.number > last and isinstance(it.payload, Payment):
                paid += it.payload.cents if it.payload.kind == "came" else -it.payload.cents
            last = max(last, it.number)
        return paid


def conversations(count: int, *, seed: int = 1) -> Iterator[Conversation]:
    """Made-up conversations: events come in order, now and then one twice, and one too late."""
    for at in range(count):
        name = f"a-{seed}-{at}"
        comes = [_event(seed, name, number) for number in range(1, 4 + int(3 * drawn(seed, "many", name)))]
        for number in range(len(comes) - 1, 0, -1):
            dice = drawn(seed, "again", name, number)
            if dice < 0.15:
                comes.insert(number, comes[number - 1])
            elif dice < 0.25:
                comes[number - 1], comes[number] = comes[number], comes[number - 1]
        paid = int(10_000 * drawn(seed, "paid", name))
        customer = Customer(id=name, due=paid + int(9_000 * drawn(seed, "due", name)), paid=paid)
        yield Conversation(customer, tuple(comes), drawn(seed, "killed", name) < 0.1)


def _event(seed: int, name: str, number: int) -> Delivery:
    dice = drawn(seed, "event", name, number)
    if dice < 0.2:
        return Delivery("payment", number, Payment(kind="came", cents=1_500))
    if dice < 0.25:
        return Delivery("payment", number, Payment(kind="bounced", cents=1_500))
    by: By = "guest" if drawn(seed, "by", name, number) < 0.15 else "owner"
    wish = WISHES[int(drawn(seed, "wish", name, number) * len(WISHES))]
    return Delivery("asked", number, Message(text=wish, by=by))


async def hold(
    made: Agent,
    talks: Iterable[Conversation],
    *,
    database: str,
    report: Report | None = None,
) -> dict[str, tuple[str, Any]]:
    """Run conversations to their ends on a virtual clock.

    Args:
        made: The agent.
        talks: The conversations.
        database: Where the cases are kept.
        report: What is proved of the agent; none where the database has it deployed.

    Returns:
        Where each case ended, and what its outcome says.
    """
    clock = VirtualClock(START)

    async def decides(task: Task) -> Decision | None:
        """People of the desk: most say yes, some no, some nothing."""
        await clock.sleep(task.opened + timedelta(minutes=10) - clock.now())
        dice = drawn(1, "person", task.case, task.task, task.token)
        return None if dice < 0.2 else Decision("deny" if dice < 0.4 else "approve", f"dana@{task.role}")

    async with Engine.open(
        database, agents=[made], clock=clock, people=decides, throttles=[THROTTLE]
    ) as engine:
        if report is not None:
            engine.deploy(made, report)
        talks = list(talks)
        for talk in talks:
            case = talk.customer.id
            await engine.start_case(made.net.name, inputs={"opened": talk.customer}, case_id=case)
            for it in talk.deliveries:
                about = {"id": f"{case}/{it.number}", "number": it.number, "version": 1}
                told = about | {"model": "", "prompt": "", "payload": it.payload.model_dump()}
                try:
                    await engine.signal(case, it.event, told)
                except EngineError as error:
                    # A system has refused meanwhile: the conversation was taken back, and hears nothing more.
                    if error.code != "EN423":
                        raise
        await engine.run_until_idle(until=START + timedelta(minutes=5))
        for talk in talks:
            if talk.killed:
                await engine.kill("case", talk.customer.id, who="dana@billing_desk", reason="looks odd")
        await engine.run_until_idle()
        return {c.id: (c.outcome_place or c.status, c.outcome) for c in engine.read.cases()}


def amiss(talks: Iterable[Conversation], ended: dict[str, tuple[str, Any]], outside: Outside) -> list[str]:
    """Where the outside ledger and the ends of conversations disagree."""
    found = []
    standing, given_back = outside.standing(UNDONE_BY), outside.cents(UNDONE_BY)
    for talk in talks:
        case = talk.customer.id
        place, outcome = ended[case]
        stands = {effect: n for effect, n in standing.get(case, Counter()).items() if n}
        cents = given_back.get(case, 0)
        if place == "taken back" and (stands or cents):
            found.append(f"{case}: taken back, and yet there are {stands}")
        elif place == "over" and (cents != outcome["refunded"] or stands.get("plans.set_up", 0) > 1):
            found.append(f"{case}: {outcome['refunded']} cents given back, and outside {cents}, {stands}")
        elif place not in ("over", "taken back"):
            found.append(f"{case}: has not ended, {place}")
        if outcome and outcome["result"] == "over" and outcome["paid"] != talk.paid:
            found.append(f"{case}: {outcome['paid']} cents paid, and it should be {talk.paid}")
    return found


def main() -> None:
    """Hold as many conversations as the command line says, 60 without."""
    talks = list(conversations(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
    outside = Outside(failures=Failures())
    made = agent(proposers=Proposers(), outside=outside)
    ended = asyncio.run(hold(made, talks, database=":memory:", report=prove(made.net)))
    results = Counter(outcome["result"] if outcome else place for place, outcome in ended.values())
    wrong = amiss(talks, ended, outside)
    done = Counter(effect for effect, _ in outside.done.values())
    said = "\n".join(wrong) or "the outside ledger agrees: each effect once, nothing left half done"
    sys.stdout.write(f"{dict(results)}\noutside: {dict(done)}\n{said}\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
