"""Customers in the Telco churn schema (21 columns), read from a CSV that may be broken.

A broken row never stops the reading and is never dropped in silence: it is set aside with its line number,
every column at fault, what was expected there, and its raw bytes. A file that cannot be read at all raises
:class:`CustomerFileError`.

One line is one row: no field of this schema holds a line break, so a stray quote spoils its own line only.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from provenet import ProvenetError

SAMPLE = Path(__file__).parent / "data" / "sample_customers.csv"
"""Two hundred generated customers that ship with the example."""

MAX_LINE = 64 * 1024
MAX_ID = 64


class CustomerFileError(ProvenetError):
    """A customer file that cannot be read at all."""


class Term(StrEnum):
    """How a contract binds."""

    MONTH_TO_MONTH = "Month-to-month"
    ONE_YEAR = "One year"
    TWO_YEAR = "Two year"


class ExpectedPath(StrEnum):
    """Where a renewal is expected to end."""

    RENEWED = "renewed"
    RENEWED_WITH_OFFER = "renewed_with_offer"
    CHURNED = "churned"
    RESTRUCTURED = "restructured"
    ESCALATED = "escalated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One customer record.

    Attributes:
        customer_id: The file's id.
        renewal_id: The id of the renewal case, from :func:`renewal_id`.
        total_charges: ``None`` where the file has a blank: a customer not billed yet.
        line: Line of the file; not part of equality.
    """

    customer_id: str
    renewal_id: str
    gender: str
    senior: bool
    partner: bool
    dependents: bool
    tenure_months: int
    phone_service: bool
    multiple_lines: str
    internet_service: str
    online_security: str
    online_backup: str
    device_protection: str
    tech_support: str
    streaming_tv: str
    streaming_movies: str
    term: Term
    paperless_billing: bool
    payment_method: str
    monthly_charges: Decimal
    total_charges: Decimal | None
    churned: bool
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a row."""

    column: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.column}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was set aside.

    Attributes:
        line: Its line in the file, from 1; the header is line 1.
        problems: Everything wrong with it, at least one.
        raw: The line as it stood, without its line break.
    """

    line: int
    problems: tuple[Problem, ...]
    raw: bytes

    def __str__(self) -> str:
        return f"line {self.line}  " + "; ".join(map(str, self.problems))


@dataclass(frozen=True, slots=True)
class CustomerFile:
    """What a customer file held.

    Attributes:
        path: The file.
        customers: The good rows in file order.
        rejected: The broken rows in file order.
        ignored_columns: Columns that the schema does not know.
        header: The header line as it stood.
    """

    path: Path
    customers: tuple[Customer, ...]
    rejected: tuple[RejectedRow, ...]
    ignored_columns: tuple[str, ...]
    header: bytes

    def summary(self, *, at_most: int = 20) -> str:
        """A few lines for people: how many rows are good, and which are not and why."""
        lines = [f"{self.path.name}: {len(self.customers)} customers, {len(self.rejected)} rows set aside"]
        lines += [f"  {row}" for row in self.rejected[:at_most]]
        if len(self.rejected) > at_most:
            lines.append(f"  ... and {len(self.rejected) - at_most} more")
        return "\n".join(lines)

    def save_rejected(self, path: Path) -> None:
        """Write the rows that were set aside, byte for byte under the header, ready to be mended."""
        path.write_bytes(b"".join(line + b"\n" for line in (self.header, *(r.raw for r in self.rejected))))


def renewal_id(customer_id: str) -> str:
    """The renewal case of a customer: ``"r-"`` and the first 8 hex digits of the id's MD5.

    >>> renewal_id("7590-VHVEG")
    'r-4e3b1849'
    """
    return "r-" + hashlib.md5(customer_id.encode(), usedforsecurity=False).hexdigest()[:8]


def expected_path(customer: Customer) -> ExpectedPath:
    """Where this renewal is expected to end; the first rule that holds decides."""
    monthly = customer.term is Term.MONTH_TO_MONTH
    if customer.churned:
        return ExpectedPath.CHURNED if monthly else ExpectedPath.ESCALATED
    if customer.monthly_charges > 95 and monthly:
        return ExpectedPath.RESTRUCTURED
    if customer.monthly_charges > 70:
        return ExpectedPath.RENEWED_WITH_OFFER
    return ExpectedPath.RENEWED


def path_totals(customers: Sequence[Customer]) -> dict[ExpectedPath, int]:
    """How many customers are expected on each path; all paths are keys."""
    found = Counter(map(expected_path, customers))
    return {path: found[path] for path in ExpectedPath}


def load_customers(path: str | Path, *, limit: int | None = None) -> CustomerFile:
    """Read a customer file.

    Args:
        path: A CSV in the Telco churn schema: UTF-8, with or without byte order mark, any line ends, columns
            in any order, more columns allowed.
        limit: Stop after this many good rows.

    Returns:
        The good rows, and the broken ones with the reasons.

    Raises:
        CustomerFileError: The file is missing, a directory, unreadable, empty, not a CSV of this schema, or
            has no rows.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise CustomerFileError(
                "this is a directory, expected a CSV file", where=str(path), hint=_HINT_SAMPLE
            )
        with path.open("rb") as stream:
            return _read(path, stream, limit)
    except FileNotFoundError:
        raise CustomerFileError("there is no such file", where=str(path), hint=_HINT_SAMPLE) from None
    except (OSError, ValueError) as error:
        raise CustomerFileError(
            f"the file cannot be read: {error}", where=str(path), hint=_HINT_SAMPLE
        ) from error


_HINT_SAMPLE = "give --customers the path of a CSV in the Telco churn schema, or leave it out for the sample"


def _read(path: Path, stream: BinaryIO, limit: int | None) -> CustomerFile:
    lines = _lines(path, stream)
    header = next(lines, None)
    if header is None:
        raise CustomerFileError("the file is empty", where=str(path), hint=_HINT_SAMPLE)
    header_line, header_raw = header
    index, width, ignored = _header(path, header_line, header_raw)
    customers: list[Customer] = []
    rejected: list[RejectedRow] = []
    by_id: dict[str, Customer] = {}
    by_renewal: dict[str, Customer] = {}
    for number, raw in lines:
        if limit is not None and len(customers) >= limit:
            break
        row = _row(raw, index, width, number)
        if isinstance(row, Customer):
            clash = _clash(row, by_id, by_renewal)
            if clash is None:
                by_id[row.customer_id] = by_renewal[row.renewal_id] = row
                customers.append(row)
                continue
            row = [clash]
        rejected.append(RejectedRow(number, tuple(row), raw))
    if not customers and not rejected:
        raise CustomerFileError(
            "the file has a header and no rows", where=str(path), hint="add one line for each customer"
        )
    return CustomerFile(path, tuple(customers), tuple(rejected), ignored, header_raw)


def _lines(path: Path, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that hold anything, without line break and byte order mark."""
    number = 0
    while chunk := stream.readline(MAX_LINE):
        if number == 0:
            if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise CustomerFileError(
                    "the file is UTF-16, expected UTF-8", where=str(path), hint="save it as CSV UTF-8"
                )
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        if len(chunk) >= MAX_LINE and not chunk.endswith(b"\n"):
            if number == 0 and b"\r" not in chunk:
                raise CustomerFileError(
                    f"the first line is longer than {MAX_LINE} bytes, expected a CSV header",
                    where=f"{path}:1",
                    hint="is this a CSV file?",
                )
            chunk += stream.readline()
        # splitlines on bytes also knows the lone CR of very old spreadsheets
        for line in chunk.splitlines() or [b""]:
            number += 1
            if line.strip():
                yield number, line


def _header(path: Path, number: int, raw: bytes) -> tuple[dict[str, int], int, tuple[str, ...]]:
    where = f"{path}:{number}"
    try:
        names = [name.strip() for name in next(csv.reader([raw.decode()], strict=True))]
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise CustomerFileError(
            f"the header is not CSV in UTF-8: {error}", where=where, hint=f"expected {','.join(COLUMNS)}"
        ) from None
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        near = get_close_matches(missing[0], names, n=1)
        hint = (f'did you mean "{near[0]}"?  ' if near else "") + f"there are {', '.join(names)}"
        for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if len(names) == 1 and names[0].count(mark) >= len(COLUMNS) - 1:
                hint = f"its columns are separated by {word}: save it with commas"
        if len(missing) == len(COLUMNS) and len(names) == len(COLUMNS):
            hint = f"is the header missing? the first line should be {','.join(COLUMNS)}"
        raise CustomerFileError(f"the header lacks {shown}", where=where, hint=hint[:600])
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise CustomerFileError(
            f"the header names {', '.join(twice)} more than once", where=where, hint="keep one of them"
        )
    ignored = tuple(name for name in names if name not in COLUMNS)
    return {name: names.index(name) for name in COLUMNS}, len(names), ignored


def _row(raw: bytes, index: dict[str, int], width: int, number: int) -> Customer | list[Problem]:
    """The record of one line, or everything that is wrong with it."""
    if len(raw) > MAX_LINE:
        return [Problem("row", f"at most {MAX_LINE} bytes", f"{len(raw)}")]
    try:
        cells = next(csv.reader([raw.decode("utf-8", "surrogateescape")], strict=True))
    except csv.Error as error:
        return [Problem("row", "a well-formed CSV line", str(error))]
    if len(cells) != width:
        return [Problem("row", f"{width} columns", f"{len(cells)}")]
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for column, (name, expected, parse) in COLUMNS.items():
        cell = cells[index[column]].strip()
        try:
            cell.encode()
        except UnicodeEncodeError:
            problems.append(Problem(column, "UTF-8 text", _show(cell)))
            continue
        try:
            values[name] = parse(cell)
        except ValueError:
            problems.append(Problem(column, expected, _show(cell)))
    if problems:
        return problems
    return Customer(**values, renewal_id=renewal_id(values["customer_id"]), line=number)


def _clash(row: Customer, by_id: dict[str, Customer], by_renewal: dict[str, Customer]) -> Problem | None:
    first = by_id.get(row.customer_id)
    if first is not None:
        return Problem(
            "customerID", "an id that no row before has", f"{row.customer_id!r} of line {first.line}"
        )
    first = by_renewal.get(row.renewal_id)
    if first is not None:
        # 32 bits of MD5: about one file in 170 of 7,000 rows has a clash, and the two would share a case.
        taken = f"{row.renewal_id} is taken by {first.customer_id!r} of line {first.line}"
        return Problem(
            "customerID", "an id with a renewal id of its own", f"{row.customer_id!r}, whose {taken}"
        )
    return None


def _show(cell: str) -> str:
    if not cell:
        return "nothing"
    text = cell if len(cell) <= 40 else cell[:37] + "..."
    return ascii(text) if not text.isprintable() else repr(text)


_DIGITS = re.compile(r"[0-9]{1,4}")
_MONEY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,4})?")


def _id(cell: str) -> str:
    if not 0 < len(cell) <= MAX_ID or not cell.isprintable():
        raise ValueError
    return cell


def _text(cell: str) -> str:
    if not 0 < len(cell) <= 80 or not cell.isprintable():
        raise ValueError
    return cell


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if cell not in allowed:
            raise ValueError
        return cell

    return parse


def _flag(true: str, false: str) -> Callable[[str], bool]:
    meaning = {true: True, false: False}

    def parse(cell: str) -> bool:
        if cell not in meaning:
            raise ValueError
        return meaning[cell]

    return parse


def _months(cell: str) -> int:
    if not _DIGITS.fullmatch(cell):
        raise ValueError
    return int(cell)


def _money(cell: str) -> Decimal:
    # Decimal itself would also take 1_000, 1e3, NaN and digits of other scripts
    if not _MONEY.fullmatch(cell):
        raise ValueError
    return Decimal(cell)


def _money_or_blank(cell: str) -> Decimal | None:
    return _money(cell) if cell else None


_YES_NO = ("Yes or No", _flag("Yes", "No"))
_ADD_ON = ("Yes, No or No internet service", _one_of("Yes", "No", "No internet service"))

COLUMNS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "customerID": ("customer_id", f"an id of 1 to {MAX_ID} printable characters", _id),
    "gender": ("gender", "a word", _text),
    "SeniorCitizen": ("senior", "0 or 1", _flag("1", "0")),
    "Partner": ("partner", *_YES_NO),
    "Dependents": ("dependents", *_YES_NO),
    "tenure": ("tenure_months", "a whole number of months from 0 to 9999", _months),
    "PhoneService": ("phone_service", *_YES_NO),
    "MultipleLines": (
        "multiple_lines",
        "Yes, No or No phone service",
        _one_of("Yes", "No", "No phone service"),
    ),
    "InternetService": ("internet_service", "DSL, Fiber optic or No", _one_of("DSL", "Fiber optic", "No")),
    "OnlineSecurity": ("online_security", *_ADD_ON),
    "OnlineBackup": ("online_backup", *_ADD_ON),
    "DeviceProtection": ("device_protection", *_ADD_ON),
    "TechSupport": ("tech_support", *_ADD_ON),
    "StreamingTV": ("streaming_tv", *_ADD_ON),
    "StreamingMovies": ("streaming_movies", *_ADD_ON),
    "Contract": ("term", "Month-to-month, One year or Two year", Term),
    "PaperlessBilling": ("paperless_billing", *_YES_NO),
    "PaymentMethod": ("payment_method", "the name of a payment method", _text),
    "MonthlyCharges": ("monthly_charges", "an amount such as 29.85", _money),
    "TotalCharges": ("total_charges", "an amount such as 1889.50, or nothing", _money_or_blank),
    "Churn": ("churned", *_YES_NO),
}
"""The 21 columns: the record's field, what is expected, and the parser, which raises ``ValueError``."""
