"""The twelve detectors, one file each pattern."""

from __future__ import annotations

from provenet.engine.diagnosis.detectors.delegation import Dominance, Multiplied
from provenet.engine.diagnosis.detectors.machine import Contention, Overruled
from provenet.engine.diagnosis.detectors.oversight import Overloaded, Unstopped
from provenet.engine.diagnosis.detectors.scatter import Mess, Outgrown
from provenet.engine.diagnosis.detectors.sequencing import Disorder, Divergence
from provenet.engine.diagnosis.detectors.supervision import Hopeless, SlowGate
from provenet.engine.diagnosis.finding import Detector

__all__ = [
    "Contention",
    "Disorder",
    "Divergence",
    "Dominance",
    "Hopeless",
    "Mess",
    "Multiplied",
    "Outgrown",
    "Overloaded",
    "Overruled",
    "SlowGate",
    "Unstopped",
    "all_detectors",
]


def all_detectors() -> list[Detector]:
    """One of each, which have seen nothing yet."""
    return [
        Dominance(),
        Multiplied(),
        Outgrown(),
        Mess(),
        Divergence(),
        Disorder(),
        Hopeless(),
        SlowGate(),
        Contention(),
        Overruled(),
        Overloaded(),
        Unstopped(),
    ]
