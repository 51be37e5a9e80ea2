"""What is in a PEM text, and whether it is any good."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from sayci.acme.bundle import Unsuitable, check_issued, read_bundle
from sayci.errors import Malformed
from tests.paper_authority import BEGIN, DAY, PaperAuthority, Times, pem_of


@pytest.fixture(scope="module")
def authority():
    return PaperAuthority(Times())


def test_a_bundle_says_what_it_is(authority):
    pem = authority.bundle("a.example", begin=-DAY, end=DAY)
    bundle = read_bundle(pem)
    assert bundle.names == {"a.example"}
    assert bundle.issuer == "Paper, P1"
    assert (bundle.not_before, bundle.not_after, bundle.lifetime) == (BEGIN - DAY, BEGIN + DAY, 2 * DAY)
    assert bundle.pem == pem
    assert [each.subject for each in x509.load_pem_x509_certificates(bundle.chain)][1] == authority.above.subject
    assert b"PRIVATE" not in bundle.chain
    check_issued(bundle, "a.example", BEGIN)


def test_the_key_may_be_anywhere(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.sign("", key, "P1", authority.key, names=["A.example"])
    for parts in ((key, leaf), (leaf, key), (leaf, key, authority.above), (leaf, authority.above, key)):
        assert read_bundle(b"words\n" + pem_of(*parts)).names == {"a.example"}


@pytest.mark.parametrize(
    ("names", "name", "covered"),
    (
        (["a.example"], "a.example", True),
        (["*.example"], "a.example", True),
        (["*.example"], "b.a.example", False),
        (["*.example"], "example", False),
        (["b.example"], "a.example", False),
        ([], "a.example", False),
    ),
)
def test_names_are_covered_or_not(authority, names, name, covered):
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = read_bundle(pem_of(key, authority.sign("", key, "P1", authority.key, names=names)))
    assert bundle.covers(name) is covered


@given(st.binary() | st.text().map(lambda text: f"-----BEGIN PRIVATE KEY-----\n{text}".encode(errors="replace")))
def test_junk_is_refused(junk):
    with pytest.raises(Malformed):
        read_bundle(junk)


def test_a_part_that_is_missing_is_refused(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    leaf = authority.sign("", key, "P1", authority.key, names=["a.example"])
    for pem in (pem_of(key), pem_of(leaf), locked + pem_of(leaf)):
        with pytest.raises(Malformed):
            read_bundle(pem)


def test_a_key_of_another_is_refused(authority):
    other = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.sign("", ec.generate_private_key(ec.SECP256R1()), "P1", authority.key, names=["a.example"])
    with pytest.raises(Unsuitable, match="another private key"):
        read_bundle(pem_of(other, leaf))


def test_a_chain_that_has_ended_or_leads_nowhere_is_refused(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.sign("", key, "P1", authority.key, names=["a.example"])
    ended = authority.sign("P1", authority.key, "Root", authority.root_key, ca=True, begin=-9 * DAY, end=-DAY)
    for above, words in ((ended, "has expired"), (authority.root, "broken chain")):
        with pytest.raises(Unsuitable, match=words):
            check_issued(read_bundle(pem_of(key, leaf, above)), "a.example", BEGIN)
    check_issued(read_bundle(pem_of(key, leaf)), "a.example", BEGIN)
    check_issued(read_bundle(pem_of(key, leaf, authority.above, authority.root)), "a.example", BEGIN)
