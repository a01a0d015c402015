"""
A cascade as a picture, made on the server: an icicle in SVG, and a table that says the same.

The top is a bar of full width; below each tweet are its retweets, each as wide as its share of the cascade. What would
be narrower than a pixel, or too deep, is one hatched block under its parent.
"""

from collections.abc import Callable, Collection, Mapping
from html import escape
from types import SimpleNamespace

from storage import ids
from storage.queries import Cascade, Node

WIDTH_PX, TALLEST_PX = 720, 480
ROW_PX, NARROWEST_ROW_PX = 18, 6
NARROWEST_BLOCK_PX, LABEL_FROM_PX = 0.5, 70
MOST_DRAWN = 400
"""Tweets in one picture: some 45 kB."""

LEVELS_SHOWN = 20

FindNames = Callable[[Collection[int]], Mapping[int, str | None]]
"""The authors of tweets, None for deleted ones."""


def picture(cascade: Cascade, find_names: FindNames) -> SimpleNamespace | None:
    """
    What a page shows of *cascade*: its numbers, its icicle and its table; None for a tweet with nothing below it.

    Each of `levels` is a depth, the number of its tweets, the id of the one with most below it, the author of that one,
    and how many are below it; all depths from the 20th on are one.
    """
    if cascade.structural_virality is None:
        return None
    size, breadths = len(cascade.nodes), cascade.breadths
    row_px = max(NARROWEST_ROW_PX, min(ROW_PX, TALLEST_PX // len(breadths)))
    high = [node for node in cascade.nodes if node.depth < TALLEST_PX // row_px]
    # A parent is always larger than its child, so that whatever is large enough has all above it drawn as well.
    sizes = sorted((node.size for node in high), reverse=True)
    smallest = max(size / WIDTH_PX, sizes[MOST_DRAWN] + 1 if len(sizes) > MOST_DRAWN else 0)
    drawn = [node for node in high if node.size >= smallest]
    largest: dict[int, Node] = {}
    for node in cascade.nodes:
        level = min(node.depth, LEVELS_SHOWN)
        if level not in largest or node.size > largest[level].size:
            largest[level] = node
    names = find_names({node.id for node in [*drawn, *largest.values()]})
    counts = [*breadths[:LEVELS_SHOWN], sum(breadths[LEVELS_SHOWN:])]
    levels = [
        (
            f"{level} and more" if level == LEVELS_SHOWN else str(level),
            counts[level],
            ids.encode(node.id),
            names.get(node.id),
            node.size - 1,
        )
        for level, node in sorted(largest.items())
    ]
    rows = len(breadths) if len(drawn) == size else max(node.depth for node in drawn) + 2
    svg = _draw(drawn, names, WIDTH_PX / size, row_px, rows * row_px)
    return SimpleNamespace(
        size=size,
        deleted=cascade.deleted,
        depth=len(breadths) - 1,
        max_breadth=max(breadths),
        mean_distance=cascade.structural_virality,
        svg=svg,
        levels=levels,
    )


def _draw(drawn: list[Node], names: Mapping[int, str | None], px_each: float, row_px: int, height: int) -> str:
    """
    The icicle of *drawn*, in the order of ids, as an SVG element.

    Its links are for the pointer: the table beside it has those for the keyboard and for readers without the picture.
    """

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
        name, label = names.get(node.id), ""
        look = "" if name else ' class="deleted"'
        title = f"{f'@{name}' if name else 'A deleted tweet'}: {node.size - 1:,} below"
        if name and node.size * px_each >= LABEL_FROM_PX and row_px == ROW_PX:
            label = f'<text x="{start * px_each + 6:.5g}" y="{node.depth * row_px + 13}">{escape(name[:9])}</text>'
        parts.append(
            f'<a href="/tweet/{ids.encode(node.id)}" tabindex="-1"><title>{escape(title)}</title>'
            f"{rectangle(start, node.depth, node.size, look)}{label}</a>"
        )
    for node in drawn:
        hidden = ends[node.id] - 1 - free[node.id]  # the last place below a tweet is its own
        if hidden * px_each >= NARROWEST_BLOCK_PX:
            block = rectangle(free[node.id], node.depth + 1, hidden, ' fill="url(#hatched)"')
            parts.append(f"<g><title>{hidden:,} more</title>{block}</g>")
    return (
        f'<svg class="icicle" viewBox="0 0 {WIDTH_PX} {height}" height="{height}" preserveAspectRatio="none" '
        'aria-hidden="true"><defs><pattern id="hatched" width="5" height="5" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V5"/></pattern></defs>{"".join(parts)}</svg>'
    )
