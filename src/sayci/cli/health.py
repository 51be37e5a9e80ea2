"""Whether a server is well, in one line and an exit code: for people, for monitors, for a container's health check."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from sayci import __version__
from sayci.cli import config
from sayci.cli.parts import examples
from sayci.cli.screen import say
from sayci.cli.trouble import NO, Shut, Trouble

#: Seconds until an answer must be there.  The server gives its own parts 5 before it says which of them does not answer:
#: a shorter limit here would never hear that.
LIMIT = 8.0
#: Where a running server says at what addresses it listens, in its data directory.
ADDRESS = "address"

_FILE_LIMIT = _BODY_LIMIT = 65_536
_FAILURES = (OSError, http.client.HTTPException)
_NAME_IT = "name the directory that the server was given as --data, or start the server"
_EXIT_CODES = "\n\n\b\nExit codes:\n  0  it is well\n  1  it answers, and something is wrong\n  3  it does not answer"


class Unwell(Trouble):
    """The server answers, and says that one of its parts does not work."""

    exit_code = NO


@click.command(
    epilog=examples("SAYCI_SERVER=https://ci.example.org sayci health", "sayci health --data /srv/sayci") + _EXIT_CODES
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(readable=False, path_type=Path),  # whether it can be read, and what to do then, is said below
    help="Ask the server that uses this directory.",
)
def health(*, data: Path | None) -> None:
    """Say whether the server is well.

    Asks the server that you are signed in to, or SAYCI_SERVER; no token is needed for that. With --data it asks the
    server on this machine that has this data directory, whoever is signed in where.
    """
    servers = [_server()] if data is None else addresses_of(data)
    say(f"sayci is well at {first_answer(servers, is_here=data is not None)}")


def _server(environment: Mapping[str, str] = os.environ) -> str:
    """The server that is meant where no directory is named.  Raises Trouble."""
    stated = environment.get("SAYCI_SERVER")
    if stated:
        return config.server_of(stated)
    account = config.stored()
    if account is None:
        raise Shut("not signed in", advice="set SAYCI_SERVER, or name the server's data directory: --data DIR")
    return account.server


def addresses_of(data: Path) -> Sequence[str]:
    """Where the server with this data directory says that it listens.  Raises Shut."""
    path = data / ADDRESS
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT).decode("ascii")
        servers = [config.server_of(line) for line in text.splitlines()]
    except FileNotFoundError:
        words = "no server is running with the data directory" if data.is_dir() else "there is no directory"
        raise Shut(words, data, advice=_NAME_IT) from None
    except PermissionError as error:
        raise Shut("cannot read", path, error.strerror, advice="ask as the user that runs the server") from None
    except OSError as error:
        raise Shut("cannot read", path, error.strerror or error, advice=_NAME_IT) from None
    except (ValueError, Trouble):
        raise Shut(
            "this does not say where the server is", path, advice="restart the server: it is written anew"
        ) from None
    if not servers:
        raise Shut(
            "the server listens at no address that can be asked", data, advice="give it one more --port: tcp:..."
        )
    return servers


def first_answer(servers: Sequence[str], *, is_here: bool) -> str:
    """The first of a server's addresses that answers, and says that all is well.  Raises Trouble."""
    deadline = time.monotonic() + LIMIT
    troubles = []
    for server in servers:
        try:
            code, body = _asked(server, deadline, is_here=is_here)
        except _FAILURES as error:
            troubles.append(_silence(server, error, is_here=is_here))
        else:
            _judge(server, code, body)
            return server
    raise troubles[0]


def _asked(server: str, deadline: float, *, is_here: bool) -> tuple[int, bytes]:
    """The code and the body of what /healthz answers.  Raises OSError, HTTPException."""
    base = urllib.parse.urlsplit(server)
    limit = max(0.1, deadline - time.monotonic())
    connection = _connection(base, limit, is_here=is_here)
    try:
        headers = {"User-Agent": f"sayci/{__version__}", "Accept": "application/json", "Connection": "close"}
        connection.request("GET", base.path + "/healthz", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_BODY_LIMIT)
    finally:
        connection.close()


def _connection(base: urllib.parse.SplitResult, limit: float, *, is_here: bool) -> http.client.HTTPConnection:
    host = base.hostname or ""
    if base.scheme != "https":
        return http.client.HTTPConnection(host, base.port, timeout=limit)
    context = ssl.create_default_context()
    if is_here:
        # The certificate is made out to the server's public name, and we ask at an address of this machine, where the name
        # need not lead. What is asked never leaves the machine, and nothing secret is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, base.port, timeout=limit, context=context)


# -- what can be wrong


def _silence(server: str, error: OSError | http.client.HTTPException, *, is_here: bool) -> Shut:
    """Why there is no answer, and what to do about it."""
    if isinstance(error, TimeoutError):
        words = f"the server does not answer within {LIMIT:g} seconds"
        return Shut(words, server, advice="it hangs or has too much to do: look at its log, then restart it")
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "for a certificate authority of your own set SSL_CERT_FILE to its certificate"
        return Shut("the certificate cannot be trusted", server, error.verify_message, advice=advice)
    if isinstance(error, ssl.SSLError | http.client.HTTPException | ConnectionResetError):
        return Shut("the connection broke, or what answers is not sayci", server, advice="is the address right?")
    if is_here and isinstance(error, ConnectionRefusedError):
        words = "nothing listens where the server was; it has died, or is starting"
        return Shut(words, server, advice="look at its log, then start it again")
    words = error.strerror or str(error)
    return Shut("cannot reach the server", server, words, advice="is it running, and is the address right?")


def _judge(server: str, code: int, body: bytes) -> None:
    """Raises Unwell where the server says that something is wrong, Shut where what has answered is no sayci."""
    parts = _parts_of(body)
    if code == 200 and parts.get("status") == "ok":
        return
    if code != 503 or "status" not in parts:
        raise Shut("what answers is not sayci", server, f"code {code}", advice="is a proxy in between?")
    ill = [name for name, state in parts.items() if name != "status" and state != "ok"]
    raise Unwell("the server is not well", server, f"failing: {', '.join(ill)}", advice="its log says why")


def _parts_of(body: bytes) -> Mapping[str, object]:
    """What the answer says of each part; nothing where it is no such answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
