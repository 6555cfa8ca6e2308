"""The `provenet` command: its commands, its exit codes, and what a user sees when something is wrong.

Exit codes: 0 proved or done; 1 refuted, refused or failed; 2 usage or bad input; 3 unknown;
130 stopped by Ctrl-C (143 by a request to end).

Commands live in modules that import nothing heavy; what a command needs, it loads when it runs. A module is
loaded when one of its commands is asked for, or all of them are listed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from provenet import __version__
from provenet.cli.groups import group

COMMANDS: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "verifying": ("verify",),
    "certifying": ("check-certificate",),
    "contest": ("mcc",),
    "proving": ("render",),
    "advise": ("advise",),
    "score": ("score",),
    "diffing": ("diff",),
    "explaining": ("explain",),
    "linting": ("lint",),
    "playing": ("simulate",),
    "exporting": ("export",),
    "running": ("deploy", "run"),
    "people": ("approve", "reject", "delegate", "signal", "kill", "resume", "settle"),
    "access": ("access", "grants", "token"),
    "forking": ("fork",),
    "diagnosing": ("diagnose",),
    "replaying": ("replay",),
    "reliability": ("reliability",),
    "migrating": ("migrate",),
    "upgrading": ("upgrade",),
    "pruning": ("prune",),
    "erasing": ("erase", "keys"),
    "reading": ("cases", "case", "log", "tasks", "audit"),
    "top": ("top",),
}
"""The modules of this package that define commands, and their commands, in the order of the help."""

EPILOG = (
    "Exit codes: 0 proved or done, 1 refuted, refused or failed, 2 usage or bad input, 3 unknown, "
    "130 stopped by Ctrl-C. "
    "Nothing here needs a key or a server."
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - a flag's callback takes its value
    if wanted:
        typer.echo(f"provenet {__version__}")
        raise typer.Exit


def _front(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Model an agent as a net, prove it, draw it, deploy it, run it."""
    del version


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command line.

    Args:
        words: What the user typed. Where it begins with a command, the others are left out: building them all
            takes longer than many a command.
    """
    app = group(name="provenet", epilog=EPILOG, callback=_front)
    asked = [module for module, commands in COMMANDS.items() if set(words[:1]) & set(commands)]
    for module in asked or COMMANDS:
        import_module(f"provenet.cli.{module}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after ``provenet``; those of the process by default.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        make_app(words)(args=words, prog_name="provenet")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 2
        return _stopped(code, words) if code in _STOPPED else code
    except KeyboardInterrupt:
        return _stopped(130, words)
    except BrokenPipeError:
        # Whoever read our output went away; a second error at shutdown would say it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last stop before a user's screen
        from provenet.cli.printing import explain

        return explain(error, as_json="--json" in words)
    return 0


_STOPPED = {130, 143}
"""Codes of a process that SIGINT (Ctrl-C) or SIGTERM ended."""


def _stopped(code: int, words: Sequence[str]) -> int:
    again = "; what was committed is kept, running it again goes on" if words[:1] == ["run"] else ""
    sys.stderr.write(f"stopped{again}\n")
    return code


def run() -> None:
    """The script's entry point."""
    # What is imported stays: the garbage collector need not walk all of it again for every 700 new objects,
    # nor once more at the end, when the system takes the memory back anyway.
    gc.set_threshold(50_000)
    code = main()
    gc.freeze()
    sys.exit(code)
