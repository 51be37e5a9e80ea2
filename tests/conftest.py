"""Fixtures that every test may use; those of one edge live in its folder."""

from __future__ import annotations
