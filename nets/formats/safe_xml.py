"""XML from strangers: a light tree, with limits on depth and size, and no document types or entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from provenet.nets.errors import FormatError

MAX_DEPTH = 100
MAX_ELEMENTS = 4_000_000

Skip = Callable[[str, Mapping[str, str]], bool]
"""Whether to pass over an element with all that is in it, by its local name and attributes."""


@dataclass(slots=True)
class Element:
    """An XML element: local name, attributes, children, and its text where ``parse_xml`` keeps it."""

    tag: str
    attrs: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def find(self, *tags: str) -> Element | None:
        """The first child with one of these names."""
        return next((c for c in self.children if c.tag in tags), None)


def parse_xml(
    data: bytes,
    source: str,
    *,
    skip: Skip = lambda _tag, _attrs: False,
    texts: frozenset[str] = frozenset({"text", "value"}),
    max_depth: int = MAX_DEPTH,
) -> Element:
    """Parse a document.

    Args:
        data: The document.
        source: Its name, for error messages.
        skip: What to pass over.
        texts: Names of the elements whose text is kept.
        max_depth: Refuse deeper nesting.

    Returns:
        A nameless element whose only child is the document's root.

    Raises:
        FormatError: The document is not well-formed, declares entities, or exceeds a limit.
    """
    # Imported here: defusedxml brings its own pure-Python ElementTree along.
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    parser = DefusedXMLParser(target=_Target(source, skip, texts, max_depth), forbid_dtd=True)
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException as error:
        raise FormatError(
            f"a document type or entity is declared ({type(error).__name__})",
            where=source,
            hint="no net or property needs one; they can blow a small file up, or fetch others",
        ) from None
    except ParseError as error:
        raise FormatError(f"not well-formed XML: {error}", where=source) from None
    except (ValueError, LookupError) as error:
        raise FormatError(f"the text cannot be decoded: {error}", where=source) from None
    assert isinstance(root, Element)
    return root


class _Target:
    """Builds the light tree while the document streams by; holds the limits on depth and size."""

    def __init__(self, source: str, skip: Skip, texts: frozenset[str], max_depth: int) -> None:
        self.root = Element("", {})
        self._source, self._skip, self._texts, self._max_depth = source, skip, texts, max_depth
        self._stack = [self.root]
        self._skipping = 0
        self._elements = 0

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise FormatError(f"more than {MAX_ELEMENTS:,} XML elements", where=self._source)
        if len(self._stack) + self._skipping > self._max_depth:
            raise FormatError(f"XML elements nested deeper than {self._max_depth}", where=self._source)
        tag = tag.rpartition("}")[2]
        if self._skipping or self._skip(tag, attrs):
            self._skipping += 1
            return
        node = Element(tag, attrs)
        self._stack[-1].children.append(node)
        self._stack.append(node)

    def end(self, _tag: str) -> None:
        if self._skipping:
            self._skipping -= 1
        else:
            self._stack.pop()

    def data(self, data: str) -> None:
        if not self._skipping and self._stack[-1].tag in self._texts:
            self._stack[-1].text += data

    def close(self) -> Element:
        return self.root
