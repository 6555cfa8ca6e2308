"""Secret fields: marked in the model, kept in the net's file, hidden in text, data and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field as ModelField

from provenet.nets import schema
from provenet.nets.build import NetBuilder
from provenet.nets.erased import Erased, Unreadable
from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.models import Personal, Secret, Token, model_of, parse_answer, schema_of, to_value
from provenet.nets.schema import HIDDEN, RecordType, from_json, to_json
from provenet.nets.secrets import hide, keeps_secrets, secrets_in, without


class Card(Token):
    number: Annotated[str, Secret, ModelField(max_length=19)]
    holder: str


class Payment(Token):
    id: str
    card: Card
    spare: tuple[Card, ...] = ()
    pin: Annotated[int | None, Secret] = None


class Open(Token):
    number: Annotated[str, ModelField(max_length=19)]
    holder: str


PAYMENT = schema_of(Payment)
digits = st.text("0123456789", min_size=6, max_size=19)
cards = st.builds(Card, number=digits, holder=st.sampled_from(["ann", "bob"]))
payments = st.builds(
    Payment,
    id=st.sampled_from(["p-1", "p-2"]),
    card=cards,
    spare=st.lists(cards, max_size=2).map(tuple),
    pin=st.none() | st.integers(100_000, 999_999),
)


def told(payment: Payment) -> set[str]:
    numbers = {c.number for c in (payment.card, *payment.spare)}
    return numbers | ({str(payment.pin)} if payment.pin is not None else set())


@given(payments)
def test_nothing_secret_is_left_in_hidden_data(payment: Payment) -> None:
    value = to_value(payment, PAYMENT)
    data = to_json(value, PAYMENT)
    shown = hide(data, PAYMENT)
    text = json.dumps(shown)
    assert not [s for s in told(payment) if s in text]
    assert (shown["id"], shown["card"]["holder"]) == (payment.id, payment.card.holder)
    assert set(secrets_in(value, PAYMENT)) == told(payment)
    quoted = f"it said {payment.card.number!r} and {data}"
    assert not [s for s in told(payment) if s in without(quoted, secrets_in(value, PAYMENT))]
    for each in (repr(payment), str(payment), f"{payment.card}"):
        assert not [s for s in told(payment) if s in each]


@given(payments, st.sampled_from(["card", "pin", "spare", "id"]), digits)
def test_errors_quote_no_secret(payment: Payment, where: str, wrong: str) -> None:
    secret = wrong * 4
    data = to_json(to_value(payment, PAYMENT), PAYMENT)
    data[where] = {
        "card": {"number": secret, "holder": "ann"},
        "pin": secret,
        "spare": [{"number": secret, "holder": "ann"}],
        "id": 7,
    }[where]
    attempts: tuple[Callable[[], object], ...] = (
        lambda: from_json(data, PAYMENT),
        lambda: to_value(data, PAYMENT),
        lambda: parse_answer(json.dumps(data), PAYMENT),
        lambda: parse_answer(secret, PAYMENT),
        lambda: from_json(secret, PAYMENT),
        lambda: to_value([secret], PAYMENT),
    )
    for attempt in attempts:
        with pytest.raises(TypeMismatch) as caught:
            attempt()
        said = f"{caught.value} {caught.value.got} {caught.value.expected}"
        assert not [s for s in (secret, *told(payment)) if s in said]


@given(st.recursive(st.none() | digits, lambda x: st.lists(x) | st.dictionaries(digits, x), max_leaves=8))
def test_data_of_another_shape_is_hidden_whole(data: Any) -> None:
    text = json.dumps(hide(data, PAYMENT))
    # What keys there are is no secret; what is under one that nobody knows is.
    values = {v for v in json.dumps(data).split('"') if v.isdigit()}
    keys = set(data) if isinstance(data, dict) else set()
    assert not [v for v in values - keys if v in text and not any(v in k for k in keys)]


def agent(of: type[Token]) -> NetBuilder:
    net = NetBuilder("pays")
    start, done = net.entry("start", of), net.final("done", of)
    net.transition("pay", takes={"c": start}, puts={done: "c"})
    return net


def test_the_mark_travels_with_the_net() -> None:
    marked, plain = agent(Card).build(), agent(Open).build()
    text = dumps(marked)
    again = loads(text)
    assert again == marked
    assert content_hash(again) == content_hash(marked)
    assert '"secret"' not in dumps(plain)
    assert dumps(plain).replace("Open", "Card") == text.replace(',"secret":true', "")
    assert keeps_secrets(again.place("start").type)
    found = again.place("start").type
    assert isinstance(found, RecordType)
    assert "424242" not in repr(model_of(found).model_validate({"number": "424242", "holder": "ann"}))
    with pytest.raises(ProvenetError, match="a field is secret, or says nothing"):
        loads(text.replace('"secret":true', '"secret":"yes"'))


def test_a_part_of_a_field_cannot_be_marked() -> None:
    class Odd(Token):
        numbers: list[Annotated[str, Secret]]

    with pytest.raises(ProvenetError, match="mark the whole field"):
        schema_of(Odd)


def test_short_secrets_are_not_looked_for_in_words() -> None:
    assert without("a cat sat", ["a", "cat"]) == "a cat sat"
    assert without("it got 'x\\n4242'", ["x\n4242"]) == f"it got '{HIDDEN}'"


class Person(Token):
    id: str
    name: Annotated[str, Personal]
    born: Annotated[datetime | None, Personal] = None


def test_personal_fields_are_marked_in_the_file_and_hidden_like_secrets() -> None:
    net = agent(Person).build()
    text = dumps(net)
    assert '"name":"name","personal":true' in text
    assert loads(text) == net
    with pytest.raises(ProvenetError, match="a field is personal, or says nothing"):
        loads(text.replace('"personal":true', '"personal":1'))
    with pytest.raises(ProvenetError, match="hidden as a secret is"):
        loads(text.replace('"personal":true', '"personal":true,"secret":true', 1))
    of = schema_of(Person)
    born = datetime(1980, 5, 17, tzinfo=UTC)
    value = to_value(Person(id="p-1", name="Jane", born=born), of)
    assert hide(to_json(value, of), of) == {"id": "p-1", "name": HIDDEN, "born": HIDDEN}
    assert "Jane" not in repr(Person(id="p-1", name="Jane"))
    assert without(f"no JANE, born {born}", secrets_in(value, of)) == f"no {HIDDEN}, born {HIDDEN}"


def test_a_value_that_cannot_be_read_is_copied_and_never_looked_at() -> None:
    of = schema_of(Person)
    gone = Erased("c1")
    value = from_json({"id": "p-1", "name": gone, "born": None}, of)
    assert value == ("p-1", gone, None)
    assert value == ("p-1", Erased("c1"), None)
    assert schema.checker(of)(value)
    assert not list(secrets_in(value, of))
    with pytest.raises(TypeMismatch):
        schema.check((gone, "Jane", None), of)
    looks: tuple[Callable[[], object], ...] = (
        lambda: gone == "Jane",
        lambda: gone == Erased("c2"),
        lambda: gone != Erased("c1"),
        lambda: gone < 3,
        lambda: gone + 1,
        lambda: 1 + gone,
        lambda: len(gone),
        lambda: bool(gone),
        lambda: gone.startswith("J"),
        lambda: gone in ("Jane", "Joe"),
        lambda: "J" in gone,
    )
    for look in looks:
        with pytest.raises(Unreadable):
            look()
