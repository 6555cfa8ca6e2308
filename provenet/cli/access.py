"""`provenet token`, `access` and `grants`: who may do what, and who was allowed to."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from provenet.cli.groups import group
from provenet.cli.printing import JsonFlag, Out, Unusable, counted, visible
from provenet.cli.reading import Database, reader_of

if TYPE_CHECKING:
    from provenet.engine.access.chain import AccessLine
    from provenet.engine.access.gate import Rules

SignedToken = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="PROVENET_TOKEN",
        help="Who you are, signed, where the database is guarded; @FILE has it in a file.",
        show_default=False,
    ),
]
AccessFile = Annotated[
    str,
    typer.Option(
        "--access",
        metavar="FILE",
        envvar="PROVENET_ACCESS",
        help="The rules of a guarded database; needed where no engine runs that knows them.",
        show_default=False,
    ),
]


def token_of(given: str) -> str | None:
    """A token as it was given, or from its file."""
    if not given.startswith("@"):
        return given.strip() or None
    try:
        found = Path(given[1:]).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise Unusable("this is no token: it is no text", where=given) from None
    if not found:
        raise Unusable(
            "this is no token: the file is empty", where=given, hint="`provenet token issue` signs one"
        )
    return found


def signed_by(given: str, command: dict[str, Any]) -> dict[str, Any]:
    """A command with the token that it is asked for with."""
    token = token_of(given)
    return command | {"token": token} if token else command


def rules_of(given: str, *, off: Literal["no", "yes"] = "no") -> Rules | None:
    """The rules as they were given: a file, or, where that may be said, that there are none any more."""
    if off == "yes" and given == "off":
        return "off"
    return Path(given) if given else None


def check_rules(rules: Rules | None) -> None:
    """Make sure that a file of rules can be enforced here, before a database is made that it would guard.

    Raises:
        RulesRefused: It says nothing of sense.
        EngineError: A package is not installed.
    """
    if isinstance(rules, Path):
        from provenet.engine.access import Access
        from provenet.engine.access.packages import jwt_package

        jwt_package()
        Access.read(rules)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("access")(access_command)
    app.command("grants")(grants_command)
    token = group(help="Make keys, sign tokens, and look at what one says.")
    token.command("keygen")(keygen_command)
    token.command("issue")(issue_command)
    token.command("inspect")(inspect_command)
    app.add_typer(token, name="token")


def access_command(
    *,
    database: Database,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show who was allowed what, and who was refused."""
    out = Out(as_json=as_json)
    found = [x for x in reader_of(database).access() if not refused or x.verdict == "refused"]
    out.rows(
        [(f"{x.at:%Y-%m-%d %H:%M:%S}", x.verdict, x.verb, _of(x), x.who, x.why) for x in found],
        head=("at", "", "verb", "of", "who", "why"),
    )
    out.line(counted(len(found), "entry") if len(found) == 1 else f"{len(found):,} entries", "bold")
    out.data([x.to_json() for x in found])


def _of(line: AccessLine) -> str:
    return line.target[: 12 if line.verdict == "rules" else 40]


def grants_command(
    *,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="engine, read or post.", show_default=False)],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role's name.", show_default=False)],
    schema: Annotated[str, typer.Option(help="Where the tables are.")] = "public",
    as_json: JsonFlag = False,
) -> None:
    """Print what to grant to a PostgreSQL role that runs cases, reads, or leaves requests."""
    from provenet.engine.store.grants import Kind, grants
    from provenet.nets.errors import did_you_mean

    if kind not in get_args(Kind):
        raise Unusable(f"there is no kind of role {kind!r}", hint=did_you_mean(kind, get_args(Kind)))
    out = Out(as_json=as_json)
    found = grants(kind, role, schema=schema)
    for statement in found:
        out.line(f"{statement};")
    out.data(found)


def keygen_command(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the private key goes: ops.pem.", show_default=False)
    ],
    as_json: JsonFlag = False,
) -> None:
    """Make a key: the private half goes into a file, the public half into the access file."""
    from provenet.engine.access import new_key

    out = Out(as_json=as_json)
    private, public = new_key()
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Unusable("the file is there already", where=str(file), hint="name another one") from None
    with os.fdopen(number, "wb") as opened:
        opened.write(private)
    text = "".join(public.decode().splitlines()[1:-1])
    if not as_json:  # beside what goes into a file
        said = f"{file}: the private key. It belongs where tokens are signed, and nowhere else."
        sys.stderr.write(visible(f"{said}\nthe access file:") + "\n")
    out.line(f'[keys."{file.stem}"]\npublic = "{text}"')
    out.data({"file": str(file), "kid": file.stem, "public": text})


def issue_command(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person or a service.", show_default=False)],
    role: Annotated[list[str], typer.Option("--role", help="A role; may be repeated.", show_default=False)],
    key: Annotated[
        Path | None, typer.Option("--key", help="The private key, as `token keygen` wrote it.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option("--secret-env", help="The environment variable with a shared secret.")
    ] = None,
    kid: Annotated[
        str | None, typer.Option("--kid", help="What the access file calls the key; the file's name.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.001, help="How long it is good for.")] = 8.0,
    verbs: Annotated[
        list[str] | None, typer.Option("--do", help="A verb that it is limited to; may be repeated.")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="JSON: the one command that it is for; it is good once then.")
    ] = None,
    database: Database,
    as_json: JsonFlag = False,
) -> None:
    """Sign a token for a database."""
    from provenet.engine.access import issue

    out = Out(as_json=as_json)
    if (key is None) == (secret is None):
        raise Unusable("what signs it?", hint="give --key FILE.pem, or --secret-env NAME")
    if key is None and kid is None:
        raise Unusable("which key is that?", hint="give --kid, as the access file calls it")
    try:
        asked = None if command is None else json.loads(command)
    except ValueError as error:
        raise Unusable(
            f"this is no JSON: {error}", where="--command", hint="quote it for the shell"
        ) from None
    if asked is not None and not isinstance(asked, dict):
        raise Unusable(
            "a command is an object", where="--command", hint='{"do": "kill", "scope": "all", ...}'
        )
    made = issue(
        key.read_bytes() if key is not None else os.environ.get(secret or "", "").encode(),
        kid or (key.stem if key is not None else ""),
        name=name,
        roles=role,
        database=reader_of(database).uid,
        lasts=timedelta(hours=hours),
        do=verbs or None,
        command=asked,
        algorithm="EdDSA" if key is not None else "HS256",
    )
    out.line(made)
    out.data({"token": made})


def inspect_command(
    *,
    token: SignedToken,
    verb: Annotated[str, typer.Option("--for", help="What it is to be used for.")] = "decide",
    access: AccessFile,
    database: Database,
    as_json: JsonFlag = False,
) -> None:
    """Say who a token names, and whether it counts."""
    from provenet.engine.access import Access
    from provenet.engine.access.tokens import read_token

    out = Out(as_json=as_json)
    rules = Access.read(Path(access))
    found = read_token(rules, token_of(token) or "", reader_of(database).uid, datetime.now(UTC), verb=verb)
    said: dict[str, Any] = {"name": found.name, "roles": sorted(found.roles), "id": found.id}
    said |= {"do": None if found.do is None else sorted(found.do), "command": found.command}
    out.line(f"{found.name}, {', '.join(said['roles']) or 'no role'}", "bold")
    out.line(f"  id {found.id}", "dim")
    if found.do is not None:
        out.line(f"  limited to: {', '.join(said['do'])}", "dim")
    if found.command is not None:
        out.line(f"  good once, for the command {found.command[:12]}", "dim")
    out.data(said)
