"""person.py: names, roles and what a password must be."""

from __future__ import annotations

import pytest

from sayci.account import Access
from sayci.errors import Invalid
from sayci.person import ROLES, check_password, check_person_name, role_of, word_of_role


@pytest.mark.parametrize("name", ("a", "ada", "Grace.Hopper", "ada-l", "x" * 40, " ada "))
def test_names_of_people(name):
    assert check_person_name(name) == name.strip()


@pytest.mark.parametrize(
    "name", ("", "admin", "Admin", "sayci", ".ada", "ada-", "x" * 41, "\u0430da", "a b", "a/b", "a\nb", "\u202eada")
)
def test_what_is_no_name_of_a_person(name):
    with pytest.raises(Invalid):
        check_person_name(name)


def test_a_role_is_an_access_by_another_word():
    assert [role_of(word) for word in ROLES] == [Access.NONE, Access.READ, Access.BUILD, Access.ADMIN]
    assert [word_of_role(access) for access in ROLES.values()] == list(ROLES)
    for word in ("root", "", "ADMIN", "build"):
        with pytest.raises(Invalid):
            role_of(word)


@pytest.mark.parametrize(
    "password", ("correct horse", "пароль-пароль", "0123456789", "x y z w v u", "ada likes machines")
)
def test_passwords(password):
    assert check_password(password, "ada") == password


@pytest.mark.parametrize(
    "password",
    ("", "short", "x" * 201, "aaaaaaaaaaaa", "abababababab", "line\nbreak and more", "ada1234567", "ADA1234567"),
)
def test_what_is_no_password_and_is_not_repeated(password):
    with pytest.raises(Invalid) as caught:
        check_password(password, "ada")
    assert not password or password not in str(caught.value)
