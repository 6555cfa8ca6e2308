"""The `provenet` command: its commands, its exit codes, and what a user sees when something is wrong.

Exit codes: 0 proved or done; 1 refuted, refused or failed; 2 usage or bad input; 3 unknown;
130 stopped by Ctrl-C (143 by a request to end).

Commands live in modules that import nothing heavy; what a command needs, it loads when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from provenet import __version__
from provenet.cli import demo, explaining, exporting, people, playing, proving, reading, running

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


def make_app() -> typer.Typer:
    """The command line with all its commands."""
    # Help is printed without rich: it would double the time that `provenet --help` takes.
    app = typer.Typer(
        name="provenet",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        epilog=EPILOG,
        callback=_front,
    )
    for group in (demo, proving, explaining, playing, exporting, running, people, reading):
        group.register(app)
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
        make_app()(args=words, prog_name="provenet")
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
    sys.exit(main())
