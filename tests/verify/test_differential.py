"""Verdicts against explicit search: a proof of what is broken, or a refutation of what holds, is a bug."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from provenet.nets.net import Net
from tests.verify.differential import Tally, disagreements, many_runs
from tests.verify.small_contracts import contract_nets
from tests.verify.small_machines import machine_nets
from tests.verify.small_nets import small_nets

TALLY = Tally()


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(small_nets())
def test_small_nets(net: Net) -> None:
    assert list(disagreements(net, TALLY)) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(contract_nets())
def test_small_contracts(net: Net) -> None:
    assert list(disagreements(net, TALLY)) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(machine_nets())
def test_small_machines(net: Net) -> None:
    assert list(disagreements(net, TALLY)) == []


@pytest.mark.long
@pytest.mark.timeout(28_800)
def test_ten_thousand_of_each() -> None:
    assert many_runs(examples=10_000) == []


@pytest.fixture(scope="module", autouse=True)
def tally() -> Iterator[None]:
    """How much was decided, for ``pytest -s``."""
    yield
    print(*TALLY.lines(), sep="\n")
