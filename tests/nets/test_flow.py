"""Personal values go to personal fields only; testing them is free."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.check import check_net
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Build, Get, Var
from provenet.nets.expr.build import choose, make
from provenet.nets.models import Personal, Token, schema_of
from provenet.nets.net import Choice, Entry, Net, Place, Put, Take, Transition
from provenet.nets.schema import Field, RecordType

SOON = datetime(2026, 1, 1, tzinfo=UTC)


class Person(Token):
    id: str
    name: Annotated[str, Personal]
    mail: Annotated[str | None, Personal] = None
    age: Annotated[int, Personal] = 0
    born: Annotated[datetime | None, Personal] = None


class Home(Token):
    owner: Person
    guests: tuple[Person, ...] = ()


class Flag(Token):
    id: str
    adult: bool


class Card(Token):
    id: str
    name: str


class Kept(Token):
    id: str
    name: Annotated[str, Personal]


class Years(Token):
    id: str
    n: int


def moving(of: type[Token], to: type[Token], build: Callable[[Any], Any]) -> NetBuilder:
    net = NetBuilder("moves")
    start, done = net.entry("start", of), net.final("done", to)
    net.transition("move", takes={"p": start}, puts={done: build})
    return net


GOOD: list[tuple[type[Token], type[Token], Callable[[Any], Any]]] = [
    (Person, Person, lambda p: p),
    (Person, Kept, lambda p: make(Kept, id=p.id, name=p.name)),
    (Person, Kept, lambda p: make(Kept, id=p.id, name=choose(p.age >= 18, p.name, "minor"))),
    (Person, Flag, lambda p: make(Flag, id=p.id, adult=p.age >= 18)),
    (Person, Years, lambda p: make(Years, id=p.id, n=p.name.length())),
    (Home, Person, lambda p: p.owner),
    (Home, Kept, lambda p: make(Kept, id=p.owner.id, name=p.owner.name)),
]
BAD: list[tuple[type[Token], type[Token], Callable[[Any], Any]]] = [
    (Person, Card, lambda p: make(Card, id=p.id, name=p.name)),
    (Person, Card, lambda p: make(Card, id=p.name, name="x")),
    (Kept, Card, lambda p: p),
    (Person, Card, lambda p: make(Card, id=p.id, name=choose(p.age >= 18, "adult", p.name))),
    (Person, Card, lambda p: make(Card, id=p.id, name=p.mail.or_else("none"))),
    (Person, Years, lambda p: make(Years, id=p.id, n=p.age + 1)),
    (Home, Card, lambda p: make(Card, id=p.owner.id, name=p.owner.name)),
]


@pytest.mark.parametrize("case", GOOD)
def test_copies_to_marked_fields_and_tests_are_free(case: Any) -> None:
    assert moving(*case).build()


@pytest.mark.parametrize("case", BAD)
def test_a_personal_value_in_clear_is_a_mistake(case: Any) -> None:
    with pytest.raises(NetError) as told:
        moving(*case).build()
    assert "PN207" in str(told.value)


def test_timers_keys_and_questions_are_looked_at() -> None:
    def timed(net: NetBuilder, start: Any, done: Any) -> None:
        net.timer("late", takes={"p": start}, puts={done: "p"}, after=lambda p: p.born.or_else(SOON))

    def known(net: NetBuilder, start: Any, done: Any) -> None:
        net.known_by("person", at=start, value=lambda it: it.name)
        net.transition("go", takes={"p": start}, puts={done: "p"})

    def keyed(net: NetBuilder, start: Any, done: Any) -> None:
        net.event("go", event="go", key="name", takes={"p": start}, brings={"q": Person}, puts={done: "q"})

    def asked(net: NetBuilder, start: Any, done: Any) -> None:
        choice = Choice("look", "yes", "lead", Get(Var("p"), "name"))
        net.transition("go", takes={"p": start}, puts={done: "p"}, trigger=choice)

    for draw in (timed, known, keyed, asked):
        net = NetBuilder("looks")
        draw(net, net.entry("start", Person), net.final("done", Person))
        with pytest.raises(NetError) as told:
            net.build()
        assert "PN207" in str(told.value), draw


@given(st.lists(st.sampled_from(["id", "name", "mail", "age"]), min_size=1, max_size=4))
def test_every_unmarked_field_that_a_marked_one_reaches_is_told(fields: list[str]) -> None:
    """A token of texts, each from one field of a person: as many mistakes as there are marked ones."""
    person = schema_of(Person)
    assert isinstance(person, RecordType)
    copied = (person.fields[person.index(f) or 0].type for f in fields)
    of = RecordType("Copy", tuple(Field(f"f{i}", t) for i, t in enumerate(copied)))
    net = Net(
        name="copies",
        places=(Place("start", person), Place("done", of)),
        transitions=(
            Transition(
                "copy",
                takes=(Take("start", "p"),),
                puts=(Put("done", Build(of, tuple(Get(Var("p"), f) for f in fields))),),
            ),
        ),
        entries=(Entry("start"),),
    )
    found = [m for m in check_net(net) if m.code == "PN207"]
    assert len(found) == sum(f != "id" for f in fields)
