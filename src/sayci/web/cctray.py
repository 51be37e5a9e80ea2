"""How projects stand as cctray.xml, which monitors in menus and on walls read (https://cctray.org/v1)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from sayci.build import BuildState
from sayci.outlook import Outlook
from sayci.step import Result
from sayci.web.wire import Links
from sayci.web.words import stamp
from sayci.web.xml import document, element

CONTENT_TYPE = "application/xml; charset=utf-8"
_STATUS = {
    Result.SUCCESS: "Success",
    Result.FAILURE: "Failure",
    Result.TIMED_OUT: "Failure",
    Result.ERROR: "Exception",
}


def projects(outlooks: Iterable[Outlook], links: Links) -> bytes:
    """The document of these projects: of each the last build that says how its default branch stands."""
    root = element("Projects")
    root.extend([_project(outlook, links) for outlook in outlooks])
    return document(root)


def _project(outlook: Outlook, links: Links) -> ET.Element:
    project, last = outlook.project, outlook.standing
    runs = any(past.state in (BuildState.RUNNING, BuildState.CANCELLING) for past in outlook.past)
    status = "Unknown" if last is None or last.result is None else _STATUS.get(last.result, "Unknown")
    if project.is_unreadable:
        status = "Exception"
    # The time is not optional there; of a project that was never built it is when it was registered.
    ended_at = project.created_at if last is None else last.finished_at or last.created_at
    attributes = {
        "name": project.name,
        "activity": "Building" if runs else "Sleeping",
        "lastBuildStatus": status,
        "lastBuildTime": stamp(ended_at),
        "webUrl": links.project(project.name),
    }
    if last is not None:
        attributes["lastBuildLabel"] = str(last.number)
    return element("Project", **attributes)
