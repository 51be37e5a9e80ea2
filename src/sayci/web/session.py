"""Who sits behind a request of the pages, by a cookie; and proof that a form that comes back is one of ours.

A form is ours when it names our origin, where the browser says so, and holds a token that only a page of the same session
could have been given.  Cookies are HttpOnly and SameSite=Lax; over https they are Secure, and their names begin with
``__Host-``, which browsers accept from this host alone (RFC 6265bis, 4.1.3).  A server that is reached both ways has two
sets of cookies, so that what somebody planted over plain HTTP is never read over https.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from twisted.web.server import Request

from sayci.account import Actor, Credential, Origin, digest_of, new_secret
from sayci.errand import LIFETIME as ERRAND_LIFETIME
from sayci.errors import Forbidden
from sayci.sign_in import DAY, SECRET_LIMIT, SESSION_LIFETIME, SignIn
from sayci.web.browsers import browser_of
from sayci.web.reading import client_of, token_of

SESSION_COOKIE = "sayci_session"
#: Holds the secret of the sign-in form's token, before there is a session.
VISITOR_COOKIE = "sayci_visitor"
#: Holds the secret of a visit to the forge, from which the browser is to come back.
ERRAND_COOKIE = "sayci_errand"
THEME_COOKIE = "sayci_theme"
THEMES = ("auto", "light", "dark")
YEAR = 365 * DAY

#: The field of every form that holds its token.
TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name

_SECRET = re.compile(rf"[A-Za-z0-9_-]{{20,{SECRET_LIMIT}}}\Z")
# What a browser would not take apart: no authority ("//", and "\" which is the same to them), no control characters.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,500}\Z")


class ForeignForm(Forbidden):
    """A form was sent by a page of somebody else."""


class StaleForm(Forbidden):
    """A form's token is missing or is not this session's: most often it was shown before the last sign-in."""


def local_path(path: str, otherwise: str = "/") -> str:
    """`path` if it leads to a page of ours, `otherwise` if it might lead elsewhere, or straight back to signing in."""
    if not _LOCAL_PATH.match(path) or path.partition("?")[0] in ("/sign-in", "/sign-out"):
        return otherwise
    return path


def origin_of(request: Request) -> Origin:
    """Where a session begins that this request makes."""
    return Origin(client_of(request), browser_of(request.getHeader("user-agent") or ""))


class Sessions:
    """Reads and sets the cookies.

    `base` answers the server's public address, which may be known only once the server listens; it says whether people
    come by https, perhaps to a proxy that passes their requests on without it; a request that comes by TLS does, whatever
    it says.
    """

    def __init__(self, sign_in: SignIn, base: Callable[[], str]) -> None:
        self._sign_in = sign_in
        self._base = base

    # -- who

    async def actor_of(self, request: Request) -> Actor | None:
        """Who asks; None for a stranger."""
        secret = self._cookie(request, SESSION_COOKIE)
        return await self._sign_in.actor_of_session(secret) if _SECRET.match(secret) else None

    async def reader_of(self, request: Request, *, takes_basic: bool = False) -> tuple[Actor | None, Credential | None]:
        """Who asks to look at something, and known by what: by the token that is brought, else by the session.

        `takes_basic` as in reading.token_of.  Raises Unauthenticated and TooOften for a token that is not known.
        """
        token = token_of(request, takes_basic=takes_basic)
        if token is not None:
            actor = await self._sign_in.actor_of_token(token, address=client_of(request))
            return actor, Credential(digest_of(token), is_token=True)
        session = await self.actor_of(request)
        return session, None if session is None else self.credential_of(request)

    def has_ended(self, request: Request) -> bool:
        """Whether the browser of somebody who is nobody here, by `actor_of`, had a session once."""
        return _SECRET.match(self._cookie(request, SESSION_COOKIE)) is not None

    def credential_of(self, request: Request) -> Credential:
        """What `actor_of` knows somebody by."""
        return Credential(digest_of(self._cookie(request, SESSION_COOKIE)))

    async def begin(self, request: Request, secret: str) -> None:
        """Give the browser a session that was just made, in the place of the one that it has."""
        await self._forget(request)
        self._set_cookie(request, SESSION_COOKIE, secret, SESSION_LIFETIME)
        self._set_cookie(request, VISITOR_COOKIE, "", 0)

    async def end(self, request: Request) -> None:
        """Sign out."""
        await self._forget(request)
        self._set_cookie(request, SESSION_COOKIE, "", 0)

    async def _forget(self, request: Request) -> None:
        secret = self._cookie(request, SESSION_COOKIE)
        if _SECRET.match(secret):
            await self._sign_in.sign_out(secret)

    # -- visits to the forge

    def keep_errand(self, request: Request, secret: str) -> None:
        """Have the browser keep the secret of a visit that begins."""
        self._set_cookie(request, ERRAND_COOKIE, secret, ERRAND_LIFETIME)

    def take_errand(self, request: Request) -> str:
        """The secret of the visit that ends, "" where the browser has none; it has none afterwards."""
        secret = self._cookie(request, ERRAND_COOKIE)
        if secret:
            self._set_cookie(request, ERRAND_COOKIE, "", 0)
        return secret if _SECRET.match(secret) else ""

    # -- forms

    def form_token(self, request: Request) -> str:
        """What a form on the page that answers `request` has to bring back; a stranger is given a cookie for it."""
        secret = self._form_secret(request)
        if not secret:
            secret = new_secret()
            self._set_cookie(request, VISITOR_COOKIE, secret, None)
        return _token_of(secret)

    def check_origin(self, request: Request) -> None:
        """Raises ForeignForm when the browser says that the request comes from a page of somebody else."""
        site = request.getHeader("sec-fetch-site")
        origin = request.getHeader("origin")
        if site not in (None, "same-origin", "none"):
            raise ForeignForm("the form was sent by a page of another site")
        if origin not in (None, _origin_of(self._base()), _asked_origin(request)):
            raise ForeignForm("the form was sent by a page of another site")

    def check_form(self, request: Request, form: Mapping[str, str]) -> None:
        """Raises StaleForm unless the form holds the token of this session."""
        secret = self._form_secret(request)
        given = form.get(TOKEN_FIELD, "").encode("utf-8", "replace")
        if not secret or not hmac.compare_digest(_token_of(secret).encode(), given):
            raise StaleForm("the form is older than your sign-in")

    def _form_secret(self, request: Request) -> str:
        secrets = (self._cookie(request, name) for name in (SESSION_COOKIE, VISITOR_COOKIE))
        return next((secret for secret in secrets if _SECRET.match(secret)), "")

    # -- themes

    def theme_of(self, request: Request) -> str:
        """The theme that was chosen: "auto", "light" or "dark"."""
        theme = self._cookie(request, THEME_COOKIE)
        return theme if theme in THEMES else THEMES[0]

    def set_theme(self, request: Request, theme: str) -> None:
        """Remember a theme; another word than the three is "auto"."""
        self._set_cookie(request, THEME_COOKIE, theme if theme in THEMES else THEMES[0], YEAR)

    # -- cookies

    def _is_secure(self, request: Request) -> bool:
        return request.isSecure() or self._base().lower().startswith("https://")

    def _name(self, request: Request, name: str) -> str:
        return f"__Host-{name}" if self._is_secure(request) else name

    def _cookie(self, request: Request, name: str) -> str:
        return (request.getCookie(self._name(request, name).encode()) or b"").decode("ascii", "replace")

    def _set_cookie(self, request: Request, name: str, value: str, seconds: float | None) -> None:
        """`seconds` None: until the browser is closed; 0: remove it."""
        request.addCookie(
            self._name(request, name),
            value,
            path="/",
            max_age=None if seconds is None else str(int(seconds)),
            secure=self._is_secure(request),
            httpOnly=True,
            sameSite="lax",
        )


def _origin_of(url: str) -> str:
    """The origin of a URL as browsers write it (RFC 6454): without the scheme's own port."""
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix({'http': ':80', 'https': ':443'}.get(parts.scheme, ''))}"


def _asked_origin(request: Request) -> str:
    """The origin that the client believes to talk to: it may have another name than the public one, such as localhost."""
    scheme = "https" if request.isSecure() else "http"
    return _origin_of(f"{scheme}://{request.getHeader('host') or ''}")


def _token_of(secret: str) -> str:
    return hmac.new(secret.encode(), b"sayci form", hashlib.sha256).hexdigest()
