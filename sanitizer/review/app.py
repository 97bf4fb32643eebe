"""The app: pages that people open and the JSON that those pages ask for."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sanitizer import __version__
from sanitizer.errors import Busy, NotAllowed, Overtaken, SanitizerError, StorageFailed, UsageError
from sanitizer.policy import Policy
from sanitizer.review import api, people
from sanitizer.review.answers import Answer
from sanitizer.review.door import Door
from sanitizer.review.visitor import COOKIE, NoSession, NotSignedIn, Site, TrustedProxy, Visitor, may, site, visitor, vouched
from sanitizer.store import Store, Transaction

_log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_PAGES = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_LOCAL = ("127.0.0.1", "localhost", "::1")


def create_app(
    store: Store,
    policy: Policy,
    *,
    hosts: Iterable[str] = _LOCAL,
    proxy: TrustedProxy | None = None,
    identify: Callable[[Request], str | None] | None = None,
    secure: bool = False,
    framed: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The review app over a store that was opened without a signer: no key is ever in this process.

    Args:
        store: the state.
        policy: when a second person is needed.
        hosts: names under which people reach the app.
        proxy: a reverse proxy that signs people in.
        identify: for an app mounted in another web server: the name of who asks by that server's own session, or None.
        secure: whether people reach it by https only, so that the session cookie never travels otherwise.
        framed: whether a page of the same origin may show it in a frame.
        clock: the time.
    """
    app = FastAPI(title="sanitizer review", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.site = Site(store=store, policy=policy, proxy=proxy, identify=identify, secure=secure, clock=clock)
    app.add_middleware(Door, hosts=hosts, framed=framed, secure=secure)
    app.mount("/static", _Static(directory=_HERE / "static"), name="static")
    app.include_router(api.router)
    app.include_router(router)
    app.add_exception_handler(SanitizerError, _failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    return app


class _Static(StaticFiles):
    """Our own files; the browser asks each time whether they changed, which costs nothing here."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


# --- what goes wrong -----------------------------------------------------------------------------------------------------

_STATUS: tuple[tuple[type[SanitizerError], int], ...] = (
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (Overtaken, 409),
    (UsageError, 400),
    (StorageFailed, 503),
    (Busy, 503),
)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, SanitizerError)
    if isinstance(error, NoSession) and _is_page(request):
        if request.headers.get("sec-fetch-site") == "cross-site":
            # a link from elsewhere comes without our SameSite=Strict cookie; asking once more from here brings it along
            return HTMLResponse(_render("again.html.jinja", request))
        wanted = request.url.path.removeprefix(_base(request)) + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{_base(request)}/login?next={quote(wanted)}", status_code=303)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if _is_page(request):
        return HTMLResponse(_render("refused.html.jinja", request, message=error.message), status_code=status)
    return Answer(error.as_dict(), status_code=status)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return await _failed(request, UsageError(f"this request is malformed at {where or 'its body'}: {first['msg']}", subject=where))


def _is_page(request: Request) -> bool:
    return request.method == "GET" and "/api/" not in request.url.path and "text/html" in request.headers.get("accept", "")


# --- pages ---------------------------------------------------------------------------------------------------------------

router = APIRouter(default_response_class=HTMLResponse)
_Here = Annotated[Site, Depends(site)]
_Looks = Annotated[Visitor, Depends(may("look"))]


@router.get("/")
def review(request: Request, who: _Looks) -> Response:
    """Cases, their members, and why."""
    return _page("review", request, who)


@router.get("/proposals")
def proposals(request: Request, who: _Looks) -> Response:
    """What waits for a second person."""
    return _page("proposals", request, who)


@router.get("/history")
def history(request: Request, who: _Looks) -> Response:
    """Every event."""
    return _page("history", request, who)


@router.get("/people")
def accounts(request: Request, who: _Looks) -> Response:
    """Accounts, for an admin; how reviewers do, for approvers and auditors; one's own password for everybody."""
    return _page("people", request, who)


def _page(name: str, request: Request, who: Visitor) -> Response:
    return HTMLResponse(_render(f"{name}.html.jinja", request, who=who, page=name, abilities=sorted(who.account.abilities)))


def _render(template: str, request: Request, **more: Any) -> str:
    return _PAGES.get_template(template).render(base=_base(request), version=__version__, **more)


def _base(request: Request) -> str:
    """The path that the app is mounted at, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


_ENDED = "your session ended, or your role was changed: sign in again; what the page had not saved yet was not decided"


# --- coming and going ----------------------------------------------------------------------------------------------------


@router.get("/login")
def login(request: Request, here: _Here, next: str = "/", *, ended: bool = False) -> Response:  # noqa: A002 (the word that people know from such addresses)
    """The form; or straight in, where a proxy or the surrounding server vouches for who asks."""
    name = vouched(request, here)
    if name is not None:
        with here.transaction() as tx:
            account = _coming(tx, name)
            token = people.sign_in(tx, account, "host" if here.identify else "proxy")
        return _in(request, here, token, next)
    with here.reading() as view:
        passwords = people.with_password(view)
    message = _ENDED if ended else ""
    return HTMLResponse(_render("login.html.jinja", request, next=_inside(next), message=message, name="", passwords=passwords))


@router.post("/login")
def sign_in(
    request: Request,
    here: _Here,
    name: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:
    """In with name and password; wrong ones cost time."""
    vouched(request, here)
    name, address = name.strip().lower(), request.client.host if request.client else ""
    wait = here.throttle.wait(name, address)
    if wait > 0:
        return _again(request, name, next, f"too many wrong passwords: wait {math.ceil(wait)} seconds, then try again", 429)
    with here.reading() as view:
        account = people.known(view, name, password)
    if account is None:
        if here.throttle.wrong(name, address):
            _tell_of_guessing(here, name, address)
        return _again(request, name, next, "this name and password do not belong together", 401)
    here.throttle.right(name, address)
    with here.transaction() as tx:
        token = people.sign_in(tx, _coming(tx, name), "password")
    return _in(request, here, token, next)


@router.get("/enter")
def enter(request: Request, here: _Here, token: str = "") -> Response:
    """In by the one-time link that the process printed when it started, while nobody has a password."""
    name = here.links.pop(token, None)
    if name is None:
        raise NotAllowed("this link was used already, or is of another start: sign in, or start `sanitizer review` again")
    with here.transaction() as tx:
        if people.with_password(tx):
            raise NotAllowed("there are accounts with passwords now: sign in with yours")
        if people.find(tx, name) is None:
            people.add(tx, name, "approver", actor=name)
        session = people.sign_in(tx, _coming(tx, name), "link")
    return _in(request, here, session, "/")


@router.post("/api/sign-out")
def sign_out(request: Request, here: _Here, who: Annotated[Visitor, Depends(visitor)]) -> Response:
    """Out: the session ends here, not only in this browser."""
    with here.transaction() as tx:
        people.sign_out(tx, request.cookies.get(COOKIE, ""))
        tx.record("review.signed-out", who.account.name, {}, actor=who.account.name)
    answer = Answer({"ok": True})
    answer.delete_cookie(COOKIE, path=_base(request) or "/")
    return answer


def _coming(tx: Transaction, name: str) -> people.Account:
    account = people.find(tx, name.lower())
    if account is None or not account.active:
        raise NotAllowed(f"{name} has no account here: an admin can make one", subject=name)
    return account


def _in(request: Request, here: Site, token: str, wanted: str) -> Response:
    answer = RedirectResponse(f"{_base(request)}{_inside(wanted)}", status_code=303)
    seconds = int(people.SESSION.total_seconds())
    answer.set_cookie(COOKIE, token, max_age=seconds, path=_base(request) or "/", httponly=True, samesite="strict", secure=here.secure)
    return answer


def _again(request: Request, name: str, wanted: str, message: str, status: int) -> Response:
    page = _render("login.html.jinja", request, next=_inside(wanted), message=message, name=name, passwords=True)
    return HTMLResponse(page, status_code=status)


def _tell_of_guessing(here: Site, name: str, address: str) -> None:
    _log.warning("wrong passwords for %r from %s: made to wait", name, address)
    with here.transaction() as tx:
        if people.find(tx, name) is not None:  # names that nobody has could fill the ledger
            tx.record("review.guessed", name, {"from": address}, actor="sanitizer")


def _inside(wanted: str) -> str:
    """A path of this app, whatever was wanted.

    >>> _inside("/history?after=3"), _inside("//evil.example/"), _inside("https://evil.example/"), _inside("/\\\\evil.example")
    ('/history?after=3', '/', '/', '/')
    """
    parts = urlsplit(wanted)
    plain = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if plain and not parts.scheme and not parts.netloc else "/"
