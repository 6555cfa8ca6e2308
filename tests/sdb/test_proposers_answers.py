"""Answers read from JSON, the schema that a model is shown, and prompt templates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from provenet.nets import schema
from provenet.nets.errors import ProvenetError
from provenet.nets.models import Token, schema_of
from provenet.nets.schema import Type, Value
from provenet.sdb.handlers import ProposalFault
from provenet.sdb.proposers.answers import answer_type, json_schema, read_answer, read_value
from provenet.sdb.proposers.faults import exception_text, redact
from provenet.sdb.proposers.template import Template, iso_duration, readable
from provenet.sdb.reject import REJECT
from tests.nets.strategies import types, values

TYPED: st.SearchStrategy[tuple[Type, Value]] = types().flatmap(lambda t: st.tuples(st.just(t), values(t)))
STRICT_KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"),
}


def written(value: Value, of: Type) -> str:
    """What a model that follows the schema writes."""
    record = answer_type(of)
    return json.dumps(readable(value if record is of else (value,), record))


@given(TYPED)
def test_every_value_comes_back_from_its_answer(typed: tuple[Type, Value]) -> None:
    of, value = typed
    assert read_answer(written(value, of), of) == value


@given(TYPED)
def test_every_answer_fits_the_schema_that_was_shown(typed: tuple[Type, Value]) -> None:
    of, value = typed
    shape = json_schema(answer_type(of))
    jsonschema.Draft202012Validator.check_schema(shape)
    jsonschema.Draft202012Validator(shape).validate(json.loads(written(value, of)))
    assert keywords(shape) <= STRICT_KEYWORDS


def keywords(shape: dict[str, Any]) -> set[str]:
    parts = [*shape.get("properties", {}).values(), *shape.get("anyOf", ())]
    parts += [shape["items"]] if "items" in shape else []
    return set(shape).union(*(keywords(p) for p in parts))


@given(types(), st.one_of(st.text(), st.binary().map(repr), st.from_type(dict).map(repr)))
def test_any_text_is_a_value_or_a_fault(of: Type, text: str) -> None:
    value_or_fault(text, of)


def value_or_fault(text: str, of: Type) -> None:
    fault: ProposalFault | None = None
    try:
        schema.check(read_answer(text, of), of)
    except ProposalFault as error:
        fault = error
    if fault is not None:
        assert fault.reject.rule in {"malformed", "schema"}
        schema.check(fault.reject.value(), REJECT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(types(), JSON)
def test_any_json_is_a_value_or_a_fault(of: Type, data: Any) -> None:
    value_or_fault(json.dumps(data), of)


@given(TYPED)
def test_one_field_more_or_less_is_refused(typed: tuple[Type, Value]) -> None:
    of, value = typed
    data = json.loads(written(value, of))
    for spoiled in ({**data, "not a field": 1}, dict(list(data.items())[1:])):
        if spoiled != data:
            with pytest.raises(ProposalFault) as caught:
                read_answer(json.dumps(spoiled), of)
            assert caught.value.reject.rule == "schema"


class Defaults(BaseModel):
    """A model of a user who did not start from Token: it has defaults and ignores extras."""

    x: int = 7
    y: Decimal = Decimal(1)


@pytest.mark.parametrize("text", ["{}", '{"x": 1}', '{"x": 1, "y": "1", "z": 1}', '{"x": 1, "y": NaN}'])
def test_a_lenient_model_makes_no_lenient_answer(text: str) -> None:
    with pytest.raises(ProposalFault):
        read_answer(text, schema_of(Defaults))


class Trip(Token):
    who: str
    start: datetime
    length: timedelta
    price: Decimal
    note: str | None


TRIP = Trip(
    who="{price} {0.__class__}",
    start=datetime(2030, 1, 31, 12, tzinfo=UTC),
    length=timedelta(days=1, seconds=2, microseconds=3),
    price=Decimal("12.50"),
    note=None,
)


@pytest.mark.parametrize(
    "data",
    [
        TRIP,
        TRIP.model_dump(),
        {**TRIP.model_dump(), "start": "2030-01-31T12:00:00Z", "length": "P1DT2.000003S", "price": "12.50"},
        json.dumps(readable(tuple(TRIP.model_dump().values()), schema_of(Trip))),
        tuple(TRIP.model_dump().values()),
    ],
    ids=["instance", "mapping", "json_like", "text", "tuple"],
)
def test_values_of_code_in_every_form(data: Any) -> None:
    assert read_value(data, schema_of(Trip)) == tuple(TRIP.model_dump().values())


@pytest.mark.parametrize(
    "data",
    [None, 7, object(), {"who": 1}, {1: {2}}, "{", Trip, {"who": object()}],
    ids=["none", "number", "object", "wrong key", "number as key", "broken text", "class", "object inside"],
)
def test_values_of_code_of_another_type(data: Any) -> None:
    with pytest.raises(ProposalFault):
        read_value(data, schema_of(Trip))


def test_template_fills_in_one_pass() -> None:
    text = Template.parse("{who}|{start}|{length}|{price}|{note}|{{who}}").fill(TRIP, schema_of(Trip))
    start = '"2030-01-31T12:00:00+00:00"'
    assert text == "{price} {0.__class__}|" + start + '|"P1DT2.000003S"|"12.50"|null|{who}'
    whole = json.loads(Template.parse("{payload}").fill(TRIP, schema_of(Trip)))
    assert whole["length"] == "P1DT2.000003S"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "{}",
        "{0}",
        "{who!r}",
        "{who:>99999999}",
        "{who[0]}",
        "{who.__class__}",
        "{__class__}",
        "{a b}",
        "{who.}",
    ],
)
def test_templates_that_are_more_than_field_names(text: str) -> None:
    with pytest.raises(ProvenetError):
        Template.parse(text)


@pytest.mark.parametrize("text", ["{whom}", "{who.upper}", "{model_fields}", "{start.year}", "{note.x}"])
def test_templates_that_name_no_field(text: str) -> None:
    template = Template.parse(text)
    with pytest.raises(ProvenetError):
        template.check(schema_of(Trip))
    with pytest.raises(ProvenetError):
        template.fill(TRIP, schema_of(Trip))


@given(st.text(), st.text(alphabet="{}.!:[]0a_", max_size=8))
def test_any_template_parses_or_is_refused(before: str, odd: str) -> None:
    try:
        template = Template.parse(before + odd)
        template.check(schema_of(Trip))
    except ProvenetError:
        return
    assert isinstance(template.fill(TRIP, schema_of(Trip)), str)


@given(st.timedeltas(min_value=timedelta(days=-400_000), max_value=timedelta(days=400_000)))
def test_durations_are_exact(span: timedelta) -> None:
    assert read_answer(json.dumps({"value": iso_duration(span)}), schema.DURATION) == span


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRET-123",
        "{'x-api-key': 'SECRET-123'}",
        "https://host/v1?key=SECRET-123&x=1",
        "https://host/v1?a=1&api_key=SECRET-123",
        "mine is SECRET-123",
        "sk-SECRET-123456789",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "SECRET-123" not in redact(text, secrets=["SECRET-123"] if "mine" in text else [])


def test_exception_text_survives_anything() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "Odd" in exception_text(Odd())
    assert len(exception_text(ValueError("x" * 10_000))) <= 300
    assert "\n" not in exception_text(ValueError("a\nb"))
