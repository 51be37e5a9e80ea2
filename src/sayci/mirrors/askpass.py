"""How git is told a project's access token: by a program that answers for one server, from memory that is nowhere else.

The token is in no argument, environment or file.  It is written into a sealed memory file (memfd_create(2)) which git and
its children inherit as a descriptor; the program opens it anew through /proc, so that it can be read more than once.
"""

from __future__ import annotations

import fcntl
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sayci.errors import RepositoryRefused
from sayci.git import TOKEN_FD

_PROGRAM = f"""\
#!/bin/sh
# git asks this program for a credential.  It answers for the one server that it was started for, and for no other.
case $1 in
"$SAYCI_ASKS_USER") printf '%s\\n' "$SAYCI_USER" ;;
"$SAYCI_ASKS_PASSWORD") exec cat /proc/self/fd/{TOKEN_FD} ;;
*) exit 1 ;;
esac
"""


def install(directory: Path) -> Path:
    """Write the program into `directory`, for its owner alone, and return where it is; an older one is replaced."""
    program, fresh = directory / "askpass", directory / ".askpass"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    with os.fdopen(descriptor, "w") as file:
        file.write(_PROGRAM)
    return fresh.replace(program)


@contextmanager
def sealed(token: str) -> Iterator[int]:
    """A descriptor from which the token can be read, and nothing written any more; closed at the end.

    Raises RepositoryRefused for a token that cannot be one.
    """
    if any(unicodedata.category(letter)[0] == "C" for letter in token):
        raise RepositoryRefused("the project's access token has control characters in it: set it again")
    descriptor = os.memfd_create("token", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, f"{token}\n".encode())
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)
