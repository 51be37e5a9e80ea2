"""account.py: who may do what, and what is kept of a credential."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.account import TOKEN_PREFIX, Access, Actor, access_of, capped, digest_of, new_secret
from sayci.errors import Forbidden, Invalid
from tests.factories import an_actor


@pytest.mark.parametrize("held", tuple(Access))
@pytest.mark.parametrize("asked", tuple(Access))
def test_each_access_includes_those_before_it(held, asked):
    order = [Access.NONE, Access.READ, Access.BUILD, Access.ADMIN]
    actor = an_actor(held)
    if order.index(held) >= order.index(asked):
        actor.require(asked)
    else:
        with pytest.raises(Forbidden) as refusal:
            actor.require(asked)
        assert refusal.value.args[1] == asked.name.lower()


@pytest.mark.parametrize(
    ("word", "access"),
    (("read", Access.READ), ("build", Access.BUILD), ("admin", Access.ADMIN), ("ADMIN", Access.ADMIN)),
)
def test_access_has_a_word(word, access):
    assert access_of(word) is access


@pytest.mark.parametrize("word", ("", "root", "2", "read ", "__class__", "name", "\u017f", "x" * 1_000_000))
def test_other_words_are_no_access_and_are_quoted_shortly(word):
    with pytest.raises(Invalid) as refusal:
        access_of(word)
    assert len(str(refusal.value)) < 200


def test_secrets_differ_and_survive_a_url_a_shell_and_a_cookie():
    made = {new_secret(TOKEN_PREFIX) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"sayci_[A-Za-z0-9_-]{43}", secret) for secret in made)


@given(st.text(alphabet=st.characters(), max_size=50), st.text(alphabet=st.characters(), max_size=50))
def test_digests_are_of_one_length_and_differ_as_their_secrets_do(one, other):
    assert len(digest_of(one)) == 32
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_a_digest_is_the_plain_sha256():
    assert digest_of("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_secret_with_half_a_surrogate_pair_has_a_digest_too():
    assert digest_of("\ud800") != digest_of("?")


def test_an_actor_is_a_value():
    assert Actor("ada", Access.READ) == Actor("ada", Access.READ) != Actor("ada", Access.BUILD)


GRANTS = st.dictionaries(st.integers(1, 5), st.sampled_from(Access))


@given(st.sampled_from(Access), GRANTS, st.sampled_from(Access))
def test_a_token_of_a_person_never_reaches_further_than_the_person_or_the_token(role, grants, access):
    person = Actor("ada", role, 7, grants)
    holder = capped(person, access)
    assert (holder.name, holder.person_id) == ("ada", 7)
    assert holder.access == min(role, access)
    assert holder.furthest <= min(person.furthest, access)
    for project_id in range(7):
        assert holder.on(project_id) == min(person.on(project_id), access)


@given(st.sampled_from(Access), GRANTS)
def test_a_token_with_all_access_reaches_as_far_as_the_person(role, grants):
    person = Actor("ada", role, 7, grants)
    assert capped(person, Access.ADMIN) == person
    assert capped(person, Access.NONE).furthest is Access.NONE
