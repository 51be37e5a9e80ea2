"""store/migrate.py: a database is brought to the tables of this sayci, or left as it was."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sayci.errors import CannotStart
from sayci.store.engine import open_engines, read_url
from sayci.store.migrate import NEWEST, SCRIPTS, migrate
from sayci.store.tables import metadata


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sayci.sqlite"


@pytest.fixture
def address(path):
    return read_url(f"sqlite:///{path}")


@pytest.fixture(params=("sqlite", "postgresql"))
def any_address(request, address):
    return address if request.param == "sqlite" else read_url(request.getfixturevalue("postgresql").fresh())


@pytest.fixture
def scripts(tmp_path):
    """This sayci's migrations, to which a test may add."""
    return shutil.copytree(SCRIPTS, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))


def add_script(scripts, body):
    """The migration of a later sayci."""
    lines = ["import sqlalchemy as sa", "from alembic import op", 'revision = "9999"', f'down_revision = "{NEWEST}"']
    body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    (scripts / "v9999_later.py").write_text("\n".join([*lines, "def upgrade():", body]))


def ask(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def definitions(path):
    """What made all that is there; SQLite puts the name of a table into quotes that was renamed."""
    made = (" ".join(sql.split()) for (sql,) in ask(path, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return {re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", sql) for sql in made}


def test_migrations_make_exactly_the_tables_of_this_sayci(any_address):
    migrate(any_address)
    engine = sa.create_engine(any_address)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrations_say_in_sqlite_what_the_tables_say_word_for_word(address, path, tmp_path):
    migrate(address)
    made = sa.create_engine(f"sqlite:///{tmp_path}/made.sqlite")
    metadata.create_all(made)
    made.dispose()
    migrated = {definition for definition in definitions(path) if "alembic_version" not in definition}
    assert migrated == definitions(tmp_path / "made.sqlite")


def test_the_newest_revision_is_the_last_of_the_scripts():
    assert ScriptDirectory(str(SCRIPTS), version_locations=[str(SCRIPTS)]).get_heads() == [NEWEST]


def test_projects_of_the_first_sayci_have_no_image_and_their_ids_are_not_given_again(address, path):
    migrate(address, newest="0001")
    for number in (1, 2):
        values = "?1, ?2, ?2, 'https://x', 'main', NULL, 'test', 'deploy', 60, '', 1, 'ready', '', 0, x'00', NULL"
        ask(path, f"INSERT INTO projects VALUES ({values})", number, f"p{number}")  # noqa: S608 - they are ours
    ask(path, "INSERT INTO variables (project_id, name, scope, secret, value) VALUES (1, 'LEVEL', 'both', 0, '3')")
    ask(path, "DELETE FROM projects WHERE id = 2")
    migrate(address)
    assert ask(path, "SELECT id, name, image FROM projects") == [(1, "p1", "")]
    assert ask(path, "SELECT project_id, value FROM variables") == [(1, "3")]
    assert ask(path, "SELECT seq FROM sqlite_sequence WHERE name = 'projects'") == [(2,)]


def test_a_second_start_changes_nothing_and_copies_nothing(any_address, tmp_path):
    migrate(any_address)
    there = sorted(path.name for path in tmp_path.iterdir())
    migrate(any_address)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_new_file_is_its_owners_alone_with_all_that_is_beside_it(address, tmp_path):
    migrate(address)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_usual_start_imports_neither_alembic_nor_psycopg(address, path, tmp_path):
    migrate(address)
    script = f"""
        import pathlib, sys
        from twisted.internet.task import Clock
        from sayci.store.sql_store import SqlStore
        SqlStore.open("sqlite:///{path}", pathlib.Path("{tmp_path}/key"), Clock(), in_process=True)
        print({{"alembic", "mako", "psycopg", "twisted.internet.reactor"}} & set(sys.modules))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "set()\n"


def test_an_upgrade_copies_the_file_aside_before(address, path, scripts, tmp_path):
    migrate(address)
    ask(path, "INSERT INTO sign_in_codes VALUES (x'01', 1.0, NULL)")
    add_script(scripts, 'op.add_column("sign_in_codes", sa.Column("name", sa.Text))')
    migrate(address, newest="9999", scripts=scripts)
    assert ask(path, "SELECT * FROM sign_in_codes") == [(b"\x01", 1.0, None, None)]
    assert ask(path, "SELECT version_num FROM alembic_version") == [("9999",)]
    copy = tmp_path / "sayci.sqlite.before-9999"
    assert ask(copy, "SELECT * FROM sign_in_codes") == [(b"\x01", 1.0, None)]
    assert ask(copy, "SELECT version_num FROM alembic_version") == [(NEWEST,)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("kind", ("sqlite", "postgresql"))
def test_an_upgrade_that_fails_leaves_everything_as_it_was(request, address, scripts, kind):
    if kind == "postgresql":
        address = read_url(request.getfixturevalue("postgresql").fresh())
    migrate(address)
    add_script(scripts, 'op.add_column("sign_in_codes", sa.Column("name", sa.Text))\nop.drop_table("nothing")')
    with pytest.raises(CannotStart, match="nothing"):
        migrate(address, newest="9999", scripts=scripts)
    migrate(address)  # is of the old revision, and fine
    engine = sa.create_engine(address)
    assert "name" not in {column["name"] for column in sa.inspect(engine).get_columns("sign_in_codes")}
    engine.dispose()


def test_a_first_start_that_fails_is_made_good_by_the_next(address, path, scripts):
    broken = (scripts / "v0001_beginning.py").read_text().replace("_people()", 'op.drop_table("nothing")', 1)
    (scripts / "v0001_beginning.py").write_text(broken)
    with pytest.raises(CannotStart):
        migrate(address, scripts=scripts)
    assert definitions(path) == set()
    migrate(address)
    assert ask(path, "SELECT version_num FROM alembic_version") == [(NEWEST,)]


def test_a_table_that_is_made_anew_does_not_take_what_refers_to_it_along(address, path, scripts):
    migrate(address)
    columns = len(ask(path, "PRAGMA table_info(projects)"))
    ask(path, f"INSERT INTO projects VALUES ({', '.join('1' * columns)})")  # noqa: S608 - of ones
    ask(path, "INSERT INTO variables VALUES (1, 'LEVEL', 'test', 0, 'x', NULL)")
    add_script(
        scripts,
        """
        with op.batch_alter_table("projects", recreate="always") as table:
            table.drop_column("mirror_error")
        """,
    )
    migrate(address, newest="9999", scripts=scripts)
    assert len(ask(path, "SELECT * FROM projects")) == 1
    assert len(ask(path, "SELECT * FROM variables")) == 1


def test_a_database_of_a_newer_sayci_is_refused(any_address):
    migrate(any_address)
    engine = sa.create_engine(any_address)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CannotStart, match=r"newer sayci.*9999"):
        migrate(any_address)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


def test_somebody_elses_database_is_refused(any_address):
    engine = sa.create_engine(any_address)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE projects (title TEXT)"))
    with pytest.raises(CannotStart, match="not sayci's: projects"):
        migrate(any_address)
    engine.dispose()


def test_a_file_that_is_no_database_is_refused(address, path):
    path.write_bytes(b"a letter to my aunt\n" * 1000)
    with pytest.raises(CannotStart, match="file is not a database"):
        migrate(address)
    assert path.read_bytes() == b"a letter to my aunt\n" * 1000


def test_a_locked_database_is_refused_after_a_while(address, path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CannotStart, match="database is locked"):
            migrate(address, busy_timeout=0.05)
        other.rollback()
    migrate(address)


def test_a_database_that_another_server_uses_is_refused(postgresql):
    url = postgresql.fresh()
    migrate(read_url(url))
    other = open_engines(read_url(url), readers=1)
    with other.writer.connect(), pytest.raises(CannotStart, match="another sayci uses the database"):
        migrate(read_url(url), busy_timeout=0.05)
    other.close()
    migrate(read_url(url))


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path):
    with pytest.raises(CannotStart, match="cannot open the database") as raised:
        migrate(read_url(f"postgresql://ada:s3cr3t@/sayci?host={tmp_path}"))
    assert "s3cr3t" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_sessions_of_before_there_were_people_go_on(address, path):
    migrate(address, newest="0001")
    ask(path, "INSERT INTO sessions (digest, name, access, expires_at) VALUES (x'01', 'admin', 'admin', 2000000000.0)")
    migrate(address)
    assert ask(path, "SELECT name, access, expires_at, person_id, address FROM sessions") == [
        ("admin", "admin", 2000000000.0, None, None)
    ]
