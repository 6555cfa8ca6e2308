"""What changes from one JSON document to another, as a JSON Patch (RFC 6902: add, remove, replace).

Lists whose items have names (places, transitions, contracts) are compared name by name, so that a patch says
which transition changed, and not that all after it moved.
"""

from __future__ import annotations

from typing import Any

from provenet.nets.errors import FormatError

Patch = list[dict[str, Any]]
"""Operations in order, each with ``op``, ``path`` and mostly ``value``."""


def difference(old: Any, new: Any, path: str = "") -> Patch:
    """The operations that make the new document of the old one, as ``patched`` does."""
    if old == new and type(old) is type(new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        out: Patch = []
        for key in old:
            at = f"{path}/{_escaped(key)}"
            out += difference(old[key], new[key], at) if key in new else [{"op": "remove", "path": at}]
        fresh = [key for key in new if key not in old]
        return out + [{"op": "add", "path": f"{path}/{_escaped(k)}", "value": new[k]} for k in fresh]
    if isinstance(old, list) and isinstance(new, list):
        return _lists(old, new, path)
    return [{"op": "replace", "path": path, "value": new}]


def patched(document: Any, patch: Patch) -> Any:
    """The document after a patch.

    Raises:
        FormatError: An operation is none of the three, or its place is not there.
    """
    holder = {"": document}  # so that the whole document has a place as well
    for number, operation in enumerate(patch):
        try:
            *way, last = ["", *(_plain(part) for part in operation["path"].split("/")[1:])]
            # Along the way copies are made: the document given is left as it is.
            at: Any = holder
            for part in way:
                key = int(part) if isinstance(at, list) else part
                at[key] = at[key].copy()
                at = at[key]
            _apply(at, last, operation)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise FormatError(
                "the operation does not fit the document", where=f"patch, operation {number}"
            ) from None
    return holder[""]


def _apply(at: Any, last: str, operation: dict[str, Any]) -> None:
    op = operation["op"]
    if isinstance(at, list):
        index = len(at) if last == "-" else int(last)
        if not 0 <= index <= len(at):
            raise IndexError
        if op == "add":
            at.insert(index, operation["value"])
            return
        last_key: Any = index
    else:
        last_key = last
        if op == "add":
            at[last] = operation["value"]
            return
    if op == "remove":
        del at[last_key]
    elif op == "replace":
        at[last_key]
        at[last_key] = operation["value"]
    else:
        raise ValueError


def _lists(old: list[Any], new: list[Any], path: str) -> Patch:
    names, wanted = _names(old), _names(new)
    if names is None or wanted is None:
        return [{"op": "replace", "path": path, "value": new}]
    out: Patch = []
    kept = list(old)
    for index in range(len(old) - 1, -1, -1):
        if names[index] not in wanted:
            out.append({"op": "remove", "path": f"{path}/{index}"})
            del kept[index]
    for index, item in enumerate(new):
        if index < len(kept) and _name(kept[index]) == wanted[index]:
            out += difference(kept[index], item, f"{path}/{index}")
        elif wanted[index] not in names:
            out.append({"op": "add", "path": f"{path}/{index}", "value": item})
            kept.insert(index, item)
        else:  # the order changed
            return [{"op": "replace", "path": path, "value": new}]
    return out


def _names(items: list[Any]) -> list[str] | None:
    """What the items are called; ``None`` where they have no names of their own."""
    found = [name for item in items if (name := _name(item)) is not None]
    return found if len(found) == len(items) == len(set(found)) else None


def _name(item: Any) -> str | None:
    name = item.get("name", item.get("id")) if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _plain(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
