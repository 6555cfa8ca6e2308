"""`--input`: rows of a CSV or JSON lines file as inputs of cases.

A net with one entry place takes a row's columns as the fields of its token. A net with several takes JSON
lines whose objects name the entry places. A target's module may read files by itself, with a function
`cases(path)` that yields ids and inputs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provenet.cli.loading import Loaded
from provenet.cli.printing import Unusable
from provenet.engine.errors import InputRefused
from provenet.engine.program import Program
from provenet.engine.versions import first_state
from provenet.nets.errors import ExprError, TypeMismatch, did_you_mean
from provenet.nets.net import Net
from provenet.nets.quick import dataclass
from provenet.nets.schema import (
    BoolType,
    DurationType,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    Type,
    from_json,
)

ID_COLUMNS = ("case_id", "id")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an input file holds.

    Attributes:
        cases: Case ids with a token value for each entry place.
        broken: One line of text for each row that does not fit, or that no case of the net starts with.
    """

    cases: tuple[tuple[str, Mapping[str, Any]], ...]
    broken: tuple[str, ...]


def read_inputs(loaded: Loaded, path: Path, *, id_column: str | None = None) -> Inputs:
    """The cases that a file describes.

    Raises:
        Unusable: The file cannot be read at all.
    """
    if not path.is_file():
        raise Unusable("there is no such file", where=str(path), hint="name a .csv or .jsonl file")
    program = Program(loaded.agent)
    own = getattr(loaded.module, "cases", None)
    if callable(own):
        return _fitting(program, own(path))
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        rows: Iterable[tuple[int, Any]] = _json_lines(path)
    elif path.suffix.lower() == ".csv":
        rows = _csv_rows(path)
    else:
        raise Unusable(
            f"no inputs are read from {path.suffix!r}", where=str(path), hint="name a .csv or .jsonl file"
        )
    if not loaded.net.entries:
        raise Unusable(
            f"net {loaded.net.name!r} takes no input", hint="run it without --input, or add an entry place"
        )
    made: list[tuple[str, Mapping[str, Any]]] = []
    broken: list[str] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        try:
            case_id = _case_id(row, path, number, id_column)
            if case_id in seen:
                raise TypeMismatch(
                    field="id", expected="an id of its own", got=f"{case_id!r} of line {seen[case_id]}"
                )
            inputs = _inputs_of(loaded.net, row, is_text=path.suffix.lower() == ".csv")
            first_state(program, case_id, inputs, {})
        except (TypeMismatch, InputRefused, ExprError) as error:
            broken.append(f"line {number}  {error.message}")
            continue
        seen[case_id] = number
        made.append((case_id, inputs))
    return Inputs(tuple(made), tuple(broken))


def _fitting(program: Program, cases: Iterable[tuple[str, Mapping[str, Any]]]) -> Inputs:
    """Cases that a module read by itself, without those that cannot start."""
    made, broken = [], []
    for case_id, inputs in cases:
        try:
            first_state(program, case_id, inputs, {})
        except (InputRefused, ExprError) as error:
            broken.append(f"case {case_id!r:.80}  {error.message}")
            continue
        made.append((case_id, inputs))
    return Inputs(tuple(made), tuple(broken))


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if not header:
                raise Unusable("the file is empty", where=str(path), hint="the first line names the columns")
            twice = [h for h in header if header.count(h) > 1]
            if twice:
                raise Unusable(
                    f"column {twice[0]!r} is there twice", where=f"{path}:1", hint="name each column once"
                )
            try:
                for cells in reader:
                    if not cells:
                        continue
                    yield (
                        reader.line_num,
                        cells if len(cells) != len(header) else dict(zip(header, cells, strict=True)),
                    )
            except csv.Error as error:
                raise Unusable(f"this is no CSV: {error}", where=f"{path}:{reader.line_num}") from error
    except UnicodeDecodeError as error:
        raise Unusable("this is no UTF-8 text", where=str(path), hint="save the file as UTF-8") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield number, TypeMismatch(field="line", expected="a JSON object", got=str(error))
    except UnicodeDecodeError as error:
        raise Unusable("this is no UTF-8 text", where=str(path), hint="save the file as UTF-8") from error


def _case_id(row: Any, path: Path, number: int, column: str | None) -> str:
    if isinstance(row, TypeMismatch):
        raise row
    if not isinstance(row, dict):
        count = f"{len(row)} columns" if isinstance(row, list) else "something else"
        raise TypeMismatch(
            field="line", expected="as many columns as the first line, or a JSON object", got=count
        )
    if column is not None and column not in row:
        raise Unusable(
            f"there is no column {column!r}", where=f"{path}:{number}", hint=did_you_mean(column, row)
        )
    for name in (column,) if column is not None else ID_COLUMNS:
        if name in row:
            return str(row[name])
    return f"{path.stem}-{number}"


def _inputs_of(net: Net, row: Mapping[str, Any], *, is_text: bool) -> dict[str, Any]:
    places = {e.place: net.place(e.place).type for e in net.entries}
    if set(places) <= set(row) and not is_text:
        return {name: from_json(row[name], of, name) for name, of in places.items()}
    if len(places) > 1:
        raise TypeMismatch(field="line", expected=f"an object with {', '.join(places)}", got=", ".join(row))
    ((name, of),) = places.items()
    if isinstance(of, RecordType):
        wanted = {f.name: f.type for f in of.fields}
        missing = [f for f in wanted if f not in row]
        if missing:
            raise TypeMismatch(
                field=missing[0], expected=f"a column for each field of {of.name}", got=", ".join(row)
            )
        data = {f: _cell(row[f], t, f) if is_text else row[f] for f, t in wanted.items()}
    elif "value" in row:
        data = _cell(row["value"], of, "value") if is_text else row["value"]
    else:
        raise TypeMismatch(field="value", expected=f"a column `value` with {of}", got=", ".join(row))
    return {name: from_json(data, of)}


def _cell(text: str, of: Type, field: str) -> Any:
    """A CSV cell as the JSON data of a type."""
    match of:
        case OptionalType(item):
            return None if not text.strip() else _cell(text, item, field)
        case BoolType():
            known = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
            if text.strip().lower() not in known:
                raise TypeMismatch(field=field, expected="true or false", got=repr(text))
            return known[text.strip().lower()]
        case IntType() | DurationType():
            try:
                return int(text)
            except ValueError:
                raise TypeMismatch(field=field, expected="a whole number", got=repr(text)) from None
        case FloatType():
            try:
                return float(text)
            except ValueError:
                raise TypeMismatch(field=field, expected="a number", got=repr(text)) from None
        case ListType() | RecordType():
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                raise TypeMismatch(field=field, expected="JSON", got=repr(text)) from None
        case _:
            return text
