"""identity.py: where a repository is, what the forge's permissions amount to, which names somebody may get."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import Access
from sayci.errors import Invalid
from sayci.identity import NAMES_TRIED, ForgePlace, ForgeToken, Repository, access_by, names_for, place_of
from sayci.person import check_person_name
from tests.factories import settings

GITHUB = ForgePlace("https://github.com", "https://api.github.com")
OWN = ForgePlace("https://ghe.example:8443", "https://ghe.example:8443/api/v3")
LEVELS = ("pull", "triage", "push", "maintain", "admin")


def up_to(level):
    return {each: LEVELS.index(each) <= LEVELS.index(level) for each in LEVELS}


@pytest.mark.parametrize(
    ("url", "forge_api", "github", "own"),
    (
        ("https://github.com/ada/abacus", "", True, False),
        ("https://github.com/ada/abacus.git", "", True, False),
        ("https://GitHub.com:443/ada/abacus.git", "", True, False),
        ("https://www.github.com/ada/abacus", "", True, False),
        ("git@github.com:ada/abacus.git", "", True, False),
        ("ssh://git@ssh.github.com:443/ada/abacus.git", "", True, False),
        ("https://github.com:8443/ada/abacus.git", "", False, False),
        ("https://github.com.evil.example/ada/abacus.git", "", False, False),
        ("https://evil.example/github.com/abacus.git", "", False, False),
        ("https://gitlab.com/ada/abacus.git", "", False, False),
        ("https://ghe.example:8443/ada/abacus", "", False, True),
        ("https://ghe.example/ada/abacus", "", False, False),
        ("git@ghe.example:ada/abacus", "", False, True),
        # What the project says of its forge counts for more than the address.
        ("https://github.com/ada/abacus", "https://ghe.example:8443/api/v3/", False, True),
        ("https://mirror.example/ada/abacus", "https://api.github.com", True, False),
        ("file:///srv/git/ada/abacus.git", "https://api.github.com", True, False),
        ("file:///srv/git/ada/abacus.git", "", False, False),
        ("https://github.com/ada/abacus/deeper", "", False, False),
        ("https://github.com/abacus", "", False, False),
        ("https://github.com/../abacus", "https://api.github.com", False, False),
    ),
)
def test_whether_a_project_is_at_the_forge(url, forge_api, github, own):
    given = settings(url=url, forge_api=forge_api)
    assert GITHUB.repository_of(given) == (Repository("ada", "abacus") if github else None)
    assert OWN.repository_of(given) == (Repository("ada", "abacus") if own else None)


@given(st.text(max_size=80))
def test_no_address_brings_anything_but_a_repository_or_a_refusal(url):
    try:
        _, _, found = place_of(url)
    except Invalid:
        return
    assert "/" not in found.owner + found.name
    assert not {"..", ".", ""} & {found.owner, found.name}


@pytest.mark.parametrize(
    ("level", "private", "public"),
    (
        ("pull", Access.READ, Access.NONE),
        ("triage", Access.READ, Access.READ),
        ("push", Access.BUILD, Access.BUILD),
        ("maintain", Access.BUILD, Access.BUILD),
        ("admin", Access.BUILD, Access.BUILD),
    ),
)
def test_what_each_level_amounts_to(level, private, public):
    assert access_by(up_to(level), is_private=True) is private
    assert access_by(up_to(level), is_private=False) is public


@given(st.dictionaries(st.sampled_from((*LEVELS, "other")), st.none() | st.booleans() | st.just("true")), st.booleans())
def test_only_what_is_plainly_true_counts_and_a_public_repository_never_gives_more(permissions, private):
    found = access_by(permissions, is_private=private)
    assert found in (Access.NONE, Access.READ, Access.BUILD)
    assert access_by(permissions, is_private=False) <= access_by(permissions, is_private=True)
    assert found is Access.NONE or any(permissions.get(word) is True for word in LEVELS)


@given(st.text(max_size=300))
def test_every_login_brings_many_names_that_somebody_may_have(login):
    names = list(names_for(login))
    assert len(names) == len(set(names)) >= NAMES_TRIED - 1
    assert all(check_person_name(name) == name for name in names)


@pytest.mark.parametrize(
    ("login", "first"),
    (
        ("octocat", ["octocat", "octocat-2", "octocat-3"]),
        ("Ada-Lovelace_acme", ["Ada-Lovelace_acme", "Ada-Lovelace_acme-2"]),
        ("admin", ["admin-2", "admin-3"]),
        ("sayci", ["sayci-2"]),
        ("dependabot[bot]", ["dependabot-bot"]),
        ("x" * 39, ["x" * 36, "x" * 36 + "-2"]),
        ("ädä", ["d"]),
        ("-", ["github", "github-2"]),
        ("../etc/passwd", ["etc-passwd"]),
    ),
)
def test_names_are_as_near_to_the_login_as_can_be(login, first):
    assert list(itertools.islice(names_for(login), len(first))) == first


def test_a_token_is_not_in_what_is_printed():
    assert "gho_" not in repr(ForgeToken("gho_secret", 1.0, "ghr_gho_secret"))
