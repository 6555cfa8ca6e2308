"""The bridge to pydantic: annotations to types, values both ways, untrusted answers."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field as Bound
from pydantic import field_validator

from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.models import Token, from_value, model_of, parse_answer, schema_of, to_value
from provenet.nets.schema import (
    DATETIME,
    INT,
    STR,
    DecimalType,
    EnumType,
    Field,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
)


class Tier(enum.Enum):
    GOLD = "gold"
    NEW = "new"


class Line(Token):
    qty: int = Bound(ge=0, lt=10)


class Order(Token):
    price: Decimal = Bound(gt=0, le=Decimal("99.5"), decimal_places=2)
    tier: Tier
    best: Tier | None
    when: datetime
    wait: timedelta
    lines: list[Line] = Bound(max_length=3)
    codes: tuple[int, ...]
    limit: Annotated[int, Bound(gt=0)] | None
    kind: Literal["a", "b"]
    rate: float = Bound(ge=0)
    first: Line
    name: str = Bound(max_length=5)

    @field_validator("name")
    @classmethod
    def _no_x(cls, name: str) -> str:
        if "x" in name:
            raise ValueError("no x, please")
        return name


ORDER = schema_of(Order)
HERE = timezone(timedelta(hours=2))


def order(**changes: Any) -> Order:
    parts: dict[str, Any] = {
        "price": Decimal("1.50"),
        "tier": Tier.GOLD,
        "best": None,
        "when": datetime(2026, 1, 1, 12, tzinfo=HERE),
        "wait": timedelta(days=1),
        "lines": [Line(qty=1)],
        "codes": (1, 2),
        "limit": None,
        "kind": "a",
        "rate": 0.5,
        "first": Line(qty=2),
        "name": "ann",
    }
    return Order(**{**parts, **changes})


def test_annotations_are_read_with_their_bounds() -> None:
    assert isinstance(ORDER, RecordType)
    line = RecordType("Line", (Field("qty", IntType(0, 9)),))
    tier = EnumType("Tier", ("gold", "new"))
    assert [f.type for f in ORDER.fields if f.name not in ("when", "wait")] == [
        DecimalType(Decimal(0), Decimal("99.5"), 2),
        tier,
        OptionalType(tier),
        ListType(line, 3),
        ListType(INT),
        OptionalType(IntType(1, None)),
        EnumType("choice", ("a", "b")),
        FloatType(0.0, None),
        line,
        StrType(5),
    ]


def test_handlers_get_their_own_class_back() -> None:
    made = order(best=Tier.NEW)
    value = to_value(made, ORDER)
    again = from_value(value, ORDER)
    assert again == made
    assert type(again) is Order
    assert again.best is Tier.NEW
    assert again.lines == [Line(qty=1)]
    assert Order.model_validate_json(again.model_dump_json()) == made
    assert value[3].tzinfo is UTC


def test_answers_come_as_text_or_data() -> None:
    value = to_value(order(), ORDER)
    assert parse_answer(order().model_dump_json(), ORDER) == value
    assert parse_answer(order().model_dump(mode="json"), ORDER) == value
    assert parse_answer(order().model_dump(), ORDER) == value
    assert parse_answer("[1, 2]", schema_of(list[int])) == (1, 2)
    assert parse_answer("12", STR) == "12"
    assert parse_answer("2026-01-01T00:00:00Z", STR) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("price", "NaN", "finite"),
        ("price", 12.345, "decimal places"),
        ("price", 100, "less than or equal to 99.5"),
        ("rate", float("nan"), "finite"),
        ("tier", "silver", "'gold' or 'new'"),
        ("name", "toolong", "at most 5"),
        ("name", "x", "no x, please"),
        ("when", "2026-01-01T00:00:00", "aware datetime"),
        ("limit", 0, "greater than 0"),
        ("codes", [1, "2"], "valid integer"),
        ("rate", "0.5", "valid number"),
        ("more", 1, "not permitted"),
        ("first", {}, "Field required"),
        ("lines", [{"qty": 10}], "less than 10"),
    ],
)
def test_a_bad_answer_names_its_field(field: str, value: Any, says: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        parse_answer(order().model_dump(mode="json") | {field: value}, ORDER)
    assert caught.value.field.startswith(field)
    assert says in caught.value.expected


@pytest.mark.parametrize("answer", ["{", "[]", "null", 3, None, "[" * 100_000, b"\xff", object(), {1: 2}])
def test_no_answer_is_no_crash(answer: Any) -> None:
    with pytest.raises(TypeMismatch):
        parse_answer(answer, ORDER)


def test_a_type_from_a_file_gets_a_model_of_its_own() -> None:
    of = RecordType(
        "Strange", (Field("copy", INT), Field("json", DATETIME), Field("class", OptionalType(STR)))
    )
    value = (1, datetime(2026, 1, 1, tzinfo=UTC), None)
    made = from_value(value, of)
    assert isinstance(made, model_of(of))
    assert to_value(made, of) == value


class Loop(Token):
    next: Loop | None


class Aliased(Token):
    x: int = Bound(alias="y")


class Odd(enum.Enum):
    A = 1.5


@pytest.mark.parametrize(
    "annotation",
    [
        object,
        dict[str, int],
        int | str,
        tuple[int, str],
        tuple[int, int],
        Loop,
        Aliased,
        Odd,
        Literal[True],
        bytes,
    ],
    ids=str,
)
def test_what_has_no_token_type_is_refused(annotation: Any) -> None:
    with pytest.raises(ProvenetError) as caught:
        schema_of(annotation)
    assert caught.value.code == "PN301"
    assert caught.value.hint
