"""image.py: what names an image, and where it is."""

from __future__ import annotations

import pytest

from sayci.errors import Invalid
from sayci.image import check_image, pulled_as, registry_of

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "name", "version", "registry"),
    (
        ("python", "python", "latest", "docker.io"),
        ("python:3.13-slim", "python", "3.13-slim", "docker.io"),
        ("team/ci__x-y.z:V1_2.3", "team/ci__x-y.z", "V1_2.3", "docker.io"),
        ("library/debian", "library/debian", "latest", "docker.io"),
        ("registry.example/team/ci", "registry.example/team/ci", "latest", "registry.example"),
        ("registry.example:5000/ci:1", "registry.example:5000/ci", "1", "registry.example:5000"),
        ("localhost/ci", "localhost/ci", "latest", "localhost"),
        ("REGISTRY/ci", "REGISTRY/ci", "latest", "REGISTRY"),
        ("[::1]:5000/ci", "[::1]:5000/ci", "latest", "[::1]:5000"),
        (f"ci@{DIGEST}", "ci", DIGEST, "docker.io"),
        (f"quay.example/a/b:2@{DIGEST}", "quay.example/a/b", DIGEST, "quay.example"),
    ),
)
def test_a_reference_says_what_to_fetch_and_from_where(reference, name, version, registry):
    assert check_image(reference) == reference
    assert pulled_as(reference) == (name, version)
    assert registry_of(reference) == registry


@pytest.mark.parametrize(
    "reference",
    (
        "",
        "-v",
        "--privileged",
        "a b",
        "a\n",
        "a\0",
        "Python",
        "über",
        "a:",
        "a:-x",
        "a:" + "x" * 129,
        "a@sha256:12",
        f"a@{DIGEST}0",
        "a@md5:" + "0" * 32,
        "/a",
        "a/",
        "a//b",
        "a/../b",
        ".a",
        "a.",
        "a___b",
        "https://registry.example/ci",
        "user@registry.example/ci",
        "$(id)",
        "a;id",
        "a" * 256,
        "a/" * 300 + "a",
        "a.b" + "-" * 400,
    ),
)
def test_what_names_no_image_is_refused(reference):
    with pytest.raises(Invalid, match="name of a container image"):
        check_image(reference)
