"""What the server may do as root: of the kernel's capabilities (capabilities(7)) those that users for builds take."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: To make files of other users and remove them, to become them and to end their processes.
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}

_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38


def missing() -> set[str]:
    """Those of NEEDED that this process does not have, by their names."""
    held = effective()
    return {f"CAP_{name}" for name, number in NEEDED.items() if not held >> number & 1}


def effective() -> int:
    """The capabilities that this process has, one bit each (proc(5))."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def keep_needed() -> None:
    """Give up all capabilities but NEEDED, for good and for all processes that are started from now on.

    It holds for the calling thread and those that it starts, so it is to be called before there are others.  Raises
    OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    kept = sum(1 << number for number in NEEDED.values())
    # Otherwise every program that root starts would have all of the bounding set again; to take that away takes SETPCAP.
    _call(library, "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _call(library, "capset", header, data)


def _call(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    if library[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
