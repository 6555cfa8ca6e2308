"""What can go wrong while a picture is made.

::

    ProvenetError
    └── RenderError        a picture that could not be made; `stage` says in which step
"""

from __future__ import annotations

from typing import Literal

from provenet.nets.errors import ProvenetError

Stage = Literal["input", "find", "layout", "svg", "png", "pdf"]


class RenderError(ProvenetError):
    """A picture that could not be made.

    Attributes:
        stage: The step that failed: reading the graph, finding the layout program, laying out, or
            writing one of the formats.
    """

    code = "VZ100"

    def __init__(self, message: str, *, stage: Stage, hint: str = "") -> None:
        super().__init__(message, where=f"render ({stage})", hint=hint)
        self.stage: Stage = stage
