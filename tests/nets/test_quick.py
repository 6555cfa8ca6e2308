"""The quick ``dataclass`` does what the standard library's does."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets import quick

NAMES = ("a", "b", "c", "d")
VALUES = st.one_of(
    st.none(), st.integers(-2, 2), st.text(max_size=2), st.just(float("nan")), st.lists(st.none())
)


Options = dict[str, Any]


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Options | None]:
    """Fields with every kind of default and option; ``None`` for one that is only annotated."""
    body: dict[str, Options | None] = {}
    for name in NAMES[: draw(st.integers(0, len(NAMES)))]:
        options: Options = {
            "init": draw(st.sampled_from([True, True, True, False])),
            "repr": draw(st.booleans()),
            "compare": draw(st.booleans()),
            "hash": draw(st.sampled_from([None, True, False])),
            "kw_only": draw(st.booleans()),
        }
        default = draw(st.sampled_from(["none", "value", "factory", "bare"]))
        if default == "value":
            options["default"] = draw(st.integers(0, 3))
        elif default == "factory":
            options["default_factory"] = list
        body[name] = None if default == "bare" else options
    return body


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives or how it fails, so that two of them can be compared."""
    try:
        return call()
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


@given(bodies(), st.booleans(), st.booleans(), st.data())
def test_as_the_standard(
    body: dict[str, Options | None], eq: bool, kw_only: bool, data: st.DataObject
) -> None:
    def make(decorator: Any) -> Any:
        space: dict[str, Any] = {"__doc__": "A class.", "__module__": __name__}
        space["__annotations__"] = dict.fromkeys(body, "object")
        # The options make a new field each time, since a decorator writes into the fields that it is given.
        space |= {name: dataclasses.field(**options) for name, options in body.items() if options is not None}
        return decorator(frozen=True, slots=True, eq=eq, kw_only=kw_only)(type("Made", (), space))

    standard: Any = outcome(lambda: make(dataclasses.dataclass))
    made: Any = outcome(lambda: make(quick.dataclass))
    if isinstance(standard, tuple):  # refused
        assert made == standard
        return
    assert str(inspect.signature(made)) == str(inspect.signature(standard))
    assert made.__match_args__ == standard.__match_args__
    assert made.__slots__ == standard.__slots__
    assert repr(made.__dataclass_params__) == repr(standard.__dataclass_params__)
    assert [f.name for f in dataclasses.fields(made)] == [f.name for f in dataclasses.fields(standard)]

    # Two objects of each class: by name, by position, too few, too many, unknown names.
    calls = st.tuples(
        st.lists(VALUES, max_size=5), st.dictionaries(st.sampled_from([*NAMES, "x"]), VALUES, max_size=4)
    )
    (args, kwargs), (more_args, more_kwargs) = data.draw(calls), data.draw(calls)
    ours = [outcome(lambda: made(*args, **kwargs)), outcome(lambda: made(*more_args, **more_kwargs))]
    theirs = [
        outcome(lambda: standard(*args, **kwargs)),
        outcome(lambda: standard(*more_args, **more_kwargs)),
    ]
    assert [shown(x, made) for x in ours] == [shown(x, standard) for x in theirs]
    if all(isinstance(x, made) for x in ours):
        uses: list[Callable[[Any, Any], Any]] = [
            lambda x, y: (x == x, x == y),  # noqa: PLR0124
            lambda x, _: hash(x) if eq else None,
            lambda x, _: dataclasses.asdict(x),
            lambda x, _: shown(copy.copy(x), type(x)),
            lambda x, _: shown(dataclasses.replace(x), type(x)),
        ]
        for use in uses:
            assert outcome(partial(use, *ours)) == outcome(partial(use, *theirs))
        assert ours[0] != theirs[0]


def shown(of: Any, cls: type) -> Any:
    """An object by the values of all its fields; a failure as it is."""
    if not isinstance(of, cls):
        return of
    return outcome(lambda: repr(of)), [getattr(of, f.name, "unset") for f in dataclasses.fields(cls)]


@quick.dataclass(frozen=True, slots=True)
class Sum:
    """Numbers with their sum, which is no argument."""

    numbers: tuple[int, ...]
    note: str = ""
    total: int = dataclasses.field(init=False, compare=False)
    seen: int = dataclasses.field(init=False, default=3)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.numbers))

    def __hash__(self) -> int:
        return 7


def test_what_is_no_argument_and_what_the_class_defines_itself() -> None:
    made = Sum((1, 2))
    assert (made.total, made.seen, hash(made)) == (3, 3, 7)
    assert repr(made) == "Sum(numbers=(1, 2), note='', total=3, seen=3)"
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made).total == 3
    match made:
        case Sum(numbers, note):
            assert (numbers, note) == ((1, 2), "")


@pytest.mark.parametrize("name", ["numbers", "total", "nonesuch"])
def test_frozen(name: str) -> None:
    made = Sum((1, 2))
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(made, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(made, name)


def test_a_standard_frozen_dataclass_may_inherit_from_it() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Sum):
        more: int = 0

    assert More((4,), more=1).total == 4


def test_what_it_does_not_do_is_refused() -> None:
    decorate: Any = quick.dataclass
    with pytest.raises(TypeError, match=r"uses dataclasses\.dataclass"):
        decorate(frozen=False, slots=True)
    with pytest.raises(TypeError, match="inherits from a dataclass"):
        decorate(frozen=True, slots=True)(type("More", (Sum,), {}))
