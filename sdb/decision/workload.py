"""The description of a workload: what an architect knows of it before anything is built.

A YAML file of some thirty lines (``docs/method.md`` shows one). It says facts, never choices: how long a unit
of work lasts, what is lost when it pauses, which parts reach the outside. The choices follow from it
(``record``).
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from provenet.nets.errors import did_you_mean
from provenet.nets.formats.limits import Mistakes
from provenet.nets.schema import shorten
from provenet.sdb.decision.reading import Path_, Read, read_file, read_text

MOST_PARTS = 8
"""As many children or peers as the patterns are proved for."""

_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "year": 365 * 86_400}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(second|minute|hour|day|week|year)s?")
_LONGEST = timedelta(days=365 * 100)


def _span(value: object) -> timedelta:
    """``90 days`` as a duration."""
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError(
            "span",
            "expected a number and a unit, got {got}",
            {"got": shorten(value), "hint": "such as 90 days"},
        )
    span = timedelta(seconds=min(float(found[1]) * _UNITS[found[2]], 1e12))
    if not timedelta(0) < span <= _LONGEST:
        raise PydanticCustomError(
            "span",
            "expected more than nothing and at most 100 years, got {got}",
            {"got": shorten(value), "hint": "leave it out where there is none"},
        )
    return span


def _name(pattern: str, such_as: str) -> Any:
    def check(value: object) -> object:
        plain = isinstance(value, str) and re.fullmatch(pattern, value) is not None
        # It becomes a name in the skeleton's Python.
        if not plain or any(map(keyword.iskeyword, str(value).split("."))) or value in _TAKEN:
            raise PydanticCustomError(
                "name",
                "expected a name such as {such_as}, got {got}",
                {"such_as": such_as, "got": shorten(value), "hint": "lower-case letters, digits and _"},
            )
        return value

    return BeforeValidator(check)


def _seen(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise PydanticCustomError(
            "name", "expected one line of printable text, got {got}", {"got": shorten(text), "hint": ""}
        )
    return text


_TAKEN = {
    "id",
    "task",
    "inputs",
    "proposal",
    "receipt",
    "signal",
    "agent",
    "net",
    "result",
    "results",
    "make",
    "all",
}
"""Names that the skeleton uses itself."""

Span: TypeAlias = Annotated[timedelta, BeforeValidator(_span)]
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=400)]
Name: TypeAlias = Annotated[str, _name(r"[a-z][a-z0-9_]{0,39}", "credit_check")]
EffectName: TypeAlias = Annotated[
    str, _name(r"[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39}){0,2}", "crm.publish")
]
Kind: TypeAlias = Literal["text", "whole number", "yes or no", "point in time"]
Fields: TypeAlias = Annotated[dict[Name, Kind], Field(max_length=20)]


class _Described(BaseModel):
    """A part of the description: nothing beside what is declared, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Unit(_Described):
    """One unit of work: a case of the net.

    Attributes:
        lasts: From its input to its outcome, pauses included.
        world_changes: Whether what it acts on may change meanwhile.
        called: What a unit is; names the skeleton's first token.
        fields: What its input says, beside an id.
    """

    lasts: Span
    world_changes: bool
    called: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,39}$")] = "Task"
    fields: Fields = {}


class Pauses(_Described):
    """What happens while a unit waits; none where it never does.

    Attributes:
        longest: How long a pause may be.
        waits_on: Who or what outside it waits for.
        reconstructible: Whether the paused state follows from the original input alone.
        world_changes: Whether what it acts on may change during a pause.
    """

    longest: Span = timedelta(0)
    waits_on: Annotated[tuple[Text, ...], Field(strict=False, max_length=20)] = ()
    reconstructible: bool
    world_changes: bool


class Act(_Described):
    """An effect on the outside.

    Attributes:
        effect: Its name.
        undo: The effect that takes it back.
        irreversible: Nothing takes it back.
    """

    effect: EffectName
    undo: EffectName | None = None
    irreversible: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Act:
        _undone(self.effect, self.undo, self.irreversible)
        return self


class Part(_Described):
    """A sub-task that can be handed out.

    Attributes:
        name: Its name.
        gives: What its result says, beside the id of the task it is about.
        effect: What it does on the outside; a part that only answers has none.
        undo: The effect that takes it back.
        irreversible: Nothing takes it back.
        within: Its deadline.
    """

    name: Name
    gives: Fields = {}
    effect: EffectName | None = None
    undo: EffectName | None = None
    irreversible: bool = False
    within: Span = timedelta(minutes=10)

    @model_validator(mode="after")
    def _one_of_both(self) -> Part:
        if self.effect is not None:
            _undone(self.effect, self.undo, self.irreversible)
        elif self.undo is not None or self.irreversible:
            raise PydanticCustomError(
                "undo", "it has no effect to undo", {"hint": "name it with effect:, or leave undo out"}
            )
        return self


class Tasks(_Described):
    """How the work divides; one agent does it all where this is left out.

    Attributes:
        owner: ``single`` where one party answers for the outcome, ``shared`` where several do.
        independent: Whether no part needs another's result.
        merge: How the results become one: by a ``deterministic`` rule, ``judged`` by a model or a person, or
            there is ``none``.
        partial_useful: Whether the results of some parts are of use where others failed.
        bad_write_dear: Whether a wrong partial write costs more than keeping a log of compensations.
        parts: The sub-tasks.
    """

    owner: Literal["single", "shared"]
    independent: bool
    merge: Literal["deterministic", "judged", "none"]
    partial_useful: bool = False
    bad_write_dear: bool = False
    parts: Annotated[tuple[Part, ...], Field(strict=False, min_length=1, max_length=MOST_PARTS)]


class Risk(_Described):
    """What a wrong action means.

    Attributes:
        legal_or_financial: It has legal or financial consequences.
        audited: Somebody will ask who decided.
        role: Who is asked.
        decide_within: How long they have; denied afterwards.
    """

    legal_or_financial: bool
    audited: bool
    role: Name = "supervisor"
    decide_within: Span = timedelta(days=2)


class Workload(_Described):
    """A workload.

    Attributes:
        workload: Its name.
        about: What it is, in a sentence.
        unit: One unit of work.
        pauses: What happens while it waits.
        tasks: How the work divides.
        effects: What its owner does on the outside with the outcome, in this order.
        risk: What a wrong action means.
        model: The model that it is decided for, with its version.
        decided: When it is decided.
    """

    workload: Annotated[str, AfterValidator(_seen), Field(min_length=1, max_length=80)]
    about: Text = ""
    unit: Unit
    pauses: Pauses | None = None
    tasks: Tasks | None = None
    effects: Annotated[tuple[Act, ...], Field(strict=False, max_length=MOST_PARTS)] = ()
    risk: Risk
    model: Annotated[str, AfterValidator(_seen), Field(min_length=1, max_length=120)]
    decided: date | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Workload:
        for what, names in (
            ("part", [p.name for p in self.parts]),
            ("effect", [n for a in self.acts for n in (a.effect, a.undo) if n is not None]),
        ):
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                raise PydanticCustomError(
                    "twice", "{what} {name} is named twice", {"what": what, "name": repr(twice), "hint": ""}
                )
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sub-tasks, if any."""
        return () if self.tasks is None else self.tasks.parts

    @property
    def acts(self) -> tuple[Act, ...]:
        """All that reaches the outside, the parts' effects first."""
        of_parts = (
            Act(effect=p.effect, undo=p.undo, irreversible=p.irreversible)
            for p in self.parts
            if p.effect is not None
        )
        return (*of_parts, *self.effects)


def load_workload(path: Path) -> Workload:
    """The workload that a file describes.

    Raises:
        FormatError: It is no YAML, or no description; every mistake is told with its line.
    """
    return _described(read_file(path))


def parse_workload(text: str, *, source: str = "the text") -> Workload:
    """The workload that a text describes; see ``load_workload``."""
    return _described(read_text(text, source=source))


def _described(read: Read) -> Workload:
    mistakes = Mistakes(read.source, hint="docs/method.md describes the file")
    if not isinstance(read.data, dict):
        mistakes.add("line 1", "expected a mapping that begins with workload: NAME", "see docs/method.md")
        mistakes.raise_if_any()
    try:
        return Workload.model_validate(read.data)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            if one["type"] == "too_short" and one["input"]:
                continue  # its items are what is wrong, and told
            where, message, hint = _told(one)
            mistakes.add(f"line {read.line(where)}", message, hint)
        mistakes.raise_if_any()
        raise  # the loop above has told at least one


_PLACES: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): Workload,
    ("unit",): Unit,
    ("pauses",): Pauses,
    ("tasks",): Tasks,
    ("tasks", "parts"): Part,
    ("effects",): Act,
    ("risk",): Risk,
}


def _told(one: ErrorDetails) -> tuple[Path_, str, str]:
    """A mistake as people read it: where it stands, what is wrong, how to mend it."""
    where = tuple(part for part in one["loc"] if part != "[key]")
    named = ".".join(str(p) if isinstance(p, str) else str(p + 1) for p in where)
    around = tuple(p for p in where[:-1] if isinstance(p, str))
    context: Mapping[str, Any] = one.get("ctx", {})
    match one["type"]:
        case "missing":
            return where[:-1], f"{named} is missing", _meaning(around, str(where[-1]))
        case "extra_forbidden":
            known = _PLACES[around].model_fields if around in _PLACES else ()
            return where, f"there is no {named}", did_you_mean(str(where[-1]), known)
        case "literal_error":
            words = list(_words(str(context.get("expected", ""))))
            return (
                where,
                f"{named}: expected {' or '.join(words)}, got {shorten(one['input'])}",
                did_you_mean(str(one["input"]), words),
            )
        case "bool_type":
            return where, f"{named}: expected true or false, got {shorten(one['input'])}", ""
        case "string_type":
            hint = "put it in quotes" if isinstance(one["input"], int | float | date) else ""
            return where, f"{named}: expected a text, got {shorten(one['input'])}", hint
    said = one["msg"][:1].lower() + one["msg"][1:]
    hint = str(context.get("hint", ""))
    return where, f"{named}: {said}" if named else said, hint


def _words(expected: str) -> Iterator[str]:
    """The words of ``'single' or 'shared'``."""
    yield from re.findall(r"'([^']*)'", expected)


def _meaning(around: tuple[str, ...], name: str) -> str:
    """What a key means, from the docstring of its model."""
    doc = (_PLACES[around].__doc__ or "") if around in _PLACES else ""
    found = re.search(rf"^\s+{re.escape(name)}: (.*(?:\n {{12}}.*)*)", doc, re.MULTILINE)
    return "" if found is None else f"{name}: {' '.join(found[1].split())}"


def _undone(effect: str, undo: str | None, irreversible: bool) -> None:  # noqa: FBT001
    if (undo is not None) == irreversible:
        raise PydanticCustomError(
            "undo",
            "effect {effect} needs either what undoes it, or to be called irreversible",
            {"effect": repr(effect), "hint": "undo: crm.withdraw, or irreversible: true"},
        )
