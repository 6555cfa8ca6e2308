"""The seam between the store and a database: where it is, what the store asks of it, its errors in words.

Two databases stand behind it, ``provenet.engine.store.sqlite`` and ``provenet.engine.store.postgres``.
Statements are written once, with ``?`` for each parameter, in the SQL that both speak.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from provenet.engine.errors import StoreCorrupt, StoreError, StoreVersion
from provenet.engine.store.tables import SCHEMA_VERSION

if TYPE_CHECKING:
    import sqlalchemy as sa

Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = Callable[..., list[Row]]
"""Rows of a query: the statement, then its parameters."""


LONGEST_REQUEST = 1_000_000
"""Characters of a request that are read; a longer one is taken as an empty text."""

REQUESTS_AT_ONCE = 200
"""Requests that are taken at a time."""

TAKEN = (
    "SELECT 1 FROM provenet_case WHERE id = ?"
    " UNION ALL SELECT 1 FROM provenet_archive WHERE case_id = ? AND kind = 'pruned'"
)
"""Whether a case id is taken: ids of pruned cases are not given again."""


class TransactionLost(Exception):
    """The database gave the whole open transaction up; ``error`` says why, in our words."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


class Posting(Protocol):
    """A connection that runs no case, for requests to those who do."""

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query."""
        ...

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        ...


class Change(NamedTuple):
    """Rows to write with one statement.

    Attributes:
        statement: With ``?`` for each parameter.
        rows: Parameters of each run.
        exact: Whether each run has to touch one row.
    """

    statement: str
    rows: Collection[Sequence[Any]]
    exact: Literal["any", "each"] = "any"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is, as the user named it.

    Attributes:
        kind: A file, a fresh database in memory, or a server.
        path: The file.
        url: The server's URL, with its password.
    """

    kind: Literal["file", "memory", "server"]
    path: Path | None = None
    url: str = ""

    def __str__(self) -> str:
        """Its name for people: a URL without its password, wherever that stands in it."""
        if self.kind == "server":
            return _NAMED_SECRET.sub(r"\1***", _SECRET.sub(r"\1:***@", self.url))
        return str(self.path or ":memory:")


ESCAPES = "postgresql://user:password@host/name; in a password %40 stands for @, %2F for / and %25 for %"

_SECRET = re.compile(r"(?s)^([^:/]*://[^:/@]*):.*@")
"""What comes before a password, and the password: up to the last @, since people forget to escape one."""

_NAMED_SECRET = re.compile(r"(?i)([?&][a-z]*password=)[^&#]*")


class Database(Protocol):
    """One database, open for the one writer of this process.

    Attributes:
        location: Where it is.
        uid: Its own id, which makes its idempotency keys its own.
        worker: Number of this process among those that run cases on it; never used twice.
        shared: Whether other processes may run cases on it meanwhile.
        sa: For the read side in this process.
    """

    location: Location
    uid: str
    worker: int
    shared: Literal["no", "yes"]
    sa: sa.Engine

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query, in the open transaction where there is one."""
        ...

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        ...

    def begin(self) -> None:
        """Open the one transaction, where it is not open yet."""
        ...

    def write(self, changes: Sequence[Change], before_commit: Callable[[], None]) -> None:
        """Write everything in the one transaction, and make it durable.

        Raises:
            StoreError: A change that is to touch one row for each of its rows did not.
            Exception: The driver's own, for ``translate``.
        """
        ...

    def rollback(self) -> None:
        """Forget it; harmless where the database did so by itself."""
        ...

    def joined(self) -> AbstractContextManager[None]:
        """Let an effect write in the open transaction, to tables of its own; undone where the body raises.

        Raises:
            TransactionLost: It is.
        """
        ...

    def add_case(self, columns: Sequence[str], row: Sequence[Any]) -> Literal["added", "exists", "later"]:
        """Add a case's row in the open transaction, unless another process has taken its id.

        Returns:
            ``later`` where nobody else could, so that the row may wait for the next write.
        """
        ...

    def alone_at(self, what: str) -> Literal["no", "yes"]:
        """Whether nobody else is at something that one process does at a time, until the next commit."""
        ...

    def case_numbers(self, count: int) -> int:
        """The first of so many case numbers that nobody has."""
        ...

    def claim(self, nets: Collection[str], most: int) -> list[int]:
        """Take over unfinished cases that no living process holds; their numbers.

        Args:
            nets: Content hashes of the nets that this process can run.
            most: At most so many.
        """
        ...

    def claim_one(self, no: int) -> Literal["mine", "elsewhere"]:
        """Take over one case, unless another living process runs it; one of this process's is its own."""
        ...

    def bury(self) -> list[int]:
        """Let go of what processes that died held; the numbers of their cases, which are nobody's now."""
        ...

    def given_back(self, numbers: Collection[int]) -> Sequence[Change]:
        """What lets others run these cases, as part of the next write."""
        ...

    def take_requests(self) -> list[tuple[int, str]]:
        """Numbers and commands of some requests that wait for this process; nobody else takes them."""
        ...

    def translate(self, error: Exception) -> Exception:
        """A driver's error as one of ours; any other as it is."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def located(source: str | Path) -> Location:
    """Where a database is.

    Args:
        source: ``renewals.db``, ``sqlite:///renewals.db``, ``:memory:`` or ``postgresql://user@host/name``.

    Raises:
        StoreError: No database can be there.
    """
    text = str(source)
    if text in {":memory:", "sqlite://", "sqlite:///:memory:"}:
        return Location("memory")
    scheme, found, _ = text.partition("://")
    if found and scheme in {"postgresql", "postgres", "postgresql+psycopg"}:
        where = Location("server", url="postgresql" + text[len(scheme) :])
        if where.url.split("/")[2].count("@") > 1:
            raise StoreError("the URL has more than one @", where=str(where), hint=ESCAPES)
        return where
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif found:
        raise StoreError(
            f"{scheme!r} databases are not supported",
            where=str(Location("server", url=text)),
            hint="give a file name, sqlite:///file.db, or postgresql://user:password@host/name",
        )
    path = Path(text)
    if path.is_dir():
        raise StoreError("this is a folder", where=str(path), hint="name a file in it, such as renewals.db")
    if not path.parent.is_dir():
        raise StoreError(
            "there is no such folder", where=str(path.parent), hint="create it, or name another file"
        )
    return Location("file", path)


def open_database(source: str | Path) -> Database:
    """Open a database for writing, and create its tables where there are none.

    Raises:
        StoreError: It cannot be opened; the error says what is wrong and what to do.
    """
    where = located(source)
    if where.kind == "server":
        opened: Database = _postgres(where).Postgres(where)
        return opened
    from provenet.engine.store.sqlite import Sqlite

    return Sqlite(where)


def ready(where: Location) -> bool:
    """Whether there is a database already.

    Raises:
        StoreError: The server cannot be asked.
    """
    if where.kind != "server":
        return where.path is not None and where.path.exists()
    with open_to_post(where) as found:
        return bool(found.rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('provenet_meta')"))


@contextmanager
def open_to_post(where: Location) -> Iterator[Posting]:
    """Open a database that others run cases on, to leave a request there.

    Raises:
        StoreError: There is none, or it cannot be opened.
    """
    if where.path is not None and not where.path.exists():  # SQLite would make one
        raise StoreError("there is no such database", where=str(where), hint="check the name")
    if where.kind == "server":
        with _postgres(where).posting(where) as found:
            yield found
    else:
        from provenet.engine.store.sqlite import posting

        with posting(where) as found:
            yield found


def reading_engine(where: Location) -> sa.Engine:
    """A SQLAlchemy engine that only reads."""
    if where.kind == "server":
        found: sa.Engine = _postgres(where).reading(where)
        return found
    from provenet.engine.store.sqlite import connect

    return connect(where.path, write=False)


@contextmanager
def snapshot(engine: sa.Engine, where: Location, text: Callable[[bytes], str]) -> Iterator[Rows]:
    """One moment of a database, for as long as it is looked at.

    Args:
        engine: What reads it.
        where: Where it is.
        text: Makes text of bytes that may be no UTF-8, where the database lets such in.
    """
    if engine.dialect.name == "postgresql":
        from provenet.engine.store.postgres import snapshot as taken
    else:
        from provenet.engine.store.sqlite import snapshot as taken
    with taken(engine, where, text) as rows:
        yield rows


def translated(error: Exception, where: Location) -> StoreError:
    """A database error as one of ours, with a next step."""
    if where.kind == "server":
        from provenet.engine.store.postgres import translate
    else:
        from provenet.engine.store.sqlite import translate
    return translate(error, where)


def attended(where: Location) -> bool:
    """Whether processes there carry out requests about any case, also one that nobody holds."""
    return where.kind == "server" and bool(_postgres(where).attended(where))


def guarding(where: Location) -> bool:
    """Whether processes there know who may do what, and judge tokens that others bring."""
    return where.kind == "server" and bool(_postgres(where).guarding(where))


def _postgres(where: Location) -> Any:
    """PostgreSQL's module, whose driver is an extra."""
    try:
        from provenet.engine.store import postgres
    except ImportError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise StoreError(
            "PostgreSQL needs a driver that is not installed",
            where=str(where),
            hint="pip install 'provenet[postgres]'",
        ) from None
    return postgres


def check_version(rows: Iterable[tuple[str, str]], where: Location) -> dict[str, str]:
    """The facts in ``provenet_meta``, where its schema version is ours.

    Raises:
        StoreVersion: It is not.
    """
    facts = dict(rows)
    found = schema_of(facts, where)
    if found > SCHEMA_VERSION:
        raise too_new(found, where)
    if found < SCHEMA_VERSION:
        raise StoreVersion(
            f"the database has schema version {found}, this Provenet reads version {SCHEMA_VERSION}",
            where=str(where),
            hint=f"`provenet upgrade --db {where}` brings it to version {SCHEMA_VERSION}"
            + ("; it keeps a copy of the file" if where.kind == "file" else "; make a copy first"),
        )
    return facts


def schema_of(facts: Mapping[str, str], where: Location) -> int:
    """The schema version that a database says it has.

    Raises:
        StoreCorrupt: It says none.
    """
    said = facts.get("schema")
    if said is None or not (said.isascii() and said.isdigit() and len(said) < 10 and int(said)):
        raise StoreCorrupt(
            f"it says schema version {said}, which is none", where=str(where), hint="restore a copy"
        )
    return int(said)


def too_new(found: int, where: Location) -> StoreVersion:
    """A later release wrote the database."""
    return StoreVersion(
        f"the database has schema version {found}, this Provenet knows none beyond {SCHEMA_VERSION}",
        where=str(where),
        hint="a later Provenet wrote it: `pip install --upgrade provenet`; there is no way back",
    )


def changed_behind(where: Location) -> StoreError:
    """Somebody else wrote to a case that is this process's."""
    return StoreError(
        "a case was changed behind the engine's back",
        where=str(where),
        hint="nothing was written; run `provenet audit`, then open the database again",
    )


def incomplete(where: Location) -> StoreCorrupt:
    """Some of the tables are there, and some are not."""
    return StoreCorrupt(
        "some of the engine's tables are there and some are missing",
        where=str(where),
        hint="keep it; restore a copy",
    )
