"""What a browser says of itself, in a few words: for the list of one's sessions, never for a decision."""

from __future__ import annotations

# In this order: each says to be those after it, too.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_of(user_agent: str) -> str:
    """Such as "Firefox on Linux"; "another browser" where nothing is recognized."""
    browser = next((word for sign, word in _BROWSERS if sign in user_agent), "another browser")
    system = next((word for sign, word in _SYSTEMS if sign in user_agent), "")
    return f"{browser} on {system}" if system else browser
