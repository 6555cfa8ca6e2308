"""The customer file: every row is either a record or set aside with a reason, whatever the bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.examples.contract_renewal.customers import (
    COLUMNS,
    SAMPLE,
    Customer,
    CustomerFileError,
    ExpectedPath,
    Term,
    expected_path,
    load_customers,
    path_totals,
    renewal_id,
)
from provenet.examples.contract_renewal.make_sample import sample_csv

HEADER = ",".join(COLUMNS)
GOOD = (
    "0001-AAAAA,Female,0,Yes,No,1,No,No phone service,DSL,No,Yes,No,No,No,No,Month-to-month,Yes,"
    "Electronic check,29.85,29.85,No"
)
FULL = Path(__file__).parents[3] / "shared" / "data" / "telco" / "telco_customer_churn_full.csv"
needs_full = pytest.mark.skipif(not FULL.is_file(), reason="the full Telco file is not at hand")


def row(**changes: str) -> str:
    cells = dict(zip(COLUMNS, GOOD.split(","), strict=True))
    assert changes.keys() <= cells.keys()
    return ",".join({**cells, **changes}.values())


def write(folder: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    path = folder / "customers.csv"
    path.write_bytes(
        end.join(line.encode() if isinstance(line, str) else line for line in (HEADER, *lines)) + end
    )
    return path


# ------------------------------------------------------------------------------------- properties

_LINES = st.lists(
    st.one_of(
        st.just(GOOD.encode()),
        st.integers(0, 9999).map(lambda n: row(customerID=f"{n:04}-AAAAA").encode()),
        st.binary(max_size=120).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
        st.tuples(st.sampled_from(list(COLUMNS)), st.text(max_size=12)).map(
            lambda change: (
                row(**{change[0]: change[1]}).replace("\n", "").replace("\r", "").encode("utf-8", "replace")
            )
        ),
    ),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=_LINES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]), bom=st.sampled_from([b"", b"\xef\xbb\xbf"])
)
def test_no_row_is_lost_and_none_passes_unreported(
    tmp_path: Path, lines: list[bytes], end: bytes, bom: bytes
) -> None:
    path = tmp_path / "customers.csv"
    path.write_bytes(bom + end.join([HEADER.encode(), *lines]) + end)
    kept = {number: line for number, line in enumerate(lines, start=2) if line.strip()}
    if not kept:
        with pytest.raises(CustomerFileError, match="no rows"):
            load_customers(path)
        return
    found = load_customers(path)
    assert {c.line for c in found.customers} | {r.line for r in found.rejected} == kept.keys()
    assert len(found.customers) + len(found.rejected) == len(kept)
    for rejected in found.rejected:
        assert rejected.raw == kept[rejected.line]
        assert rejected.problems
        str(rejected).encode()  # printable on any terminal: no lone surrogates
    ids = [c.renewal_id for c in found.customers]
    assert len(set(ids)) == len(ids)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(junk=st.binary(max_size=400))
def test_any_bytes_at_all_are_read_or_refused(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.csv"
    path.write_bytes(junk)
    with pytest.raises(CustomerFileError) as caught:
        load_customers(path)
    assert caught.value.hint
    assert str(path) in caught.value.where


@given(
    churned=st.booleans(),
    term=st.sampled_from(Term),
    monthly=st.decimals(min_value=0, max_value=200, places=2),
)
def test_the_first_rule_that_holds_decides(churned: bool, term: Term, monthly: Decimal) -> None:
    sample = load_customers(SAMPLE).customers[0]
    customer = dataclasses.replace(sample, churned=churned, term=term, monthly_charges=monthly)
    short = term is Term.MONTH_TO_MONTH
    rules = {
        ExpectedPath.CHURNED: churned and short,
        ExpectedPath.ESCALATED: churned and not short,
        ExpectedPath.RESTRUCTURED: not churned and short and monthly > 95,
        ExpectedPath.RENEWED_WITH_OFFER: not churned and not (short and monthly > 95) and monthly > 70,
        ExpectedPath.RENEWED: not churned and monthly <= 70,
    }
    assert [path for path, holds in rules.items() if holds] == [expected_path(customer)]


# --------------------------------------------------------------------------------------- good rows


def test_a_record_is_typed(tmp_path: Path) -> None:
    (customer,) = load_customers(write(tmp_path, GOOD)).customers
    assert customer.monthly_charges == Decimal("29.85")
    assert (customer.senior, customer.partner, customer.phone_service) == (False, True, False)
    assert customer.term is Term.MONTH_TO_MONTH
    assert customer.line == 2


def test_blank_total_charges_are_a_customer_not_billed_yet(tmp_path: Path) -> None:
    (customer,) = load_customers(write(tmp_path, row(TotalCharges=" ", tenure="0"))).customers
    assert customer.total_charges is None


def test_columns_may_stand_in_any_order_with_others_between(tmp_path: Path) -> None:
    plain = load_customers(write(tmp_path, GOOD)).customers
    path = tmp_path / "turned.csv"
    path.write_text(
        "note," + ",".join(reversed(COLUMNS)) + "\nhi," + ",".join(reversed(GOOD.split(","))) + "\n"
    )
    turned = load_customers(path)
    assert turned.customers == plain
    assert turned.ignored_columns == ("note",)


def test_quoted_fields_are_read_as_csv(tmp_path: Path) -> None:
    (customer,) = load_customers(write(tmp_path, row(PaymentMethod='"Cheque, mailed"'))).customers
    assert customer.payment_method == "Cheque, mailed"


def test_a_limit_takes_the_first_good_rows() -> None:
    assert load_customers(SAMPLE, limit=7).customers == load_customers(SAMPLE).customers[:7]


# ------------------------------------------------------------------------------------- broken rows


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("customerID", "", "an id"),
        ("customerID", "x" * 65, "1 to 64"),
        ("customerID", "a\x1b[2Jb", "printable"),
        ("SeniorCitizen", "maybe", "0 or 1"),
        ("Partner", "yes", "Yes or No"),
        ("tenure", "-1", "whole number"),
        ("tenure", "1.5", "whole number"),
        ("tenure", "٣", "whole number"),
        ("MonthlyCharges", "", "29.85"),
        ("MonthlyCharges", "abc", "29.85"),
        ("MonthlyCharges", "NaN", "29.85"),
        ("MonthlyCharges", "Infinity", "29.85"),
        ("MonthlyCharges", "1e3", "29.85"),
        ("MonthlyCharges", "1_000", "29.85"),
        ("MonthlyCharges", "-5", "29.85"),
        ("TotalCharges", "12,5", "columns"),
        ("TotalCharges", "n/a", "or nothing"),
        ("Contract", "Weekly", "One year"),
        ("InternetService", "Cable", "Fiber optic"),
        ("Churn", "True", "Yes or No"),
    ],
)
def test_a_broken_cell_is_named_with_what_was_expected(
    tmp_path: Path, column: str, cell: str, expected: str
) -> None:
    broken = row(**{column: cell})
    found = load_customers(write(tmp_path, GOOD.replace("0001", "0002"), broken))
    (rejected,) = found.rejected
    assert len(found.customers) == 1
    assert (rejected.line, rejected.raw) == (3, broken.encode())
    (problem,) = rejected.problems
    assert expected in problem.expected
    assert problem.column == ("row" if expected == "columns" else column)
    assert f"line 3  {problem.column}: expected" in str(rejected)


def test_all_problems_of_a_row_are_told_at_once(tmp_path: Path) -> None:
    (rejected,) = load_customers(write(tmp_path, row(tenure="x", MonthlyCharges="y", Churn="z"))).rejected
    assert [p.column for p in rejected.problems] == ["tenure", "MonthlyCharges", "Churn"]


@pytest.mark.parametrize("cells", [20, 22, 1])
def test_wrong_number_of_columns(tmp_path: Path, cells: int) -> None:
    broken = ",".join((GOOD.split(",") * 2)[:cells])
    (rejected,) = load_customers(write(tmp_path, broken)).rejected
    assert str(rejected) == f"line 2  row: expected 21 columns, got {cells}"


def test_the_second_of_two_equal_ids_is_set_aside(tmp_path: Path) -> None:
    found = load_customers(write(tmp_path, GOOD, row(tenure="9")))
    assert [c.tenure_months for c in found.customers] == [1]
    assert "line 2" in str(found.rejected[0])


def test_bytes_that_are_not_utf8_spoil_their_row_only(tmp_path: Path) -> None:
    broken = row(PaymentMethod="Ch@que").encode().replace(b"@", b"\xe8")
    found = load_customers(write(tmp_path, broken, row(customerID="0002-BBBBB")))
    assert [c.customer_id for c in found.customers] == ["0002-BBBBB"]
    assert found.rejected[0].problems[0].column == "PaymentMethod"
    assert found.rejected[0].raw == broken


def test_a_stray_quote_spoils_its_row_only(tmp_path: Path) -> None:
    found = load_customers(write(tmp_path, '"' + GOOD, row(customerID="0002-BBBBB")))
    assert len(found.customers) == 1
    assert found.rejected[0].problems[0].expected == "a well-formed CSV line"


def test_a_monstrous_line_is_set_aside_whole(tmp_path: Path) -> None:
    found = load_customers(write(tmp_path, "x" * 200_000, GOOD))
    assert len(found.customers) == 1
    assert len(found.rejected[0].raw) == 200_000
    assert len(str(found.rejected[0])) < 200


def test_two_ids_with_one_renewal_id_do_not_share_a_case(tmp_path: Path) -> None:
    first, second = two_ids_with_one_renewal_id()
    found = load_customers(write(tmp_path, row(customerID=first), row(customerID=second)))
    assert [c.customer_id for c in found.customers] == [first]
    assert f"{renewal_id(first)} is taken by '{first}' of line 2" in str(found.rejected[0])


def two_ids_with_one_renewal_id() -> tuple[str, str]:
    seen: dict[str, str] = {}
    for n in range(1_000_000):  # a birthday search: about 80,000 tries
        first = seen.setdefault(renewal_id(f"C-{n}"), f"C-{n}")
        if first != f"C-{n}":
            return first, f"C-{n}"
    raise AssertionError("MD5 got better")


def test_rejected_rows_are_saved_byte_for_byte_and_can_be_mended(tmp_path: Path) -> None:
    broken = row(MonthlyCharges="\xe9").encode("latin-1")
    found = load_customers(write(tmp_path, GOOD, broken))
    out = tmp_path / "rejected.csv"
    found.save_rejected(out)
    assert out.read_bytes() == HEADER.encode() + b"\n" + broken + b"\n"
    out.write_bytes(out.read_bytes().replace(b"\xe9", b"10.00"))
    assert len(load_customers(out).customers) == 1


def test_a_summary_stays_short(tmp_path: Path) -> None:
    found = load_customers(write(tmp_path, *["x"] * 50))
    lines = found.summary(at_most=3).splitlines()
    assert lines[0] == "customers.csv: 0 customers, 50 rows set aside"
    assert lines[-1] == "  ... and 47 more"
    assert len(lines) == 5


# ------------------------------------------------------------------------------------ broken files


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (HEADER.encode() + b"\n", "no rows"),
        (GOOD.encode() + b"\n" + GOOD.encode(), "is the header missing"),
        (HEADER.replace("Churn", "churn").encode() + b"\n" + GOOD.encode(), 'did you mean "churn"'),
        (HEADER.replace(",", ";").encode() + b"\n", "semicolons"),
        (HEADER.replace(",", "\t").encode() + b"\n", "tabs"),
        ((HEADER + ",Churn").encode() + b"\n", "more than once"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not CSV in UTF-8"),
        (b"z" * 100_000, "longer than"),
    ],
)
def test_a_file_that_is_no_customer_file_is_refused_with_a_next_step(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "customers.csv"
    path.write_bytes(content)
    with pytest.raises(CustomerFileError) as caught:
        load_customers(path)
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["absent.csv", ".", "\0", "a/b"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CustomerFileError) as caught:
        load_customers(f"{tmp_path}/{name}")
    assert "--customers" in caught.value.hint


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(CustomerFileError, match="cannot be read"):
        load_customers(path)


# ------------------------------------------------------------------------------ sample and full file


def test_the_sample_is_what_its_generator_makes() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample_csv()


def test_the_sample_is_clean_and_has_every_path() -> None:
    found = load_customers(SAMPLE)
    assert (len(found.customers), found.rejected) == (200, ())
    assert all(path_totals(found.customers).values())
    assert any(c.total_charges is None for c in found.customers)


def test_another_seed_makes_another_valid_sample(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(sample_csv(rows=500, seed=1))
    found = load_customers(path)
    assert (len(found.customers), found.rejected) == (500, ())


@needs_full
def test_the_published_totals_of_the_full_file() -> None:
    found = load_customers(FULL)
    assert not found.rejected
    assert path_totals(found.customers) == {
        ExpectedPath.RENEWED: 2858,
        ExpectedPath.RENEWED_WITH_OFFER: 2053,
        ExpectedPath.CHURNED: 1655,
        ExpectedPath.RESTRUCTURED: 263,
        ExpectedPath.ESCALATED: 214,
    }
    assert sum(c.total_charges is None for c in found.customers) == 11


@needs_full
def test_the_sample_copies_nobody() -> None:
    def people(path: Path) -> set[Customer]:
        return set(load_customers(path).customers)

    assert not {c.customer_id for c in people(SAMPLE)} & {c.customer_id for c in people(FULL)}


def test_renewal_id_is_the_published_rule() -> None:
    assert renewal_id("7590-VHVEG") == "r-" + hashlib.md5(b"7590-VHVEG").hexdigest()[:8]
