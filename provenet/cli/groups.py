"""Groups of commands, the whole command line among them: all of them print help alike."""

from __future__ import annotations

from typing import Any

import typer


def group(**more: Any) -> typer.Typer:
    """A group without commands.

    Args:
        more: What is its own: ``help``, and whatever else a `typer.Typer` takes.
    """
    # Help is printed without rich: it would double the time that `provenet --help` takes.
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
        **more,
    )
