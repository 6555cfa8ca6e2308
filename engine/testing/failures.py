"""What a test is told: that the bench was used wrongly, or that a case did something else than expected."""

from __future__ import annotations

from provenet.engine.errors import EngineError


class BenchError(EngineError):
    """The testing kit cannot do what it was asked for: an unknown name, a script without an answer."""

    code = "EN490"


class NotAsExpected(AssertionError):
    """A case did something else than the test expects; the message shows its history."""
