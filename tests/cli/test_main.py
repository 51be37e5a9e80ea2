"""cli/main.py: the list of commands, how fast it starts, and how every trouble ends."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from sayci.cli.main import COMMANDS, main

CONTEXT = click.Context(main, info_name="sayci")


def every_command(command=main, context=CONTEXT, path="sayci"):
    """Every command with its path, groups included."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from every_command(command.get_command(context, name), context, f"{path} {name}")


@pytest.mark.parametrize("name", [name for _, name, _, _ in COMMANDS])
def test_the_list_begins_with_what_each_command_says_of_itself(name):
    line = next(line for _, listed, _, line in COMMANDS if listed == name)
    command = main.get_command(CONTEXT, name)
    assert command is not None
    assert (command.help or "").startswith(re.split(r"[,;.]", line)[0])


def test_every_command_and_every_option_says_what_it_does():
    silent = []
    for path, command in every_command():
        if not command.help:
            silent.append(path)
        for option in command.params:
            is_plain = isinstance(option, click.Option) and option.name not in ("help", "version", "access")
            if is_plain and not getattr(option, "help", None):
                silent.append(f"{path} {option.opts[0]}")
    assert silent == []


def test_help_teaches_with_examples_and_explains_exit_codes(anonymous):
    shown = anonymous("--help")
    assert shown.exit_code == 0
    for words in ("sayci add demo https://", "Exit codes:", "SAYCI_TOKEN", "sayci log demo 12 -f"):
        assert words in shown.stdout
    for _, name, _, line in COMMANDS:
        assert name in shown.stdout
        assert line in shown.stdout


def test_every_command_has_help(anonymous):
    for path, _ in every_command():
        assert anonymous(*path.split()[1:], "--help").exit_code == 0


def test_an_unknown_command_is_a_matter_of_usage(anonymous):
    assert anonymous("delpoy").exit_code == 2
    assert anonymous("log", "--frobnicate").exit_code == 2


def test_the_version_is_told(anonymous):
    assert anonymous("--version").stdout.startswith("sayci 0.")


#: Runs the client in a process of its own, and prints the modules that this took as its last line.
LOADED = """
import sys
from sayci.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(*sys.modules)
"""


def modules_of(*arguments):
    line = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout, {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("arguments", (["--help"], ["projects", "--help"], ["log", "--help"]))
def test_help_imports_neither_twisted_nor_rich(home, arguments):
    shown, loaded = modules_of(*arguments)
    assert "Usage:" in shown
    assert not {"twisted", "rich", "sqlalchemy", "msgspec"} & loaded


def test_the_list_of_commands_imports_no_http(home):
    assert "http" not in modules_of("--help")[1]


def test_a_real_command_imports_neither_twisted_nor_rich(signed_in):
    shown, loaded = modules_of("projects")
    assert "demo" in shown
    assert not {"twisted", "rich"} & loaded


def test_an_interrupted_command_ends_as_shells_count_it(signed_in, command, server, values):
    server.builds[12] = values.running(values.a_build(), "test")
    process = subprocess.Popen(command("build", "demo", "--wait"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # the build has been made, and is waited for
    while not any(each.headers.get("Accept") == "text/event-stream" for each in list(server.asked)):
        assert process.poll() is None
    process.send_signal(2)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"The build goes on. Cancel it with: sayci cancel demo 13" in errors
    assert b"Traceback" not in errors
