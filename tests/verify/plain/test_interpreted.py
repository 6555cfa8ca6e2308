"""Kernels that are run as they are written do, bit for bit, what the compiled ones do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.formats.pnml import pnml_text
from provenet.verify.plain import engines, portfolio
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Answer, Budget
from provenet.verify.plain.engines import (
    ctl,
    explore_kernel,
    graph_kernel,
    jit,
    ltl,
    product_kernel,
    space,
    walk,
)
from provenet.verify.plain.engines import walk_kernel as compiled_walk
from provenet.verify.plain.engines.ctl import Labelling
from provenet.verify.plain.engines.ltl import some_path
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.engines.state_graph import state_graph
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.formula_text import parse_formula
from provenet.verify.plain.net import PTNet
from tests.support.nets import door
from tests.verify.plain.formulas import branching, paths
from tests.verify.plain.nets import goals, nets, reachable
from tests.verify.plain.test_explore import ring

MEMORY = 1 << 15
"""Room for a few thousand markings, where a net has no end of them."""

T = TypeVar("T")


def as_written(module: ModuleType) -> ModuleType:
    """A second copy of a module of kernels, none of them compiled."""
    name = module.__name__.rpartition(".")[2]
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location(f"written_{name}", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit._Mode, "interpreted", True)
        spec.loader.exec_module(copy)
    return copy


WRITTEN = {m: as_written(m) for m in (explore_kernel, graph_kernel, product_kernel, compiled_walk)}


@contextmanager
def interpreting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "_k", lambda: WRITTEN[explore_kernel])
        patch.setattr(ctl, "_k", lambda: WRITTEN[graph_kernel])
        patch.setattr(ltl, "_k", lambda: WRITTEN[product_kernel])
        patch.setattr(engines, "walk_kernel", WRITTEN[compiled_walk])
        yield


def both(look: Callable[[], T]) -> T:
    """What both ways see."""
    compiled = look()
    with interpreting():
        assert look() == compiled
    return compiled


def test_the_copies_are_not_compiled() -> None:
    for module, copy in WRITTEN.items():
        ways = {name: value for name, value in vars(module).items() if hasattr(value, "py_func")}
        assert ways
        assert not any(hasattr(getattr(copy, name), "py_func") for name in ways)


def explored(space_: Space) -> list[Any]:
    """Everything that an exploration leaves behind."""
    out: list[Any] = []
    while True:
        stop, goal = space_.advance()
        out += [stop, goal, space_.count, space_.edges, space_.finished]
        if stop is not Stop.HIT:
            break
        out.append(space_.trace())
        space_.close(goal)
    assert stop is not Stop.TIME
    arrays = (space_.words(), space_._table, *(space_.edge_arrays() if space_._kept else ()))
    return [*out, *(a.tolist() for a in arrays)]


@given(
    data=st.data(),
    net=nets(),
    stubborn=st.sampled_from(["on", "off"]),
    order=st.sampled_from(["breadth", "nearest"]),
)
@settings(max_examples=25)
def test_exploration(
    data: st.DataObject, net: PTNet, stubborn: Literal["on", "off"], order: Literal["breadth", "nearest"]
) -> None:
    wanted = data.draw(st.lists(goals(net), max_size=3))
    budget = Budget.seconds(600, memory=MEMORY)
    both(lambda: explored(Space(net, wanted, budget, stubborn=stubborn, order=order)))
    both(lambda: explored(Space(net, (), budget, edges="kept")))


def test_exploration_of_nets_whose_tables_grow() -> None:
    for net in (ring(4, 12), ring(300, 1)):
        both(lambda net=net: explored(Space(net, (), Budget.seconds(600, memory=1 << 24), edges="kept")))  # type: ignore[misc]


@given(data=st.data(), net=nets())
@settings(max_examples=25)
def test_fixpoints(data: st.DataObject, net: PTNet) -> None:
    formula = tl.simplified(data.draw(branching(net)))

    def look() -> object:
        graph = state_graph(net, Budget.seconds(600, memory=MEMORY))
        assert graph is not None
        labelling = Labelling(graph)
        value = labelling.value(formula) if tl.is_ctl(formula) else None
        return value, labelling.counterexample(formula) if value is False else None

    both(look)


@given(data=st.data(), net=nets())
@settings(max_examples=25)
def test_products(data: st.DataObject, net: PTNet) -> None:
    formula = tl.simplified(data.draw(paths(net)))

    def look() -> object:
        graph = state_graph(net, Budget.seconds(600, memory=MEMORY))
        assert graph is not None
        return some_path(graph, formula, seconds=600, memory=1 << 24)

    both(look)


@given(data=st.data(), net=nets())
@settings(max_examples=20)
def test_walks(data: st.DataObject, net: PTNet) -> None:
    wanted = data.draw(st.lists(goals(net), min_size=1, max_size=3))

    def look() -> list[tuple[int, Answer]]:
        return list(Walk(rounds=4).run(net, wanted, Budget.seconds(600)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "FIRST_ROUND", 300)
        both(look)


@given(nets())
def test_small_nets_are_told_from_large_ones(net: PTNet) -> None:
    complete = reachable(net, limit=portfolio._FEW)[1]
    assert portfolio._few_markings(net) == complete


def test_a_large_automaton_is_no_work_for_the_interpreter() -> None:
    net = ring(3, 1)
    many = " & ".join(f"F {p} >= {n}" for p in net.places for n in (1, 2, 3))
    for text, small in ((f"A (({many}) -> G F {net.places[0]} >= 1)", False), ("A G F deadlock", True)):
        asked = tl.simplified(parse_formula(text, net))
        race = portfolio._Race(net, [asked], Budget.seconds(1), [0], lambda i, answer: True)
        assert race._few == small


def test_finding_out_takes_little_on_a_large_net() -> None:
    assert portfolio._few_markings(ring(100, 1))
    assert not portfolio._few_markings(ring(10_000, 1))


def test_a_small_net_compiles_nothing(tmp_path: Path) -> None:
    (tmp_path / "door.pnml").write_text(pnml_text(door()), encoding="utf-8")
    asked = ["AG (opened -> EF closed)", "G F opened", "EF locked", "AG !(opened & closed)"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "provenet",
            "verify",
            "door.pnml",
            *(x for a in asked for x in ("--formula", a)),
        ],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("PROVED", "REFUTED"))]
    assert said == ["PROVED", "REFUTED", "PROVED", "PROVED"], done.stdout + done.stderr
    assert done.stderr == ""
    assert not (tmp_path / "cache").exists()
