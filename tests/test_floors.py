"""The house: a file at the root is the domain, a folder is an edge, service.py ties the knot."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "sayci"
#: What the domain may use of Twisted: nothing that needs a reactor to be imported.
ALLOWED_TWISTED = (
    "twisted.logger",
    "twisted.internet.defer",
    "twisted.internet.interfaces",
    "twisted.internet.task",
    "twisted.python.failure",
)
#: The files that know every floor: the way in, what the operator says, where it listens, and what ties the knot.
KNOTS = {"__main__.py", "forge_accounts.py", "https.py", "options.py", "ports.py", "service.py", "taken_back.py"}
FORBIDDEN = ("klein", "treq", "sqlalchemy", "alembic", "jinja2", "click", "rich", "cryptography", "prometheus_client")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


DOMAIN = sorted(path for path in ROOT.glob("*.py") if path.name not in KNOTS)
EDGES = sorted(path for folder in ROOT.iterdir() if folder.is_dir() for path in folder.rglob("*.py"))
FOLDERS = {folder.name for folder in ROOT.iterdir() if folder.is_dir()}


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: path.name)
def test_a_domain_file_knows_no_edge(path):
    for name in imports_of(path):
        assert not (name.startswith("sayci.") and name.split(".")[1] in FOLDERS), name
        assert name.split(".")[0] not in FORBIDDEN, name
        assert name != "twisted.internet.reactor", name
        if name.startswith("twisted"):
            assert name.startswith(ALLOWED_TWISTED), name


@pytest.mark.parametrize("path", EDGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_edge_knows_the_domain_and_itself(path):
    own = path.relative_to(ROOT).parts[0]
    for name in imports_of(path):
        assert name != "twisted.internet.reactor", "reactors are handed in"
        if name.startswith("sayci."):
            assert name.split(".")[1] not in FOLDERS - {own}, name
            assert name.split(".")[1] != "service", name


def test_the_client_imports_no_twisted():
    for path in (ROOT / "cli").glob("*.py"):
        assert not any(name.startswith("twisted") for name in imports_of(path)), path
