"""
A cascade as a picture, made on the server: an icicle in SVG, and a table that says the same.

The top is a bar of full width; below each tweet are its retweets, each as wide as its share of the cascade. What would
be narrower than a pixel, or too deep, is one hatched block under its parent.
"""

from collections.abc import Callable, Collection, Mapping
from html import escape
from typing import NamedTuple

from storage import ids
from storage.cascade import Cascade, Node

WIDTH_PX = 720
ROW_PX = 18
NARROWEST_ROW_PX = 6
TALLEST_PX = 480
MOST_DRAWN = 400
"""Tweets in one picture: some 45 kB."""

NARROWEST_BLOCK_PX = 0.5
LABEL_FROM_PX = 70
LEVELS_SHOWN = 20

HATCHED = ' fill="url(#hatched)"'
CLASS_OF_DELETED = ' class="deleted"'

FindNames = Callable[[Collection[int]], Mapping[int, str | None]]
"""The authors of tweets, None for deleted ones."""


class Level(NamedTuple):
    """The tweets at some depth; `largest` is the id of the one with most below it, whose author is `user_name`."""

    depth: str
    tweets: str
    largest: str
    user_name: str | None
    below: str


class Picture(NamedTuple):
    """A cascade as a page shows it; numbers are written with separators, as in "1,204"."""

    size: str
    deleted: str
    depth: str
    max_breadth: str
    mean_distance: str
    svg: str
    levels: list[Level]


def picture(cascade: Cascade, find_names: FindNames) -> Picture | None:
    """The numbers of *cascade*, its icicle and its table; None for a tweet with nothing below it."""
    if cascade.structural_virality is None:
        return None
    return Picture(
        f"{len(cascade.nodes):,}",
        f"{cascade.deleted:,}" if cascade.deleted else "",
        f"{len(cascade.breadths) - 1:,}",
        f"{max(cascade.breadths):,}",
        f"{cascade.structural_virality:.2f}",
        draw(cascade, find_names),
        list_levels(cascade, find_names),
    )


def list_levels(cascade: Cascade, find_names: FindNames) -> list[Level]:
    """What there is at each depth; all depths from the 20th on are one."""
    largest: dict[int, Node] = {}
    for node in cascade.nodes:
        level = min(node.depth, LEVELS_SHOWN)
        if level not in largest or node.size > largest[level].size:
            largest[level] = node
    names = find_names([node.id for node in largest.values()])
    counts = [*cascade.breadths[:LEVELS_SHOWN], sum(cascade.breadths[LEVELS_SHOWN:])]
    return [
        Level(
            f"{level} and more" if level == LEVELS_SHOWN else str(level),
            f"{counts[level]:,}",
            ids.encode(node.id),
            names.get(node.id),
            f"{node.size - 1:,}",
        )
        for level, node in sorted(largest.items())
    ]


def draw(cascade: Cascade, find_names: FindNames) -> str:
    """
    The icicle of *cascade* as an SVG element.

    Its links are for the pointer: the table beside it has those for the keyboard and for readers without the picture.
    """
    rows = len(cascade.breadths)
    row_px = max(NARROWEST_ROW_PX, min(ROW_PX, TALLEST_PX // rows))
    drawn = _choose(cascade, TALLEST_PX // row_px)
    names = find_names([node.id for node in drawn])
    px_each = WIDTH_PX / len(cascade.nodes)

    def rectangle(start: int, level: int, size: int, look: str) -> str:
        place = f'x="{start * px_each:.5g}" y="{level * row_px}" width="{size * px_each:.4g}" height="{row_px}"'
        return f"<rect {place}{look}/>"

    parts = []
    free: dict[int | None, int] = {drawn[0].parent: 0}  # where the next child of a tweet begins, counted in tweets
    ends: dict[int, int] = {}
    for node in drawn:
        start = free[node.parent]
        free[node.parent] = ends[node.id] = start + node.size
        free[node.id] = start
        name = names.get(node.id)
        title = f"{f'@{name}' if name else 'A deleted tweet'}: {node.size - 1:,} below"
        label = ""
        if name and node.size * px_each >= LABEL_FROM_PX and row_px == ROW_PX:
            label = f'<text x="{start * px_each + 6:.5g}" y="{node.depth * row_px + 13}">{escape(name[:9])}</text>'
        parts.append(
            f'<a href="/tweet/{ids.encode(node.id)}" tabindex="-1"><title>{escape(title)}</title>'
            f"{rectangle(start, node.depth, node.size, '' if name else CLASS_OF_DELETED)}{label}</a>"
        )
    for node in drawn:
        hidden = ends[node.id] - 1 - free[node.id]  # the last place below a tweet is its own
        if hidden * px_each >= NARROWEST_BLOCK_PX:
            block = rectangle(free[node.id], node.depth + 1, hidden, HATCHED)
            parts.append(f"<g><title>{hidden:,} more</title>{block}</g>")
    height = (max(node.depth for node in drawn) + 2 if len(drawn) < len(cascade.nodes) else rows) * row_px
    return (
        f'<svg class="icicle" viewBox="0 0 {WIDTH_PX} {height}" aria-hidden="true"><defs>'
        '<pattern id="hatched" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<path d="M0 0V5"/></pattern></defs>{"".join(parts)}</svg>'
    )


def _choose(cascade: Cascade, rows: int) -> list[Node]:
    """The tweets that get a rectangle of their own, in the order of ids; never one without its parent."""
    high = [node for node in cascade.nodes if node.depth < rows]
    sizes = sorted((node.size for node in high), reverse=True)
    # A parent is always larger than its child, so that whatever is large enough has all above it drawn as well.
    smallest = len(cascade.nodes) / WIDTH_PX
    if len(sizes) > MOST_DRAWN:
        smallest = max(smallest, sizes[MOST_DRAWN] + 1)
    return [node for node in high if node.size >= smallest]
