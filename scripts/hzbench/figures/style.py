# SPDX-License-Identifier: Apache-2.0
"""How figures look: one colour, marker and dash an allocator in every figure, and the settings of matplotlib.

The palette stays apart for colour-blind readers; markers and direct labels carry the same information without colour.
Equal input gives equal SVG.
"""

import os
import tempfile
from collections.abc import Sequence
from typing import TypeAlias

if not os.access(os.environ.get("HOME", ""), os.W_OK):  # else matplotlib warns on stderr when HOME is missing
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), f"hzbench-matplotlib-{os.getuid()}"))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot  # noqa: E402
import numpy as np  # noqa: E402

from ..allocators import BY_NAME, OTHERS, base_name  # noqa: E402
from ..errors import printable  # noqa: E402

Dash: TypeAlias = str | tuple[int, tuple[int, ...]]  # a name of matplotlib, or offset and lengths
DASHES: tuple[Dash, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
)  # for variants of one allocator: profiles and A/A copies

INK = "#222222"
FAINT = "#8A8A8A"
GRID = "#E4E4E4"
FAILED = "#B00020"
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
PANEL_WIDTH = 2.9  # inches; three panels make a page's text width at 75 %
DPI = 200

RC = {
    "svg.hashsalt": "hzbench",
    "svg.fonttype": "path",  # looks the same where the font is missing
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "figure.dpi": DPI,
}


class Styles:
    """Colour, marker and dash of every name in the files; the same name always looks the same in one set of figures."""

    def __init__(self, names: Sequence[str]) -> None:
        self.table: dict[str, tuple[str, str, int]] = {}  # colour, marker, place among the variants
        variants: dict[str, int] = {}
        unknown: list[str] = []
        for name in names:
            base = base_name(name)
            if base in BY_NAME:
                colour, marker = BY_NAME[base].colour, BY_NAME[base].marker
            else:
                if base not in unknown:
                    unknown.append(base)
                colour, marker = OTHERS[unknown.index(base) % len(OTHERS)]
            index = variants[base] = variants.get(base, -1) + 1
            self.table[name] = (colour, marker, index)

    def __getitem__(self, name: str) -> tuple[str, Dash]:
        """(colour, line style)"""
        colour, _, index = self.table[name]
        return colour, DASHES[index % len(DASHES)]

    def mark(self, name: str, points: float) -> dict[str, str | float]:
        """Arguments of plot for the marker: filled for the first of its name, hollow and half filled for variants."""
        colour, marker, index = self.table[name]
        fill = ("full", "none", "left", "right", "top", "bottom")[index % 6]
        edge = "white" if index == 0 else colour
        return {"marker": marker, "ms": points, "mfc": colour, "mec": edge, "mew": 0.7 if index == 0 else 1.1,
                "fillstyle": fill, "markerfacecoloralt": "white"}  # fmt: skip


def ink(colour: str) -> tuple[float, float, float]:
    """The colour for words: light ones are darkened until they can be read on white (contrast about 4:1)."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    red, green, blue = rgb * min(1.0, (0.19 / luminance) ** (1 / 2.4)) if luminance > 0 else rgb
    return float(red), float(green), float(blue)


def short(name: str) -> str:
    """A label that fits: a path becomes its file name, long options are cut."""
    base, brace, options = name.partition("{")
    return printable(base.rsplit("/", 1)[-1] + brace + options, 26)
