"""What the engine's tests share: databases of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Server, serving


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One PostgreSQL for the whole run."""
    with serving() as found:
        yield found


@pytest.fixture
def postgres(server: Server) -> str:
    """A fresh PostgreSQL database."""
    return server.database()
