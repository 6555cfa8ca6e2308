"""Mends that are tried before they are proposed.

Where the cause of a refutation is recognized, a mended net is made: surgery on the net's immutable data. The
very property is verified on it, and whatever else was proved must not be refuted; only then is the mend
proposed. What could not be tried, or did not do, stays advice and says so. ``mends`` in ``trying`` is the
front; the other files know the causes, by family.
"""

from __future__ import annotations

from provenet.verify.mending.trying import mends

__all__ = ["mends"]
