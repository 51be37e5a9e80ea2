"""Which project and build are meant, where the command line leaves it open."""

from __future__ import annotations

import re

from sayci.cli.api import Api, path
from sayci.cli.trouble import Misused, Trouble

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^@/:]+):(?!//)(.+)\Z")
_ADDRESS = re.compile(r"[a-z+]+://(?:[^/@]*@)?([^/:]*)(?::\d+)?(/.*)\Z", re.IGNORECASE)


def origin() -> str | None:
    """The address of the repository that the current directory was cloned from; None where there is none."""
    import subprocess  # noqa: PLC0415 - slow to import, and needed only where no project is named

    try:
        done = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None if done.returncode == 0 else None


def place_of(url: str) -> tuple[str, str]:
    """Host and path of a repository's address, however it is written: https, ssh or scp-like, with or without ".git"."""
    match = _ADDRESS.match(url) or _SCP_LIKE.match(url)
    host, way = match.groups() if match else ("", url)
    return host.lower(), way.strip("/").removesuffix(".git")


def project_here(api: Api) -> str:
    """The project whose repository is the current directory's origin.  Raises Misused where there is not exactly one."""
    url = origin()
    if url is None:
        raise Misused("no project is named, and the current directory is no clone", advice="name one: sayci projects")
    projects, _ = api.items(path("projects"))
    names = [str(each.get("name")) for each in projects if place_of(str(each.get("url"))) == place_of(url)]
    if len(names) != 1:
        words = "several projects have this repository" if names else "no project has this repository"
        raise Misused(words, *(names or [place_of(url)[1]]), advice="name one: sayci projects")
    return names[0]


def project_of(api: Api, name: str | None) -> str:
    """The project called `name`; the one of the current directory where that is None or "."."""
    return project_here(api) if name in (None, ".") else str(name)


def number_of(text: str) -> int:
    """A number as people write it: 12, or #12.  Raises Misused."""
    digits = text.removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise Misused("that is not a number", text[:80])
    return int(digits)


def _is_number(text: str | None) -> bool:
    return text is not None and text.removeprefix("#").isdigit()


def build_of(api: Api, project: str | None, number: str | None, *, latest: bool = False) -> tuple[str, int]:
    """The build that is meant by PROJECT NUMBER: a number alone is one of the current directory's project.

    With `latest` the number may be absent: then it is the newest build.  Raises Misused, Trouble.
    """
    if number is None and _is_number(project):
        project, number = None, project
    if number is None and not latest:
        raise Misused("which build is meant?", advice="name its number: sayci builds")
    name = project_of(api, project)
    if number is not None:
        return name, number_of(number)
    builds, _ = api.items(path("projects", name, "builds"), 1)
    if not builds:
        raise Trouble("there are no builds yet of", name)
    return name, int(builds[0].get("number") or 0)
