"""A bar chart as SVG, written by hand: no plotting library is worth a dependency here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_COLOURS = {
    "aeros": "#1768ac",
    "uvicorn": "#8a9a5b",
    "hypercorn": "#c97b3d",
    "gunicorn": "#6b7a8f",
    "granian": "#b0668f",
}
_WIDTH, _LEFT, _BAR, _GAP, _TOP = 760, 96, 9, 12, 64


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return horizontal bars, a group of them for each name. Values are ratios; 1 is marked with a line."""
    values = [value for group in groups.values() for value in group.values()]
    longest = max([*values, 1.0])
    scale = (_WIDTH - _LEFT - 48) / longest
    parts: list[str] = []
    y = _TOP
    for name, group in groups.items():
        height = len(group) * _BAR
        parts.append(f'<text x="{_LEFT - 8}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for server, value in group.items():
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR - 1}" '
                f'fill="{_COLOURS.get(server, "#999")}"><title>{escape(server)} {value:.2f}</title></rect>'
            )
            parts.append(
                f'<text class="value" x="{_LEFT + value * scale + 3:.1f}" y="{y + _BAR - 2}">{value:.2f}</text>'
            )
            y += _BAR
        y += _GAP
    one = _LEFT + scale
    parts.append(f'<line x1="{one:.1f}" y1="{_TOP - 6}" x2="{one:.1f}" y2="{y - _GAP + 4}" stroke="#999"/>')
    legend, x = [], _LEFT
    for server in dict.fromkeys(server for group in groups.values() for server in group):
        legend.append(f'<rect x="{x}" y="36" width="10" height="10" fill="{_COLOURS.get(server, "#999")}"/>')
        legend.append(f'<text x="{x + 14}" y="45">{escape(server)}</text>')
        x += 110
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" '
            f'viewBox="0 0 {_WIDTH} {y}" role="img">',
            "<style>text { font: 11px system-ui, sans-serif; fill: #444; } .value { font-size: 8px; }",
            ".title { font-size: 14px; }</style>",
            f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>',
            f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>',
            *legend,
            *parts,
            "</svg>",
            "",
        ]
    )
