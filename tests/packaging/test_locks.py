"""requirements.txt and requirements-build.txt: they have all that is needed, in versions that do, and nothing unchecked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
LOCKS = ("requirements.txt", "requirements-build.txt")


def keywords_of_setup():
    """What setup.py tells setuptools, as far as it is written down."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    setup = next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "setup")
    return {keyword.arg: keyword.value for keyword in setup.keywords}


def entries_of(lock):
    """Each requirement with the lines of its hashes."""
    text = re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    for entry in text.replace("\\\n", "").splitlines():
        wanted, *hashes = entry.split("--hash=")
        yield Requirement(wanted), [each.strip() for each in hashes]


def pinned_by(lock):
    return {canonicalize_name(wanted.name): str(wanted.specifier).removeprefix("==") for wanted, _ in entries_of(lock)}


def needed():
    keywords = keywords_of_setup()
    extras = ast.literal_eval(keywords["extras_require"])
    return [Requirement(each) for each in (*ast.literal_eval(keywords["install_requires"]), *extras["postgresql"])]


@pytest.mark.parametrize("wanted", needed(), ids=str)
def test_what_setup_py_asks_for_is_locked_in_a_version_that_does(wanted):
    version = pinned_by("requirements.txt")[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version, prereleases=True)


def test_the_tools_are_locked():
    pinned = pinned_by("requirements-build.txt")
    assert set(pinned) == {"pex", "pip", "setuptools"}
    assert SpecifierSet(">=77").contains(pinned["setuptools"])


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_one_version_with_hashes(lock):
    for wanted, hashes in entries_of(lock):
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(wanted.specifier)), wanted
        assert hashes, wanted
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), wanted


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_is_named_and_the_head_says_how_it_was_made(lock):
    text = (ROOT / lock).read_text()
    assert "make lock" in text.partition("==")[0]
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text)
    assert len(list(entries_of(lock))) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
