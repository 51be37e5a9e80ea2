"""The examples as they are in the repository, read."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def examples():
    """Where they are."""
    return EXAMPLES


@pytest.fixture
def unit_of():
    """Read a unit: its sections, and in each what every name is set to."""

    def read(name):
        parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names in units have capitals
        parser.read(EXAMPLES / "systemd" / name, encoding="utf-8")
        return parser

    return read
