"""Which commits the branches of a project had when its repository was asked last, as functions of a connection."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sayci.store.columns import plain
from sayci.store.tables import heads

#: The row that says that the repository was asked at all; no branch has this name.
_ASKED = ""


def seen(connection: Connection, project_id: int) -> Mapping[str, str] | None:
    """The commit of each branch; None when nobody has asked yet."""
    rows = connection.execute(sa.select(heads.c.branch, heads.c.commit).where(heads.c.project_id == project_id)).all()
    found = {row.branch: row.commit for row in rows}
    if found.pop(_ASKED, None) is None:
        return None
    return found


def see(connection: Connection, project_id: int, now: Mapping[str, str]) -> None:
    """Replace them; what is the same is not written.  Nothing for a project that is gone."""
    if not connection.execute(sa.text("SELECT 1 FROM projects WHERE id = :id"), {"id": project_id}).first():
        return
    before = seen(connection, project_id)
    after = {plain(branch): commit for branch, commit in now.items()}
    if before is None:
        connection.execute(sa.insert(heads).values(project_id=project_id, branch=_ASKED, commit=""))
        before = {}
    gone = [branch for branch in before if after.get(branch) != before[branch]]
    new = [
        {"project_id": project_id, "branch": branch, "commit": commit}
        for branch, commit in after.items()
        if before.get(branch) != commit
    ]
    if gone:
        row = (heads.c.project_id == project_id, heads.c.branch == sa.bindparam("gone"))
        connection.execute(sa.delete(heads).where(*row), [{"gone": branch} for branch in gone])
    if new:
        connection.execute(sa.insert(heads), new)
