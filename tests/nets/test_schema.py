"""Token types and values: JSON round trips, and what is refused."""

# ruff: noqa: PT017 - whether an error comes is what the drawn input decides

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import TypeMismatch
from provenet.nets.models import annotation_of, from_value, parse_answer, schema_of, to_value
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    UNIT,
    DecimalType,
    EnumType,
    FloatType,
    IntType,
    ListType,
    RecordType,
    StrType,
    Type,
    check,
    checker,
    from_json,
    plainest,
    to_json,
)
from tests.nets.strategies import ORDER, types, values

TYPED = types().flatmap(lambda t: st.tuples(st.just(t), values(t)))


@given(TYPED)
def test_values_survive_json(drawn: tuple[Type, Any]) -> None:
    of, value = drawn
    check(value, of)
    assert from_json(json.loads(json.dumps(to_json(value, of))), of) == value


@given(TYPED)
def test_values_survive_models(drawn: tuple[Type, Any]) -> None:
    of, value = drawn
    assert to_value(from_value(value, of), of) == value


@given(values(ORDER))
def test_a_model_s_own_json_is_a_good_answer(value: Any) -> None:
    model = from_value(value, ORDER)
    assert parse_answer(model.model_dump_json(), ORDER) == value
    assert parse_answer(model.model_dump(mode="json"), ORDER) == value


@given(types())
def test_a_type_is_that_of_its_annotation(of: Type) -> None:
    again = schema_of(annotation_of(of))
    assert schema_of(annotation_of(again)) == again


@given(types())
def test_the_plainest_value_belongs_to_its_type(of: Type) -> None:
    check(plainest(of), of)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "in")), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(types(), _JSON)
def test_any_json_is_a_value_or_refused(of: Type, data: Any) -> None:
    for read in (from_json, parse_answer):
        try:
            check(read(data, of), of)
        except TypeMismatch as error:
            assert error.expected


@pytest.mark.parametrize(
    ("value", "of"),
    [
        (True, INT),
        (1, BOOL),
        (1.0, INT),
        (1, FloatType()),
        (float("nan"), FloatType()),
        (float("inf"), FloatType()),
        (Decimal("NaN"), DecimalType()),
        (Decimal("1E+999"), DecimalType()),
        (Decimal("0.123"), DecimalType(places=2)),
        (2**2000, INT),
        (11, IntType(0, 10)),
        ("abc", StrType(2)),
        ("\ud800", STR),
        ("\U000fffff", STR),
        (True, EnumType("E", (1, 2))),
        ("c", EnumType("E", ("a", "b"))),
        (datetime(2026, 1, 1), DATETIME),  # noqa: DTZ001 - a time without a zone is what is refused
        (datetime(1, 1, 1, tzinfo=UTC), DATETIME),
        (timedelta.max, DURATION),
        ([1], ListType(INT)),
        ((1, 2), ListType(INT, 1)),
        (None, UNIT),
        ((1,), ORDER),
    ],
)
def test_what_does_not_belong_is_refused(value: Any, of: Type) -> None:
    with pytest.raises(TypeMismatch):
        check(value, of)


def test_the_innermost_field_is_named() -> None:
    of = schema_of(list[int])
    record = RecordType("R", ORDER.fields[:2])
    with pytest.raises(TypeMismatch) as caught:
        from_json({"paid": True, "count": 99}, record)
    assert caught.value.field == "count"
    with pytest.raises(TypeMismatch) as caught:
        from_json([1, "2"], of)
    assert caught.value.field == "[1]"
    with pytest.raises(TypeMismatch) as caught:
        from_json({"paid": True, "cuont": 1}, record)
    assert "no count; unknown field 'cuont'" in caught.value.got


@given(st.data())
def test_a_compiled_check_agrees_with_check(data: st.DataObject) -> None:
    of = data.draw(types())
    value = data.draw(st.one_of(values(of), types().flatmap(values)))
    try:
        check(value, of)
        fits = True
    except TypeMismatch:
        fits = False
    assert checker(of)(value) is fits
