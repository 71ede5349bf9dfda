# SPDX-License-Identifier: Apache-2.0
"""The figures of result files, one set a platform. A figure is a module with its STEM and draw(data), and a line of
FIGURES."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from ..allocators import NULL
from ..errors import InputError
from ..load import Results
from . import (
    equal_memory,
    fresh_against_aged,
    latency,
    peak_rss,
    ratio,
    retention,
    rss_over_time,
    style,
    throughput,
    tradeoff,
    transfers,
)
from .data import Data

FIGURES = (throughput, ratio, peak_rss, rss_over_time, tradeoff, latency, retention, equal_memory, fresh_against_aged)


def save(figure: Figure, directory: Path, stem: str) -> list[Path]:
    """Writes the figure as SVG and PNG and closes it; returns the paths."""
    paths = [directory / f"{stem}.svg", directory / f"{stem}.png"]
    try:
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=style.DPI, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"{directory}: cannot write {stem}: {error.strerror}") from error
    matplotlib.pyplot.close(figure)
    return paths


def drawn(results: Results) -> Iterator[tuple[str, Figure]]:
    """(stem, figure) of everything the samples allow. Platforms never share a figure."""
    for platform in dict.fromkeys(c[0] for c in results.cells):
        data = Data(results, platform)
        for module in FIGURES if data.names else ():
            figure = module.draw(data)
            if figure is not None:
                yield f"{module.STEM}-{platform}", figure


def make_directory(directory: Path) -> None:
    """Makes the directory for figures when it is missing."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot make the directory for figures: {error.strerror}") from error


def write_transfers(rows: Sequence[Mapping[str, Any]], directory: Path) -> list[Path]:
    """Of rows of scripts/coherence: the figure of moves over threads; returns its paths."""
    if all(row["allocator"] == NULL for row in rows):
        raise InputError("no allocator but null was counted; nothing to draw")
    make_directory(directory)
    with matplotlib.rc_context(style.RC):
        return save(transfers.draw(rows), directory, transfers.STEM)


def write_all(results: Results, directory: str | Path) -> list[Path]:
    """Writes every figure into `directory`; returns the paths."""
    directory = Path(directory)
    make_directory(directory)
    paths = []
    with matplotlib.rc_context(style.RC):
        for stem, figure in drawn(results):
            paths += save(figure, directory, stem)
    if not paths:
        raise InputError("the files hold no allocator but null; nothing to draw")
    return paths
