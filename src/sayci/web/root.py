"""The tree of addresses: whose part is asked by the first word of the path."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request


class Root(Resource):
    """Hands a request to the part that has its first word, or to `otherwise`.

    The hooks are given what is after their word; the other parts the whole path, as their own addresses state it.
    """

    def __init__(self, hooks: IResource, whole: Mapping[bytes, IResource], otherwise: IResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted states no types here
        self._hooks = hooks
        self._whole = dict(whole)
        self._otherwise = otherwise

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:  # noqa: N802 - Twisted's name
        """The part that serves the request; each is a leaf."""
        if path == b"hooks":
            return self._hooks
        request.postpath = [path, *(request.postpath or [])]
        request.prepath = []
        return self._whole.get(path, self._otherwise)
