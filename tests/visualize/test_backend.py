"""Pictures are really drawn here: no renderer is replaced, only taken away where its absence is the point."""

from __future__ import annotations

import io
import re
import struct
import sys
import time
from functools import partial
from html import unescape
from importlib import metadata
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import graphviz
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from provenet.nets.errors import ProvenetError
from provenet.visualize import backend
from provenet.visualize.backend import convert, find_dot, render
from provenet.visualize.errors import RenderError
from provenet.visualize.labels import drawable, markup, plain
from provenet.visualize.svg import FONTS, clean, size_in_points, text_width

SVG = "{http://www.w3.org/2000/svg}"
ARIAL = {"fontname": "Arial"}
KINDS: tuple[backend.Format, ...] = ("svg", "png", "pdf")


def contract() -> graphviz.Digraph:
    graph = graphviz.Digraph("renewal", node_attr={**ARIAL, "shape": "box"}, edge_attr=ARIAL)
    graph.attr(rankdir="LR")
    graph.node("scored", plain("scored → ✓ ∀ Łukasz"), style="filled,rounded", fillcolor="#eef4ff")
    rows = "".join(
        f'<tr><td bgcolor="{colour}"><b>{part}</b></td><td><i>{markup(text)}</i></td></tr>'
        for part, text, colour in (
            ("propose", "model <x> & y", "#fff4d6"),
            ("verify", "discount_pct <= 30", "#dff3e4"),
            ("commit", "CRM.publish", "#ffe1dc"),
        )
    )
    graph.node("publish", f"<<table border='0' cellborder='1' cellspacing='0'>{rows}</table>>", shape="plain")
    graph.edge("scored", "publish", plain("go"), style="dashed", color="#2a7f3f")
    return graph


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def png_size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


LABELS = st.text(
    alphabet=st.one_of(
        st.sampled_from("\\\"<>&;{}|[]#%'N\nGTEl\t\r\x00\x1b lt→✓"), st.characters(codec="utf-8")
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(text=LABELS)
def test_a_plain_label_is_drawn_as_it_stands_and_nothing_else(text: str) -> None:
    graph = graphviz.Digraph(node_attr=ARIAL)
    graph.node("a", plain(text))
    graph.node("b", "end")
    drawn = texts(render(graph, format="svg"))
    assert drawn.pop() == "end"
    assert "".join("".join(drawn).split()) == "".join(drawable(text).split())


@settings(max_examples=80, deadline=None)
@given(text=LABELS)
def test_text_in_a_table_is_drawn_as_it_stands_and_nothing_else(text: str) -> None:
    graph = graphviz.Digraph(node_attr=ARIAL)
    graph.node("a", f"<<table><tr><td>{markup(text)}</td></tr></table>>")
    graph.node("b", "end")
    drawn = texts(render(graph, format="svg"))
    assert drawn.pop() == "end"
    assert "".join("".join(drawn).split()) == "".join(drawable(text).split())


@settings(max_examples=50, deadline=None)
@given(name=LABELS, limit=st.integers(1, 50))
def test_labels_are_cut_to_their_limit(name: str, limit: int) -> None:
    name = name.replace("\t", " ")
    assert len(unescape(markup(name, limit=limit).replace("<BR/>", "\n"))) <= limit
    assert len(drawable(name, limit=limit)) <= limit


def test_svg_is_well_formed_self_contained_and_the_same_each_time() -> None:
    svg = render(contract(), format="svg")
    assert svg.startswith(b"<?xml")
    assert svg == render(contract(), format="svg")
    text = svg.decode()
    for unwanted in ("<!--", "<!DOCTYPE", "Generated", "graphviz", str(Path.cwd()), "file:"):
        assert unwanted not in text
    assert {"propose", "model <x> & y", "scored → ✓ ∀ Łukasz"} <= set(texts(svg))


def test_svg_text_fits_its_box_in_any_sans_serif_font() -> None:
    graph = graphviz.Digraph(node_attr={**ARIAL, "shape": "box", "margin": "0"})
    graph.node("a", "WWWW approve the offer MMMM")
    root = ET.fromstring(render(graph, format="svg"))
    [text] = root.iter(f"{SVG}text")
    box = [
        float(x) for x in re.findall(r"(-?[\d.]+),", root.findall(f".//{SVG}polygon")[1].get("points", ""))
    ]
    width = float(text.get("textLength", "inf"))
    assert max(box) - min(box) == pytest.approx(width, abs=0.05)
    assert "sans-serif" in text.get("font-family", "")


def test_text_width_knows_arial() -> None:
    assert text_width("iW", size=10) == pytest.approx(2.22 + 9.44)
    assert text_width("iW", size=10, bold=True) == pytest.approx(2.78 + 9.44)
    assert text_width("→", size=10) == pytest.approx(10)


def test_the_table_of_widths_is_that_of_the_fonts() -> None:
    from reportlab.pdfbase.ttfonts import TTFont

    for style in ("Regular", "Bold"):
        face = TTFont(style, str(FONTS / f"Arimo-{style}.ttf")).face
        for code in [*range(0x20, 0x7F), *range(0xC0, 0x17F), *range(0x391, 0x3A0), 0x2190, 0x2264]:
            width = text_width(chr(code), size=1000, bold=style == "Bold")
            assert width == pytest.approx(face.charWidths[code], abs=0.51)


def test_text_beyond_ascii_stays_in_its_box_too() -> None:
    graph = graphviz.Digraph(node_attr={**ARIAL, "shape": "box", "margin": "0"})
    graph.node("a", "→ ∀ offer ≤ 日本語 mmmm")
    root = ET.fromstring(render(graph, format="svg"))
    [text] = root.iter(f"{SVG}text")
    box = re.findall(r"(-?[\d.]+),", root.findall(f".//{SVG}polygon")[1].get("points", ""))
    assert float(text.get("textLength", "inf")) <= max(map(float, box)) - min(map(float, box)) + 0.5


def test_png_has_the_scale_asked_for_and_draws_symbols() -> None:
    graph = contract()
    width, height = size_in_points(render(graph, format="svg"))
    png = render(graph, format="png", scale=3)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png_size(png) == pytest.approx((width * 4, height * 4), abs=2)
    assert png == render(graph, format="png", scale=3)


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_each_symbol_has_its_own_glyph(kind: Literal["png", "pdf"]) -> None:
    # A missing glyph is drawn as the same empty box whatever the character.
    drawn = set()
    for symbol in "→✓✗∀∧⚠λЖ":
        svg = clean(
            b'<svg xmlns="http://www.w3.org/2000/svg" width="20pt" height="20pt" viewBox="0 0 20 20">'
            b'<text x="2" y="15" font-family="Arial" font-size="14">' + symbol.encode() + b"</text></svg>"
        )
        drawn.add(convert(svg, format=kind))
    assert len(drawn) == 8


def test_png_of_a_huge_picture_is_scaled_down() -> None:
    graph = graphviz.Digraph(graph_attr={"rankdir": "LR", "ranksep": "20"})
    for index in range(12):
        graph.edge(f"{index}", f"{index + 1}")
    assert max(png_size(render(graph, format="png", scale=8))) <= backend.MAX_PNG_SIDE


def test_pdf_is_one_page_of_the_same_size_with_real_text() -> None:
    svg = render(contract(), format="svg")
    pdf = render(contract(), format="pdf")
    assert pdf.startswith(b"%PDF-")
    assert pdf == render(contract(), format="pdf")
    [page] = PdfReader(io.BytesIO(pdf)).pages
    assert tuple(map(float, page.mediabox[2:])) == pytest.approx(size_in_points(svg), abs=0.01)
    words = page.extract_text()
    for text in ("propose", "model <x> & y", "discount_pct <= 30", "→", "✓", "∀", "Łukasz"):
        assert text in words


@pytest.mark.parametrize("shape", ["box", "ellipse", "diamond", "cylinder", "note", "doublecircle", "star"])
@pytest.mark.parametrize("style", ["filled", "dashed", "rounded,filled", "dotted,bold", "invis"])
def test_every_shape_and_style_can_be_a_pdf(shape: str, style: str) -> None:
    graph = graphviz.Digraph()
    graph.attr("node", shape=shape, style=style, fillcolor="lightblue:white", URL="https://example.org/")
    graph.edge("a", "b", "x", arrowhead="empty", color="red:blue", penwidth="2")
    assert render(graph, format="pdf").startswith(b"%PDF-")


@pytest.mark.parametrize("engine", ["dot", "neato", "fdp", "sfdp", "circo", "twopi", "osage"])
def test_every_engine_lays_out(engine: backend.Engine) -> None:
    assert texts(render("digraph { a -> b -> c -> a }", format="svg", engine=engine)) == ["a", "b", "c"]


def test_a_net_of_300_nodes_is_drawn_in_seconds() -> None:
    graph = graphviz.Digraph(node_attr={**ARIAL, "shape": "box"})
    for index in range(300):
        graph.node(f"n{index}", plain(f"transition number {index}"))
        graph.edge(f"n{index // 2}", f"n{index}")
        graph.edge(f"n{index}", f"n{min(index + 3, 299)}")
    started = time.monotonic()
    assert len(texts(render(graph, format="svg"))) == 300
    assert time.monotonic() - started < 15


def test_a_label_of_ten_thousand_characters_is_drawn_or_cut() -> None:
    long = "x<&" * 3334
    graph = graphviz.Digraph()
    graph.node("a", plain(long, limit=None))
    assert texts(render(graph, format="svg")) == [long]
    graph = graphviz.Digraph()
    graph.node("a", plain(long))
    [cut] = texts(render(graph, format="svg"))
    assert len(cut) == 300
    assert cut.endswith("…")


@pytest.mark.attack("links and images in a label", "left out where they run something or reach outside")
def test_links_that_run_scripts_and_images_from_outside_are_dropped(tmp_path: Path) -> None:
    picture = tmp_path / "secret.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="10pt" height="10pt"/>')
    svg = render(
        f'digraph {{ a [URL="javascript:alert(1)"]; b [image="{picture}"]; c [URL="https://example.org/"] }}',
        format="svg",
    )
    assert b"javascript" not in svg
    assert b"secret" not in svg
    assert b"https://example.org/" in svg


def test_a_layout_that_takes_too_long_is_stopped() -> None:
    tangle = "".join(f"n{i % 97}->n{i * i % 89};n{i * 7 % 83}->n{i * 13 % 79};" for i in range(700))
    started = time.monotonic()
    with pytest.raises(RenderError, match="longer than") as caught:
        render(
            f"digraph {{ splines=ortho; nslimit=1000; mclimit=1000; {tangle} }}", format="svg", timeout=0.3
        )
    assert time.monotonic() - started < 5
    assert caught.value.stage == "layout"
    assert "folded view" in caught.value.hint


def test_a_pdf_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(RenderError, match="too long") as caught:
        convert(render(contract(), format="svg"), format="pdf", timeout=-1)
    assert caught.value.stage == "pdf"


def test_without_any_layout_program_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", gone)
    with pytest.raises(ProvenetError, match="neither graphviz-pure nor dot") as caught:
        render("digraph { a }", format="svg")
    assert "pip install graphviz-pure" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a link")
def test_a_system_dot_is_the_fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dot").symlink_to(find_dot())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", lambda _: None)
    assert find_dot() == tmp_path / "dot"
    assert texts(render("digraph { a }", format="svg")) == ["a"]


@pytest.mark.parametrize("library", ["resvg_py", "reportlab.pdfgen.canvas"])
def test_without_a_drawing_library_the_error_names_it(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RenderError, match="not installed") as caught:
        render("digraph { a }", format="png" if library == "resvg_py" else "pdf")
    assert caught.value.hint.startswith("pip install")


@pytest.mark.parametrize("dot", ["digraph { a -> ", "not dot", "", "digraph { a [label=<<b>x>] }"])
def test_a_graph_that_is_not_dot_is_a_typed_error(dot: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(dot, format="svg")
    assert caught.value.stage == "layout"
    assert caught.value.hint


def test_a_graph_that_is_too_big_is_refused() -> None:
    with pytest.raises(RenderError, match="MiB of DOT") as caught:
        render("digraph {" + " " * backend.MAX_DOT_BYTES + "}", format="svg")
    assert caught.value.stage == "input"


@pytest.mark.parametrize(
    "svg",
    [
        b"",
        b"<svg",
        b"<html/>",
        b'<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<svg xmlns="http://www.w3.org/2000/svg" width="0pt" height="5pt"/>',
    ],
)
def test_a_malformed_svg_is_a_typed_error(svg: bytes) -> None:
    for draw in (partial(convert, format="png"), partial(convert, format="pdf")):
        with pytest.raises(RenderError) as caught:
            draw(svg)
        assert caught.value.stage == "svg"


def test_nothing_is_left_behind_and_the_working_folder_may_be_read_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work, temporary = tmp_path / "work", tmp_path / "tmp"
    work.mkdir(mode=0o555)
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for kind in KINDS:
        assert render(contract(), format=kind)
    assert not [*work.iterdir(), *temporary.iterdir()]
