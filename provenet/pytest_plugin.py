"""The pytest plugin: a bench for tests of agents, with the cases' histories beside a test that fails.

Found by pytest through its entry point; the engine is imported by the first test that asks for a bench.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from provenet.engine.testing import Bench

    Benches: TypeAlias = Callable[..., Bench]
    """Takes what ``Bench`` takes."""

_OPEN: pytest.StashKey[list[Bench]] = pytest.StashKey()
_FAILED: pytest.StashKey[BaseException] = pytest.StashKey()


@pytest.fixture
def provenet_bench(request: pytest.FixtureRequest) -> Iterator[Benches]:
    """Opens benches for ``Bench``'s own arguments; checks and closes them in the end."""
    from provenet.engine.testing import Bench

    __tracebackhide__ = True
    benches: list[Bench] = []
    request.node.stash[_OPEN] = benches

    def bench(*agents: Any, **options: Any) -> Bench:
        benches.append(Bench(*agents, **options).__enter__())
        return benches[-1]

    yield bench
    failed = request.node.stash.get(_FAILED, None)
    wrong: list[Exception] = []
    for each in reversed(benches):
        try:
            each.__exit__(None if failed is None else type(failed), failed, None)
        except Exception as error:  # noqa: BLE001  all of them are closed, whatever one of them says
            wrong.append(error)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else ExceptionGroup("several benches", wrong)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the cases of a test that fails."""
    report = yield
    if call.when == "call" and report.failed and _OPEN in item.stash:
        told = ""
        if call.excinfo is not None:
            item.stash[_FAILED] = call.excinfo.value
            told = str(call.excinfo.value)
        for bench in item.stash[_OPEN]:
            # What a failed assertion on a case has shown already is not shown again.
            left = [text for text in bench.stories() if text not in told]
            if left:
                report.sections.append(("provenet cases", "\n\n".join(left)))
    return report
