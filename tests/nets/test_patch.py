"""What changes between two JSON documents, and documents after a patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import FormatError
from provenet.nets.formats.patch import difference, patched

names = st.sampled_from(["a", "b", "c/d", "e~f", ""])
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "~1"])
items = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"value": leaves}),
    max_size=4,
    unique_by=lambda i: i["name"],
)
documents: Any = st.recursive(
    leaves | items,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(documents, documents)
def test_a_patch_makes_the_new_document_and_leaves_the_old_one_alone(old: Any, new: Any) -> None:
    kept = copy.deepcopy(old)
    patch = difference(old, new)
    assert repr(patched(old, patch)) == repr(new) or patched(old, patch) == new
    assert old == kept
    assert (patch == []) == (repr(old) == repr(new) or (old == new and type(old) is type(new)))


def test_items_with_names_are_compared_by_name() -> None:
    old = {"transitions": [{"name": "a"}, {"name": "b", "guard": "x"}, {"name": "c"}]}
    new = {"transitions": [{"name": "b", "guard": "y"}, {"name": "c"}, {"name": "d"}]}
    assert difference(old, new) == [
        {"op": "remove", "path": "/transitions/0"},
        {"op": "replace", "path": "/transitions/0/guard", "value": "y"},
        {"op": "add", "path": "/transitions/2", "value": {"name": "d"}},
    ]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "remove", "path": "/a/7"},
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "add", "path": "/a/-1", "value": 1},
        {"op": "move", "path": "/a", "from": "/b"},
        {"op": "add", "path": "/a"},
        {"path": "/a"},
        "add",
        {"op": "add", "path": "/n/deep/er", "value": 1},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(operation: Any) -> None:
    with pytest.raises(FormatError, match="operation 0"):
        patched({"a": [1], "n": 1}, [operation])
