"""Pictures of nets, traces and verdicts.

`draw` makes a graph of the graphviz package, `render_net` and `draw_trace` make a file. Nothing but Python
packages is needed.
"""

from provenet.visualize.backend import Format, convert, render
from provenet.visualize.canvas import Direction, Facts, Inscriptions
from provenet.visualize.draw import View, draw, render_net
from provenet.visualize.errors import RenderError
from provenet.visualize.palette import COLOUR, GREY, Theme
from provenet.visualize.strip import draw_trace, trace_graph

__all__ = [
    "COLOUR",
    "GREY",
    "Direction",
    "Facts",
    "Format",
    "Inscriptions",
    "RenderError",
    "Theme",
    "View",
    "convert",
    "draw",
    "draw_trace",
    "render",
    "render_net",
    "trace_graph",
]
