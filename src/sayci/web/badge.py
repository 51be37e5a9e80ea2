"""The badge of a project: its name and how a branch stands, small enough for a README."""

from __future__ import annotations

from sayci.web.words import visible

#: Mark -> what the badge says and the colour of its right half.
_SAYS = {
    "success": ("✓ passes", "#14713f"),
    "failure": ("✗ fails", "#b9211c"),
    "timedout": ("✗ timed out", "#a33d06"),
    "error": ("! could not run", "#875400"),
    "unknown": ("? unknown", "#7039ad"),
    "running": ("… building", "#1f4fcf"),
}
_OTHER = ("not built", "#56606c")
#: About how wide a letter is, in pixels; the text is stretched to what was reckoned.
_LETTER, _PAD, _HEIGHT = 6.6, 6, 20


def badge(name: str, mark: str) -> bytes:
    """The badge as SVG."""
    said, colour = _SAYS.get(mark, _OTHER)
    name = visible(name)
    left, right = round(len(name) * _LETTER), round(len(said) * _LETTER)
    middle, width = left + 2 * _PAD, left + right + 4 * _PAD
    shape = f"M{middle} 0h{width - middle - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{middle}z"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" role="img" '
        f'aria-label="{name}: {said[2:] if said[1] == " " else said}"><title>{name}: {said}</title>'
        f'<rect width="{width}" height="{_HEIGHT}" rx="3" fill="#15191e"/><path fill="{colour}" d="{shape}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{_PAD}" y="14" textLength="{left}">{name}</text>'
        f'<text x="{middle + _PAD}" y="14" textLength="{right}">{said}</text></g></svg>\n'
    ).encode()


def markup(page: str, picture: str) -> dict[str, str]:
    """Name of a markup -> what to write to have the badge, which leads to the project's page."""
    return {
        "Markdown": f"[![build]({picture})]({page})",
        "reStructuredText": f".. image:: {picture}\n   :alt: build\n   :target: {page}",
        "HTML": f'<a href="{page}"><img src="{picture}" alt="build" height="20"></a>',
    }
