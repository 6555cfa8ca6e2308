"""Generate the sample of customers that ships with the example.

    python -m provenet.examples.contract_renewal.make_sample > sample_customers.csv

Rows are drawn from a small model of a telephone company (who has fibre pays more; who is bound leaves less),
not taken from anybody's data. Only ``random()`` is drawn, whose sequence Python keeps between versions, so
the same seed gives the same bytes everywhere.
"""

from __future__ import annotations

import csv
import io
import random
import sys
from decimal import Decimal

from provenet.examples.contract_renewal.customers import COLUMNS

SEED = 20260520
ROWS = 200

_NO_INTERNET = "No internet service"
_ADD_ONS = (
    "OnlineSecurity",
    "OnlineBackup",
    "DeviceProtection",
    "TechSupport",
    "StreamingTV",
    "StreamingMovies",
)


def sample_csv(*, rows: int = ROWS, seed: int = SEED) -> str:
    """A CSV of generated customers.

    Args:
        rows: How many.
        seed: The same seed, the same customers.

    Returns:
        Header and rows, line feeds as line ends.
    """
    draw = random.Random(seed)  # noqa: S311 - test data, not a secret
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    taken: set[str] = set()
    for _ in range(rows):
        row = _customer(draw)
        while row["customerID"] in taken:
            row["customerID"] = _id(draw)
        taken.add(row["customerID"])
        writer.writerow(row)
    return out.getvalue()


def main() -> int:
    """Write the sample to standard output."""
    sys.stdout.write(sample_csv())
    return 0


def _customer(draw: random.Random) -> dict[str, str]:
    internet = _pick(draw, {"Fiber optic": 0.44, "DSL": 0.34, "No": 0.22})
    term = _pick(draw, {"Month-to-month": 0.55, "One year": 0.21, "Two year": 0.24})
    longest = {"Month-to-month": 48, "One year": 66, "Two year": 72}[term]
    tenure = int(draw.random() ** (1.6 if term == "Month-to-month" else 0.7) * (longest + 1))
    phone = internet != "DSL" or draw.random() < 0.8
    lines = _yes(draw, 0.45) if phone else "No phone service"
    wants = {"Month-to-month": 0.32, "One year": 0.45, "Two year": 0.58}[term]
    add_ons = {name: _NO_INTERNET if internet == "No" else _yes(draw, wants) for name in _ADD_ONS}
    partner = _yes(draw, 0.48)
    row = {
        "customerID": _id(draw),
        "gender": _pick(draw, {"Female": 0.5, "Male": 0.5}),
        "SeniorCitizen": "1" if draw.random() < 0.16 else "0",
        "Partner": partner,
        "Dependents": _yes(draw, 0.5 if partner == "Yes" else 0.1),
        "tenure": str(tenure),
        "PhoneService": "Yes" if phone else "No",
        "MultipleLines": lines,
        "InternetService": internet,
        **add_ons,
        "Contract": term,
        "PaperlessBilling": _yes(draw, 0.6),
        "PaymentMethod": _pick(
            draw,
            {
                "Electronic check": 0.34,
                "Mailed check": 0.22,
                "Bank transfer (automatic)": 0.22,
                "Credit card (automatic)": 0.22,
            },
        ),
    }
    monthly = _monthly(draw, row)
    row["MonthlyCharges"] = str(monthly)
    row["TotalCharges"] = str(_total(draw, monthly, tenure)) if tenure else " "
    row["Churn"] = _yes(draw, _leaves(row, tenure))
    return row


def _monthly(draw: random.Random, row: dict[str, str]) -> Decimal:
    price = {"Fiber optic": 50.0, "DSL": 25.0, "No": 0.0}[row["InternetService"]]
    price += 20.0 if row["PhoneService"] == "Yes" else 0.0
    price += 5.0 if row["MultipleLines"] == "Yes" else 0.0
    for name in _ADD_ONS:
        if row[name] == "Yes":
            price += 10.0 if name.startswith("Streaming") else 5.0
    # Prices end in 0 or 5 cents
    steps = round((price + (draw.random() - 0.5) * 2) * 20)
    return (Decimal(steps) * Decimal("0.05")).quantize(Decimal("0.01"))


def _total(draw: random.Random, monthly: Decimal, tenure: int) -> Decimal:
    drift = Decimal(round((draw.random() - 0.5) * 80)) / 1000 if tenure > 1 else Decimal(0)
    return (monthly * tenure * (1 + drift)).quantize(Decimal("0.01"))


def _leaves(row: dict[str, str], tenure: int) -> float:
    risk = {"Month-to-month": 0.42, "One year": 0.16, "Two year": 0.07}[row["Contract"]]
    risk += (
        0.12 if row["InternetService"] == "Fiber optic" else -0.08 if row["InternetService"] == "No" else 0
    )
    risk += 0.1 if tenure < 6 else -0.08 if tenure > 40 else 0
    return min(max(risk, 0.02), 0.8)


def _pick(draw: random.Random, shares: dict[str, float]) -> str:
    at = draw.random() * sum(shares.values())
    for name, share in shares.items():
        at -= share
        if at < 0:
            return name
    return name


def _yes(draw: random.Random, share: float) -> str:
    return "Yes" if draw.random() < share else "No"


def _id(draw: random.Random) -> str:
    digits = "".join(chr(ord("0") + int(draw.random() * 10)) for _ in range(4))
    return digits + "-" + "".join(chr(ord("A") + int(draw.random() * 26)) for _ in range(5))


if __name__ == "__main__":
    sys.exit(main())
