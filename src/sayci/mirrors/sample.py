"""The bundled sample project as a repository, so that a first start has something to build."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sayci.errors import RepositoryRefused
from sayci.git import environment
from sayci.mirrors.command import Commands, Reactor

_WHO = {"NAME": "sayci", "EMAIL": "sayci@localhost"}
_IDENTITY = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _WHO.items()}
LIMIT = 30.0


def url_of(data: Path) -> str:
    """Where the sample's repository is, in a data directory."""
    return f"file://{data}/sample"


async def make(reactor: Reactor, data: Path) -> None:
    """Make the repository, unless it is there.  Raises RepositoryRefused when git does not."""
    tree = data / "sample"
    if (tree / ".git").exists():
        return
    tree.mkdir(mode=0o700, exist_ok=True)
    for source in (files("sayci") / "sample").iterdir():
        if source.is_file():
            (tree / source.name).write_bytes(source.read_bytes())
    commands = Commands(reactor)
    given = environment() | _IDENTITY
    for arguments in (
        ("init", "--quiet", "--initial-branch=main", "--template=", "."),
        ("add", "--all"),
        ("commit", "--quiet", "--no-gpg-sign", "--message=A sample project"),
    ):
        output = await commands.run(("git", "-C", str(tree), *arguments), given, LIMIT)
        if output.exit_code != 0:
            raise RepositoryRefused("the sample's repository cannot be made", output.stderr.decode("utf-8", "replace"))
