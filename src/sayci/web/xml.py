"""XML as it leaves the house: made of elements, never of text, and without the characters that XML does not have."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from sayci.web.words import visible

# What is not a Char of XML 1.0 (2.2), and is still there once controls are made visible.
_NO_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(text: str) -> str:
    """`text` with what XML cannot have, and what would act on its reader, made visible."""
    return _NO_CHARACTERS.sub("\ufffd", visible(text))


def element(tag: str, text: str = "", /, **attributes: str) -> ET.Element:
    """An element with a text."""
    made = ET.Element(tag, {key: text_of(value) for key, value in attributes.items()})
    made.text = text_of(text) if text else None
    return made


def document(root: ET.Element) -> bytes:
    """The whole document as UTF-8."""
    serialized: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return serialized
