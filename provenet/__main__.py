"""``python -m provenet``: the same command line as the ``provenet`` script."""

from __future__ import annotations


def main() -> None:
    """Run the command line; its import waits until it is asked for."""
    from provenet.cli.main import run

    run()


if __name__ == "__main__":
    main()
