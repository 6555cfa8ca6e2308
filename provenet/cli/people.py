"""`provenet approve`, `reject`, `delegate`, `signal`, `kill`, `resume`: what people and the outside say."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.access import AccessFile, SignedToken, rules_of, signed_by
from provenet.cli.printing import Failed, JsonFlag, Out, Unusable, short_value
from provenet.cli.reading import CaseId, Database, known_net, reader_of

if TYPE_CHECKING:
    from provenet.engine import TaskView

Who = Annotated[
    str,
    typer.Option(
        "--as", help="Who decides, with role: dana@pricing. A token says so itself.", show_default=False
    ),
]
TaskName = Annotated[str | None, typer.Option("--task", help="Which task, where several are open.")]
AboutHash = Annotated[
    str | None,
    typer.Option(
        "--about", help="Hash of what you were shown: refused if it is about something else by now."
    ),
]
Note = Annotated[str | None, typer.Option(help="JSON that goes with the choice, where the net asks for it.")]
AgentTarget = Annotated[
    str | None,
    typer.Option("--agent", metavar="TARGET", help="The agent, where no engine runs and its code is needed."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("approve")(approve_command)
    app.command("reject")(reject_command)
    app.command("delegate")(delegate_command)
    app.command("signal")(signal_command)
    app.command("kill")(kill_command)
    app.command("resume")(resume_command)
    app.command("settle")(settle_command)


def approve_command(
    *,
    case: CaseId,
    who: Who = "",
    database: Database,
    task: TaskName = None,
    about: AboutHash = None,
    choice: Annotated[str, typer.Option(help="Another choice than approve.")] = "approve",
    note: Note = None,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Decide an open task: approve."""
    _decide(
        Out(as_json=as_json),
        case,
        who,
        database,
        task=task,
        about=about,
        choice=choice,
        note=note,
        agent=agent,
        by=(token, access),
    )


def reject_command(
    *,
    case: CaseId,
    who: Who = "",
    database: Database,
    task: TaskName = None,
    about: AboutHash = None,
    note: Note = None,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Decide an open task: deny."""
    _decide(
        Out(as_json=as_json),
        case,
        who,
        database,
        task=task,
        about=about,
        choice="deny",
        note=note,
        agent=agent,
        by=(token, access),
    )


def delegate_command(
    *,
    case: CaseId,
    to: Annotated[str | None, typer.Option("--to", help="Who, with role: erin@legal.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Take it back.")] = False,
    who: Who = "",
    database: Database,
    task: TaskName = None,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Let somebody else decide an open task in your place."""
    from provenet.engine.reader import Reader

    if (to is None) != back:
        raise Unusable("to whom?", hint="give --to NAME@ROLE, or --back to take it back")
    found = _task_of(Reader(database).case(case).tasks, case, task)
    _somebody(who, token)
    command = {"do": "delegate", "case": case, "task": found.task, "to": to, "who": who}
    _ask(Out(as_json=as_json), database, command, agent, token, access)


def signal_command(
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[CASE] EVENT [JSON]",
            help="Id of the case, unless --about says which; name of the event; what it brings.",
            show_default=False,
        ),
    ],
    database: Database,
    about: Annotated[
        list[str] | None,
        typer.Option(
            "--about", metavar="NAME=VALUE", help="A key that cases are known by, in the place of CASE."
        ),
    ] = None,
    one: Annotated[bool, typer.Option("--one", help="Refuse it where --about finds several cases.")] = False,
    key: Annotated[str | None, typer.Option(help="What tells this event from others; taken once.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When it happened: 2026-01-31T12:00:00+00:00.")
    ] = None,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Tell a case, or all cases known by a key, that something happened outside."""
    first = 0 if about else 1
    if not first < len(words) <= first + 2:
        raise Unusable(
            "say which case, which event, and what it brings",
            hint="provenet signal CASE EVENT [JSON] --db FILE, or: signal EVENT [JSON] --about order=17",
        )
    command: dict[str, Any] = {"do": "signal"}
    if about:
        command |= {"about": _pairs(about)} | ({"to": "one"} if one else {})
    else:
        command["case"] = words[0]
    payload = words[first + 1] if len(words) > first + 1 else None
    command |= {"event": words[first], "payload": _json(payload, "JSON"), "key": key}
    command |= {} if at is None else {"at": _time(at)}
    _ask(Out(as_json=as_json), database, command, agent, token, access)


def kill_command(
    *,
    case: Annotated[
        str | None, typer.Argument(metavar="[CASE]", help="One case.", show_default=False)
    ] = None,
    net: Annotated[
        str | None, typer.Option("--net", help="All cases of this net; no new one starts.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything; nothing new starts.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Let --net or --all start new cases again.")
    ] = False,
    who: Annotated[str, typer.Option("--as", help="Who pulls the switch.")] = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    database: Database,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Pull the kill switch.

    No commit begins any more. Where the net has a kill transition (`scope.kill`), what was committed is taken
    back; where it has none, a case is stopped where it stands, and what is not taken back is named.
    """
    asked = [("case", case), ("net", net), ("all", "" if everything else None)]
    chosen = [(scope, target) for scope, target in asked if target is not None]
    if len(chosen) != 1:
        raise Unusable(
            "say what to kill: one of CASE, --net NAME, --all", hint="provenet kill r-8f3a --db FILE"
        )
    scope, target = chosen[0]
    if release and scope == "case":
        raise Unusable("a killed case stays killed", hint="--release goes with --net NAME or --all")
    if scope == "net":
        known_net(reader_of(database), str(target), by="name")
    command = {
        "do": "release" if release else "kill",
        "scope": scope,
        "target": target,
        "who": who,
        "reason": reason,
    }
    _ask(Out(as_json=as_json), database, command, agent, token, access)


def resume_command(
    *,
    case: CaseId,
    database: Database,
    agent: AgentTarget = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Let a parked case go on."""
    _ask(Out(as_json=as_json), database, {"do": "resume", "case": case}, agent, token, access)


def settle_command(
    *,
    case: CaseId,
    effect: Annotated[str, typer.Argument(help="Name of the effect.", show_default=False)],
    database: Database,
    who: Who = "",
    agent: AgentTarget = None,
    receipt: Annotated[
        str | None, typer.Option("--performed", help="It happened: its receipt, as JSON.")
    ] = None,
    failed: Annotated[str | None, typer.Option("--failed", help="It did not happen: why.")] = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what became of an effect that may not be called twice."""
    if (receipt is None) == (failed is None):
        raise Unusable("did it happen or not?", hint="give --performed RECEIPT or --failed REASON")
    _somebody(who, token)
    command = {"do": "settle", "case": case, "effect": effect, "who": who, "failed": failed}
    command["receipt"] = _json(receipt, "--performed")
    _ask(Out(as_json=as_json), database, command, agent, token, access)


def _decide(
    out: Out,
    case: str,
    who: str,
    database: str,
    *,
    task: str | None,
    about: str | None,
    choice: str,
    note: str | None,
    agent: str | None,
    by: tuple[str, str],
) -> None:
    from provenet.engine.reader import Reader

    _somebody(who, by[0])
    found = _task_of(Reader(database).case(case).tasks, case, task)
    if about is not None and not found.about_hash.startswith(about):
        raise Failed(
            f"task {found.task!r} is about something else by now: {found.about_hash[:12]}, not {about[:12]}",
            where=f"case {case!r}",
            hint="look at the task again and decide on what it says now",
        )
    if choice == "deny" and "deny" not in found.choices and "reject" in found.choices:
        choice = "reject"
    command = {
        "do": "decide",
        "case": case,
        "task": found.task,
        "choice": choice,
        "who": who,
        # The decision binds to what the database says now, and is refused should that change on the way.
        "about_hash": found.about_hash,
        "note": _json(note, "--note"),
    }
    out.line(f"{found.task}: {short_value(found.about, 160)}", "dim")
    _ask(out, database, command, agent, *by)


def _task_of(tasks: tuple[TaskView, ...], case: str, wanted: str | None) -> TaskView:
    from provenet.nets.errors import did_you_mean

    open_ones = [t for t in tasks if t.status == "open"]
    found = [t for t in open_ones if wanted is None or t.task == wanted]
    if not found:
        what = f"no open task {wanted!r}" if wanted is not None else "no open task"
        hint = (
            did_you_mean(wanted or "", [t.task for t in open_ones])
            if open_ones
            else f"see `provenet case {case}`"
        )
        raise Failed(f"there is {what}", where=f"case {case!r}", hint=hint)
    if len({t.task for t in found}) > 1:
        names = ", ".join(f'--task "{t.task}"' for t in found)
        raise Unusable("several tasks are open", where=f"case {case!r}", hint=f"say which: {names}")
    return found[0]


def _ask(
    out: Out, database: str, command: dict[str, Any], agent: str | None, token: str, access: str
) -> None:
    from provenet.cli.loading import load
    from provenet.engine.requests import ask

    agents = [] if agent is None else [load(agent).agent]
    answer = ask(database, signed_by(token, command), agents, access=rules_of(access))
    out.line(str(answer["done"]), "bold")
    if "note" in answer:
        out.line(f"  {answer['note']}", "dim")
    out.data(answer)


def _somebody(who: str, token: str) -> None:
    if not who and not token:
        raise Unusable(
            "who says so?", where="--as", hint="give --as NAME@ROLE, or a token (--token, PROVENET_TOKEN)"
        )


def _pairs(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise Unusable(f"{text!r} is no key", where="--about", hint="such as --about order=17")
        found[name] = value
    return found


def _time(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        hint = "such as 2026-01-31T12:00:00+00:00, or with Z: the zone is part of it"
        raise Unusable(f"{text!r} is no time", where="--at", hint=hint)
    return found.isoformat()


def _json(text: str | None, where: str) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(
            f"this is no JSON: {error}",
            where=where,
            hint="""quote it for the shell: '{"discount_pct": 20}'""",
        ) from error
