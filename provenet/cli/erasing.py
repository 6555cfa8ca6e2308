"""`provenet erase` and `provenet keys`: personal data that nobody can read any more; what opens the rest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.access import AccessFile, SignedToken, rules_of, signed_by
from provenet.cli.groups import group
from provenet.cli.printing import JsonFlag, Out, Unusable, counted
from provenet.cli.reading import Database, reader_of

if TYPE_CHECKING:
    from provenet.engine.keys import Keys

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--keys", metavar="FILE", envvar="PROVENET_KEYS_FILE", help="The master keys.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("erase")(erase_command)
    keys = group(help="Make, show and change the master keys of personal data.")
    keys.command("new")(new_command)
    keys.command("show")(show_command)
    keys.command("rotate")(rotate_command)
    app.add_typer(keys, name="keys")


def erase_command(
    *,
    case: Annotated[
        str | None, typer.Argument(metavar="[CASE]", help="One case.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="All cases that were started for this subject.")
    ] = None,
    who: Annotated[str, typer.Option("--as", help="Who has them erased.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help="Why.", show_default=False)],
    kill: Annotated[bool, typer.Option("--stop", help="Kill the cases first that have not ended.")] = False,
    database: Database,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Erase personal data: throw away the key that opens them.

    Logs and their hash chains stay as they are, and say who did it, when and why. No master key is needed.
    """
    from provenet.engine.requests import ask

    if (case is None) is (subject is None):
        raise Unusable("whose data?", hint="name a case, or --subject SUBJECT")
    if not who and not token:
        raise Unusable(
            "who says so?", where="--as", hint="give --as NAME, or a token (--token, PROVENET_TOKEN)"
        )
    out, rules = Out(as_json=as_json), rules_of(access)
    for alive in reader_of(database).unfinished(case=case or "", subject=subject or "") if kill else ():
        stopping = {"do": "kill", "scope": "case", "target": alive, "who": who, "reason": reason}
        killed = ask(database, signed_by(token, stopping), access=rules)
        out.line(f"killed case {alive}{str(killed['done']).removeprefix('killed: 1 case')}", "dim")
    command = {"do": "erase", "case": case, "subject": subject, "who": who, "reason": reason}
    answer: dict[str, Any] = ask(database, signed_by(token, command), access=rules)
    out.line(str(answer["done"]), "bold")
    out.line(
        "  backups still open until `provenet keys rotate`, and the end of the old master key;"
        " in forks, erase as well",
        "dim",
    )
    out.data({"done": answer["done"]})


def new_command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to.", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Put a new master key first in a file, which is made where there is none."""
    from provenet.engine.keys import Keys

    out = Out(as_json=as_json)
    keys = Keys.from_file(file).newer() if file.exists() else Keys.generate()
    _write(file, keys)
    out.line(f"{file}: {counted(len(keys.names), 'master key')}, {keys.current} in use", "bold")
    out.line("  keep a copy where the database's backups are not", "dim")
    out.data({"file": str(file), "current": keys.current, "keys": list(keys.names)})


def show_command(*, database: Database, keys: KeyFile = None, as_json: JsonFlag = False) -> None:
    """Show how many data keys a database has, and which master keys open them."""
    out = Out(as_json=as_json)
    given = set(_keys(keys).names) if keys is not None else set()
    found = reader_of(database).data_keys()
    for master, count in found.items():
        if master:
            have = "" if keys is None else "" if master in given else "   not in the file"
            out.line(f"  {counted(count, 'data key')} under master key {master}{have}")
    gone = found.get("", 0)
    out.line(f"{counted(sum(found.values()) - gone, 'data key')}, {gone:,} erased", "bold")
    out.data({"keys": {m: n for m, n in found.items() if m}, "erased": gone})


def rotate_command(*, database: Database, keys: KeyFile = None, as_json: JsonFlag = False) -> None:
    """Wrap every data key with the first master key of the file, also beside a running engine.

    Afterwards the others can be destroyed, and what they wrapped in old backups stays closed for good.
    """
    from provenet.engine.vault import rotate

    out = Out(as_json=as_json)
    if keys is None:
        raise Unusable("no master keys were given", where="--keys", hint="`provenet keys new FILE` makes one")
    given = _keys(keys)
    changed = rotate(database, given)
    out.line(f"{counted(changed, 'data key')} wrapped anew, with master key {given.current}", "bold")
    out.data({"changed": changed, "current": given.current})


def _keys(path: Path) -> Keys:
    from provenet.engine.keys import Keys

    return Keys.from_file(path)


def _write(path: Path, keys: Keys) -> None:
    """Write keys for their owner's eyes only, all of them or nothing."""
    made = ""
    try:
        # A name that nobody could have taken before, as with a link to where others read.
        number, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(number, "w") as f:
            f.write("# Master keys of Provenet, one a line; the first is in use.\n" + keys.to_text())
            f.flush()
            os.fsync(number)
        Path(made).replace(path)
    except OSError as error:
        if made:
            Path(made).unlink(missing_ok=True)
        raise Unusable(f"the file cannot be written: {error.strerror}", where=str(path)) from None
