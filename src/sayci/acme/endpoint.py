"""Where to listen, and whose certificates to serve there, in one string: ``le:/srv/certs:tcp:443``.

The strings are read here and not by Twisted: it would take txacme's plugin for them, which does not work any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sayci.errors import Invalid

#: The directories (RFC 8555 7.1.1) of Let's Encrypt, and of its other self, where tries cost nothing and nothing is trusted.
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

# Of each prefix, the authority, and where retries begin.
_AUTHORITIES = {"le": (LETS_ENCRYPT, LETS_ENCRYPT_STAGING), "lets": (LETS_ENCRYPT_STAGING, "")}
# What would be TLS inside TLS.
_ENCRYPTED = {*_AUTHORITIES, "ssl", "tls", "txsni"}


@dataclass(frozen=True, slots=True)
class AcmePort:
    """A port that serves what is in `directory`, kept fresh by the authority whose directory is at `authority_url`.

    `sub_endpoint` is the string of what to listen to.  `staging_url` is where retries begin, "" for at the authority itself.
    """

    directory: Path
    authority_url: str
    sub_endpoint: str
    staging_url: str = ""


def is_acme(description: str) -> bool:
    """Whether an endpoint string is one of ours."""
    return description.partition(":")[0] in _AUTHORITIES


def parse(description: str) -> AcmePort:
    r"""Read ``le:DIR:ENDPOINT`` or ``lets:DIR:ENDPOINT``; a colon in DIR is written ``\:``, a backslash ``\\``.

    Raises Invalid for what is missing.
    """
    prefix, colon, rest = description.partition(":")
    if prefix not in _AUTHORITIES:
        raise Invalid("not an endpoint with certificates of its own", description)
    directory, sub_endpoint = _split(rest)
    if not colon or not directory:
        raise Invalid("a directory for the certificates is missing, as in le:/srv/sayci/certs:tcp:443", description)
    if "\0" in directory:
        raise Invalid("the directory for the certificates has a zero byte in its name", description)
    if not sub_endpoint:
        raise Invalid("an endpoint is missing after the directory, as in le:/srv/sayci/certs:tcp:443", description)
    if sub_endpoint.partition(":")[0] in _ENCRYPTED:
        raise Invalid("le: and lets: bring TLS themselves; a plain endpoint belongs after the directory", description)
    authority, staging = _AUTHORITIES[prefix]
    return AcmePort(Path(directory), authority, sub_endpoint, staging)


def _split(text: str) -> tuple[str, str]:
    """What is before the first colon that no backslash takes away, without backslashes; and what is after it, as it is."""
    first, letters = "", iter(enumerate(text))
    for place, letter in letters:
        if letter == ":":
            return first, text[place + 1 :]
        first += next(letters, (0, letter))[1] if letter == "\\" else letter
    return first, ""
