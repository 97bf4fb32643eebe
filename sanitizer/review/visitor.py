"""Who asks: from a session cookie, from a reverse proxy that we trust, or from the web server that the app is mounted in."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request

from sanitizer.errors import NotAllowed, SanitizerError
from sanitizer.policy import Policy
from sanitizer.review import people
from sanitizer.review.people import Account, Session
from sanitizer.review.throttle import Throttle
from sanitizer.store import Reader, Store, Transaction

COOKIE = "sanitizer-session"


class NotSignedIn(NotAllowed):
    """Nobody we know asks."""


class NoSession(NotSignedIn):
    """Whoever asks has to come in by `/login` first."""


@dataclass(frozen=True)
class TrustedProxy:
    """A reverse proxy that signs people in and names them in a header.

    Its requests must come from one of `addresses` and carry `secret` in `X-Sanitizer-Proxy`: an address alone proves nothing on a
    machine that others share.  Whoever it names needs an account here, which holds the role.
    """

    addresses: frozenset[str]
    secret: str
    header: str = "X-Forwarded-User"


@dataclass(frozen=True)
class Site:
    """What every request needs.

    `identify` is for an app mounted in another web server: it tells the name of who asks by that server's own session, or None.
    `links` maps one-time tokens to the name of who started this process, who comes in by them while nobody has a password.
    """

    store: Store
    policy: Policy
    proxy: TrustedProxy | None = None
    identify: Callable[[Request], str | None] | None = None
    secure: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    throttle: Throttle = field(default_factory=Throttle)
    links: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A consistent view, now."""
        with self.store.reading(now=self.clock()) as view:
            yield view

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A change, now."""
        with self.store.transaction(now=self.clock()) as tx:
            yield tx


@dataclass(frozen=True)
class Visitor:
    """Who asks, in which session; the session is None where another web server vouches for every single request."""

    account: Account
    csrf: str
    via: str


def site(request: Request) -> Site:
    """The site of the app that was asked."""
    found: Site = request.app.state.site
    return found


def visitor(request: Request, here: Annotated[Site, Depends(site)]) -> Visitor:
    """Who asks; raises `NotSignedIn`, or `NotAllowed` for a change without the session's CSRF token or with a forged header."""
    named = _named(request, here)
    token = request.cookies.get(COOKIE)
    with here.reading() as view:
        session = None if token is None else people.session(view, token)
    if named is not None and (session is None or session.account.name != named):
        raise NoSession(f"{named} has no session here yet")
    if session is None:
        raise NoSession("nobody is signed in, or the session ended: sign in again")
    if named is None and session.via in ("proxy", "host"):
        raise NotSignedIn("this session was opened by another server, which does not vouch for this request")
    if request.method not in ("GET", "HEAD"):
        _check_csrf(request, here, session)
    return Visitor(session.account, session.csrf, session.via)


def may(ability: str) -> Callable[..., Visitor]:
    """A dependency: the visitor, who has this ability; what is refused to a known person is told by the ledger."""

    def checked(request: Request, here: Annotated[Site, Depends(site)], who: Annotated[Visitor, Depends(visitor)]) -> Visitor:
        try:
            who.account.must(ability)
        except NotAllowed as error:
            refused(here, who.account, request, error)
            raise
        return who

    return checked


def refused(here: Site, account: Account, request: Request, error: SanitizerError, **more: Any) -> None:
    """Tells the ledger that somebody whom we know tried what is not allowed."""
    with here.transaction() as tx:
        facts = {"asked": f"{request.method} {request.scope['path']}", "code": error.code, "why": error.message, **more}
        tx.record("review.refused", account.name, facts, actor=account.name)


def vouched(request: Request, here: Site) -> str | None:
    """The name for which a proxy or the surrounding web server vouches in this request."""
    return _named(request, here)


def _named(request: Request, here: Site) -> str | None:
    if here.identify is not None:
        name = here.identify(request)
        if name is None:
            raise NotSignedIn("the web server around this app does not know who asks: sign in there")
        return name.strip().lower()
    if here.proxy is None:
        return None
    name, secret = request.headers.get(here.proxy.header), request.headers.get("x-sanitizer-proxy", "")
    peer = request.client.host if request.client else ""
    if peer not in here.proxy.addresses or not hmac.compare_digest(secret.encode(), here.proxy.secret.encode()):
        raise NotAllowed(f"this request did not come by the trusted proxy: its {here.proxy.header} header proves nothing", subject=peer)
    if not name:
        raise NotSignedIn("the proxy names nobody: sign in there")
    return name.strip().lower()


def _check_csrf(request: Request, here: Site, session: Session) -> None:
    given = request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        error = NotAllowed("this change does not carry the token of the session: load the page again")
        refused(here, session.account, request, error)
        raise error
