"""YAML of strangers: plain data with the line of every value, and nothing that could surprise a reader.

PyYAML's safe loader makes only plain values, and still leaves four surprises: an alias stands for something
that is written elsewhere (and a few of them in each other for gigabytes), a tag can ask for a set or for
bytes, of two equal keys the later one wins silently, and deep nesting ends in a stack overflow. All four are
refused here, before anything is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from provenet.nets.errors import FormatError
from provenet.nets.formats.limits import read_bytes
from provenet.nets.quick import dataclass

MAX_BYTES = 64 * 1024
"""Largest file that is read."""

MAX_DEPTH = 12
"""How deep its values may stand in each other."""

Path_: TypeAlias = "tuple[str | int, ...]"
"""Where a value stands: ``("tasks", "parts", 0, "name")``."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says.

    Attributes:
        source: Name of the file.
        data: Its values: mappings, lists, texts, numbers, booleans, dates, null.
        lines: The line of each value and of each key, by where it stands.
    """

    source: str
    data: Any
    lines: Mapping[Path_, int]

    def line(self, path: Path_) -> int:
        """The line of what stands there, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_file(path: Path) -> Read:
    """What a YAML file says.

    Raises:
        FormatError: It cannot be read, is too large, is no YAML, or holds what is refused.
    """
    if path.is_dir():
        raise FormatError("this is a folder", where=str(path), hint="name the YAML file in it")
    data = read_bytes(path, MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"this is no UTF-8 text: byte {error.start}", where=str(path), hint="save the file as UTF-8"
        ) from None
    return read_text(text, source=str(path))


def read_text(text: str, *, source: str = "the text") -> Read:
    """What a YAML text says; see ``read_file``.

    Args:
        text: The text.
        source: What messages call it.
    """
    import yaml

    if len(text) > MAX_BYTES:
        raise FormatError(
            f"it has {len(text):,} characters, at most {MAX_BYTES:,} are read",
            where=source,
            hint="describe one workload to a file",
        )
    try:
        _check(text, source)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            lines: dict[Path_, int] = {}
            if node is not None:
                _walk(node, (), lines, source)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = source if mark is None else f"{source} line {mark.line + 1}"
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        raise FormatError(f"this is no YAML: {said}", where=where, hint="mend that line") from None
    except (ValueError, OverflowError) as error:
        # The safe loader makes dates and numbers with the standard library, which says what it cannot.
        raise FormatError(f"a value cannot be read: {error}", where=source, hint="put it in quotes") from None
    return Read(source, data, lines)


def _check(text: str, source: str) -> None:
    """Refuse what stands for something else, before anything is made of it."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise FormatError(
                "anchors and aliases are not read", where=f"{source} line {line}", hint="write the value out"
            )
        if getattr(event, "tag", None):
            raise FormatError(
                f"tags such as {str(event.tag)[:40]!r} are not read",
                where=f"{source} line {line}",
                hint="write plain values",
            )
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise FormatError(
                f"values stand in each other deeper than {MAX_DEPTH}",
                where=f"{source} line {line}",
                hint="a workload needs no more than four",
            )


def _walk(node: Any, at: Path_, lines: dict[Path_, int], source: str) -> None:
    """Note the line of everything; refuse equal keys, and keys that are no text."""
    import yaml

    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                said = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                raise FormatError(
                    f"a key is {said!r}, which YAML takes for no text",
                    where=f"{source} line {line}",
                    hint="put it in quotes",
                )
            inner = (*at, key.value)
            if inner in lines:
                raise FormatError(
                    f"key {key.value!r} is there twice, first in line {lines[inner]}",
                    where=f"{source} line {line}",
                    hint="leave one of them out",
                )
            lines[inner] = line
            _walk(value, inner, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*at, number), lines, source)
