"""The boundary audit: each way from what is proposed to what is done, and what stands on it.

``score`` finds them; ``provenet score`` shows them, and ``provenet.visualize.gates`` draws them.
"""

from provenet.verify.boundary.score import Boundary, Meaning, Score, score
from provenet.verify.boundary.strength import Strength
from provenet.verify.boundary.ways import Presence

__all__ = ["Boundary", "Meaning", "Presence", "Score", "Strength", "score"]
