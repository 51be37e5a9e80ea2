"""askpass.py: a token for one server, from memory that is nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import pytest_twisted

from sayci import git
from sayci.errors import RepositoryRefused
from sayci.mirrors.askpass import install, sealed

TOKEN = "ghp_moonlight'\"$(id)`%s\\n"
URL = "https://git.example.org:8443/team/shop.git"


@pytest.fixture
def ask(tmp_path, commands):
    """Asks the program a question, as git does; its answer and how it ended."""
    program = install(tmp_path)

    async def ask(question: str) -> tuple[int, str]:
        with sealed(TOKEN) as descriptor:
            environment = git.environment(URL, askpass=program)
            output = await commands.run((str(program), question), environment, 30, token_fd=descriptor)
        return output.exit_code, output.stdout.decode()

    return ask


@pytest_twisted.ensureDeferred
async def test_git_is_told_name_and_token_for_the_projects_server(ask):
    assert await ask("Username for 'https://git.example.org:8443': ") == (0, "x-access-token\n")
    assert await ask("Password for 'https://x-access-token@git.example.org:8443': ") == (0, f"{TOKEN}\n")


@pytest.mark.parametrize(
    "question",
    (
        "Username for 'https://git.example.org': ",
        "Password for 'https://x-access-token@git.example.org': ",
        "Password for 'https://x-access-token@evil.example': ",
        "Password for 'http://x-access-token@git.example.org:8443': ",
        "Password for 'https://x-access-token@git.example.org:8443.evil.example': ",
        "Password for 'https://evil@git.example.org:8443': ",
        "Password for 'https://x-access-token@git.example.org:8443': x",
        "*",
        "",
        "Enter passphrase for key '/x': ",
    ),
)
@pytest_twisted.ensureDeferred
async def test_nobody_else_is_told_anything(ask, question):
    assert await ask(question) == (1, "")


def test_the_program_is_its_owners_and_replaces_whatever_is_there(tmp_path):
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "askpass").symlink_to(tmp_path / "victim")
    (tmp_path / ".askpass").symlink_to(tmp_path / "victim")
    for _ in range(2):
        program = install(tmp_path)
        assert stat.S_IMODE(program.lstat().st_mode) == 0o700
    assert (tmp_path / "victim").read_text() == "untouched"
    assert TOKEN not in program.read_text()


def test_a_sealed_token_can_be_read_again_and_not_be_changed():
    with sealed("moonlight") as descriptor:
        for _ in range(2):
            assert Path(f"/proc/self/fd/{descriptor}").read_text() == "moonlight\n"
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("token", ("two\nlines", "nul\0", "tab\t", "half \ud800"))
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(token):
    with pytest.raises(RepositoryRefused) as caught, sealed(token):
        pass
    assert token not in str(caught.value)
