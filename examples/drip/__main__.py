"""Write to some leads, and lose the database in between: ``python -m provenet.examples.drip [COUNT]``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from provenet import Agent, Engine, EngineError, Report, VirtualClock, prove
from provenet.examples.drip.agent import MOST_DISCOUNT, MOST_LETTERS, PROMISE, Lead, again, agent
from provenet.examples.drip.outside import Office, Reaction, Writer, reactions
from provenet.examples.systems import Failures, drawn

START = datetime(2026, 1, 5, tzinfo=UTC)
LOST = timedelta(days=17, hours=12)
"""When the database is lost: between two letters, when what had to be sent has been."""
END = timedelta(days=90)


def leads(count: int, *, seed: int = 1) -> Iterator[Lead]:
    """Made-up leads; a few of them want no letters."""
    for number in range(count):
        id_ = f"l-{number}"
        letters = 3 + int(drawn(seed, "letters", id_) * (MOST_LETTERS - 2))
        product = ("solar roof", "heat pump")[number % 2]
        yield Lead(
            id=id_, product=product, letters=letters, since=START, consents=drawn(seed, "consent", id_) > 0.1
        )


@dataclass
class Told:
    """What a run has to tell.

    Attributes:
        ended: How each campaign ended that did.
        committed: The letters that the cases' logs say were sent, by lead.
        most: The most letters that a lead may have by the end, where a reaction was taken.
        heard: How often what the outside told was taken, kept, or refused.
    """

    ended: dict[str, str] = field(default_factory=dict)
    committed: Counter[str] = field(default_factory=Counter)
    most: dict[str, int] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)


async def write(
    made: Agent,
    office: Office,
    campaigns: Sequence[Lead],
    happens: Sequence[Reaction],
    *,
    told: Told,
    begin: timedelta,
    end: timedelta,
    database: str = ":memory:",
    report: Report | None = None,
) -> None:
    """Run campaigns on a virtual clock, with what the outside tells meanwhile.

    Args:
        made: The agent.
        office: The mail office that it writes through.
        campaigns: The leads.
        happens: What the outside tells, in its order.
        told: What has happened, to be gone on with.
        begin: When it begins, from the first letter's day.
        end: When it stops, wherever the cases are.
        database: Where the cases are kept.
        report: What is proved of the agent; none where the database has it deployed.
    """
    async with Engine.open(database, agents=[made], clock=VirtualClock(START + begin)) as engine:
        if report is not None:
            engine.deploy(made, report)
        cases = {lead.id: f"{lead.id} from {lead.done + 1}" for lead in campaigns}
        for lead in campaigns:
            await engine.start_case(made.net.name, inputs={"leads": lead}, case_id=cases[lead.id])
        for reaction in happens:
            if not begin <= reaction.after < end or reaction.lead not in cases:
                continue
            await engine.run_until_idle(until=START + reaction.after)
            for _ in range(reaction.times):
                told.heard[await _tell(engine, office, cases[reaction.lead], reaction, told)] += 1
        await engine.run_until_idle(until=START + end)
        found = {case.id: case.outcome for case in engine.read.cases()}
        for lead_id, case in cases.items():
            if found[case] is not None:
                told.ended[lead_id] = found[case]["result"]
            log = engine.read.log(case)
            told.committed[lead_id] += sum(line.transition == "mail.act.commit" for line in log)


async def _tell(engine: Engine, office: Office, case: str, reaction: Reaction, told: Told) -> str:
    """Tell a case of a reaction, and say what came of it."""
    letters = len(office.numbers("mail.send_letter", reaction.lead))
    try:
        if reaction.event == "withdraw":
            await engine.kill("case", case, who="marketing", reason="the offer was wrong")
            return "withdrawn"
        taken = await engine.signal(case, reaction.event, key=f"{reaction.event} {reaction.lead}")
    except EngineError as refused:
        return type(refused).__name__
    # An event that is kept came while a letter was on its way, and that one arrives.
    told.most.setdefault(reaction.lead, letters + (taken == "kept"))
    return taken


def disagreements(office: Office, first: Sequence[Lead], second: Sequence[Lead], told: Told) -> Iterator[str]:
    """Where what stands outside is not what the plan, the reactions and the logs say it has to be.

    Args:
        office: The mail office.
        first: The leads.
        second: Those whose campaign began again.
        told: What has happened.
    """
    begun = {lead.id: lead for lead in second}
    for lead in first:
        letters, undone = (office.numbers(f"mail.send_{what}", lead.id) for what in ("letter", "correction"))
        ended, mine = told.ended.get(lead.id, "not at all"), begun.get(lead.id, lead)
        if letters != sorted(set(letters)) or not set(letters) <= set(range(1, lead.letters + 1)):
            yield f"{lead.id} got the letters {letters} of {lead.letters}"
        if letters and not lead.consents:
            yield f"{lead.id} wants no letters, and got some"
        if len(letters) > told.most.get(lead.id, MOST_LETTERS):
            yield f"{lead.id} got a letter after asking for no more"
        if len(letters) != told.committed[lead.id]:
            yield f"{lead.id} got {len(letters)} letters, and the logs have {told.committed[lead.id]}"
        # A campaign takes back what it has sent itself; what it sent before its case was lost, nobody does.
        stood = [n for n in letters if n > mine.done]
        if undone != (stood[::-1] if ended in ("withdrawn", "bounced") else []):
            yield f"{lead.id} ended {ended}, got {stood}, and corrections of {undone}"
        if ended == "not at all":
            yield f"the campaign for {lead.id} never ended"
    for _, letter in office.done.values():
        if letter.discount_pct > MOST_DISCOUNT or PROMISE in letter.text:
            yield f"{letter.lead} got a letter that nobody may write: {letter.text}"


async def campaign(
    count: int,
    *,
    seed: int = 1,
    writer: Writer | None = None,
    databases: tuple[str, str] = (":memory:", ":memory:"),
    report: Report | None = None,
) -> tuple[Told, Office, list[str]]:
    """Write to some leads for three weeks, lose the database, and begin again from the input.

    Args:
        count: How many leads.
        seed: What is drawn from.
        writer: What writes; by default one that misbehaves.
        databases: The one that is lost, and the one after it.
        report: What is proved of the agent; none where the databases have it deployed.

    Returns:
        What happened, the mail office, and where the two disagree.
    """
    office = Office(seed, Failures())
    made = agent(writer=writer or Writer(seed), office=office)
    first = list(leads(count, seed=seed))
    happens, told = reactions([lead.id for lead in first], seed=seed), Told()
    await write(
        made,
        office,
        first,
        happens,
        told=told,
        begin=timedelta(0),
        end=LOST,
        database=databases[0],
        report=report,
    )
    going_on = [again(lead, START + LOST) for lead in first if lead.id not in told.ended]
    second = [lead for lead in going_on if lead is not None]
    await write(
        made,
        office,
        second,
        happens,
        told=told,
        begin=LOST,
        end=END,
        database=databases[1],
        report=report,
    )
    return told, office, list(disagreements(office, first, second, told))


def main() -> None:
    """Write to as many leads as the command line says, 60 without."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    told, office, wrong = asyncio.run(campaign(count, report=prove(agent().net)))
    did = Counter(effect for effect, _ in office.done.values())
    sys.stdout.write(f"campaigns: {dict(Counter(told.ended.values()))}\n")
    sys.stdout.write(f"reactions: {dict(told.heard)}\n")
    sys.stdout.write(f"outside:   {dict(did)}, {'as it has to be' if not wrong else 'NOT as it has to be'}\n")
    for line in wrong:
        sys.stdout.write(f"  {line}\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
