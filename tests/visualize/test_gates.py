"""The gate map: everything that the score says is on it, and nothing of a net's text is taken for markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provenet.examples.contract_renewal import agent
from provenet.examples.contract_renewal.mutants import mutant
from provenet.nets.net import Net
from provenet.verify.boundary import Score, score
from provenet.visualize import RenderError
from provenet.visualize.gates import MOST_BOUNDARIES, gate_map, render_gates
from provenet.visualize.palette import GREY
from provenet.visualize.svg import parse


@pytest.fixture(scope="module")
def renewal() -> tuple[Net, Score]:
    net = agent().net
    return net, score(net)


def test_everything_is_on_it(renewal: tuple[Net, Score]) -> None:
    source = gate_map(*renewal).source
    for boundary in renewal[1].boundaries:
        assert boundary.by in source
        assert boundary.effect in source
    for gate in ("hard cap v1", "approve offer", "a person", "business rule"):
        assert gate in source
    assert "nothing in between" not in source


def test_what_is_missing_is_said_and_not_only_coloured() -> None:
    net = mutant("verifier bypassed")(agent().net)
    found = score(net)
    source = gate_map(net, found).source
    assert source.count("nothing in between") == 1
    assert [m.broken[0] for m in found.meanings if m.broken] == ["SDB-1"]
    assert source.count("refuted") == 1
    assert "style=dotted" in source


def test_it_is_drawn_alike_in_every_format(renewal: tuple[Net, Score]) -> None:
    svg = render_gates(*renewal)
    assert svg == render_gates(*renewal)
    assert parse(svg) is not None
    assert render_gates(*renewal, format="png", theme=GREY).startswith(b"\x89PNG")


def test_names_are_only_ever_text(renewal: tuple[Net, Score]) -> None:
    net, found = renewal
    first = found.boundaries[0]
    odd = replace(found, boundaries=(replace(first, by='<b>\\N &lt; "x"'),))
    assert b"&lt;b&gt;" in render_gates(net, odd)


def test_too_many_are_refused(renewal: tuple[Net, Score]) -> None:
    net, found = renewal
    many = replace(found, boundaries=found.boundaries[:1] * (MOST_BOUNDARIES + 1))
    with pytest.raises(RenderError, match="boundaries"):
        gate_map(net, many)
