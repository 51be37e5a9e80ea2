"""Where the client keeps the server's address and its token: one file that only its owner can read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sayci.cli.trouble import Shut, Trouble

SIGN_IN = "sign in with the link that the server printed when it started: sayci login LINK"


@dataclass(frozen=True)
class Account:
    """A server and what opens it.

    `insecure`: the token may go over the network unencrypted, because somebody said so at login.  `token_id` is the number
    of the token where it was made for this client, so that signing out can revoke it; else None.
    """

    server: str
    token: str = field(repr=False)
    insecure: bool = False
    token_id: int | None = None

    def check(self) -> None:
        """Raises Shut where sending the token would show it to the network."""
        if not self.insecure and not is_private(self.server):
            raise Shut(
                "the token would go over the network for everybody to read",
                self.server,
                advice="use the server's https address, or accept that at login: sayci login --insecure LINK",
            )


def server_of(url: str) -> str:
    """The address of the server that `url` points into, without a slash at its end.  Raises Trouble."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise Trouble("that is not an address", url.partition("?")[0][:200]) from None
    is_one_word = not re.search(r"[^!-~]", url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not is_one_word:
        raise Trouble("that is not an http or https address", url.partition("?")[0].rpartition("@")[2][:200])
    path = parts.path.rstrip("/").removesuffix("/sign-in")
    return f"{parts.scheme}://{parts.netloc}{path}".rstrip("/")


def is_private(server: str) -> bool:
    """Whether nobody on the way can read what goes to `server`: it is encrypted, or does not leave the machine."""
    parts = urllib.parse.urlsplit(server)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    return host == "::1" or (host.startswith("127.") and host.replace(".", "").isdigit())


def path_of(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the file is: $XDG_CONFIG_HOME/sayci/config.json, by default below ~/.config."""
    home = environment.get("XDG_CONFIG_HOME") or ""
    base = Path(home) if home.startswith("/") else Path.home() / ".config"
    return base / "sayci" / "config.json"


def stored() -> Account | None:
    """The account in the file; None where there is no file.  Raises Shut where it cannot be read."""
    path = path_of()
    try:
        return _account_of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Shut("the configuration cannot be read", path, error.strerror or error) from None
    except (ValueError, TypeError, RecursionError):
        raise Shut("the configuration is damaged", path, advice=SIGN_IN) from None


def _account_of(value: Any) -> Account:
    """What the file says.  Raises TypeError."""
    known = value if isinstance(value, dict) else {}
    server, token, number = known.get("server"), known.get("token"), known.get("token_id")
    if not isinstance(server, str) or not isinstance(token, str) or not isinstance(number, int | None):
        raise TypeError
    return Account(server, token, known.get("insecure") is True, number)


def account(environment: Mapping[str, str] = os.environ) -> Account:
    """Whose requests are made: the file's account, with SAYCI_SERVER and SAYCI_TOKEN before what it says.

    The file's token is for the file's server: another server needs a token of its own.  Raises Shut.
    """
    file = stored()
    server = server_of(environment["SAYCI_SERVER"]) if environment.get("SAYCI_SERVER") else ""
    token = environment.get("SAYCI_TOKEN", "").strip()
    if file is not None and server in ("", file.server):
        return Account(file.server, token or file.token, file.insecure, None if token else file.token_id)
    if not server:
        raise Shut("not signed in", advice=SIGN_IN)
    if not token:
        raise Shut("not signed in at", server, advice=f"set SAYCI_TOKEN, or {SIGN_IN}")
    return Account(server, token)


def save(account: Account) -> Path:
    """Keep the account, readable by its owner alone; the file is never there in part.  Raises Shut."""
    path = path_of()
    part = path.with_name(f".config.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(part, asdict(account))
        part.replace(path)
    except OSError as error:
        raise Shut("the configuration cannot be written", path, error.strerror or error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return path


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def forget() -> bool:
    """Remove the file; whether there was one.  Raises Shut."""
    path = path_of()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Shut("the configuration cannot be removed", path, error.strerror or error) from None
    return True
