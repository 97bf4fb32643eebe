"""People: accounts with one role each, passwords as argon2id, sessions whose token only the browser knows.

    viewer     looks
    reviewer   looks, decides (what the policy wants two people for stays proposed)
    approver   as a reviewer, and agrees with what others proposed, sees how reviewers do, exports
    auditor    looks, sees how reviewers do, exports; decides nothing
    admin      makes and changes accounts; decides nothing, so that nobody can both make a second person and be the first

Every change of an account is a ledger entry.  What a role may do is looked up at each request, in the transaction that acts.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update

from sanitizer.errors import MissingExtra, NotAllowed, UsageError
from sanitizer.store.tables import accounts, sessions
from sanitizer.store.transaction import Reader, Transaction

try:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError
except ImportError as error:
    raise MissingExtra("accounts need the extra review: pip install 'sanitizer[review]'", subject="argon2-cffi") from error

ROLES: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({"look"}),
    "reviewer": frozenset({"look", "decide"}),
    "approver": frozenset({"look", "decide", "approve", "measure", "export"}),
    "auditor": frozenset({"look", "measure", "export"}),
    "admin": frozenset({"look", "people"}),
}
SHORTEST = 12  # characters of a password (NIST SP 800-63B rev. 4: at least 8 beside a second factor, 15 alone; length is all that counts)
LONGEST = 200  # argon2 would hash a novel as well
SESSION = timedelta(hours=12)  # a working day; a new one begins with the password

# lower case and ASCII: two names that look alike to a person are the same name
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHER = PasswordHasher()  # RFC 9106, low-memory profile: argon2id, 64 MiB, three passes
_ONE_AT_A_TIME = Lock()  # forty logins at once would ask for 2.5 GiB
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c2FuaXRpemVyc2FuaXRpemVy$DCKEdfNQ5IfsUtDBBU4hGd1OE9FXNg5Aq6tLFb0aQ8c"


@dataclass(frozen=True)
class Account:
    """One person.  `sources` are the suppliers and annotators this person is, or works for; a person without password comes another way."""

    name: str
    role: str
    sources: tuple[str, ...]
    active: bool
    has_password: bool
    at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> Account:
        """From a row of the table."""
        return cls(row["name"], row["role"], tuple(row["sources"]), row["active"], row["password"] is not None, row["at"])

    @property
    def abilities(self) -> frozenset[str]:
        """What this person may do."""
        return ROLES[self.role] if self.active else frozenset()

    @property
    def identities(self) -> frozenset[str]:
        """Every name under which this person could have supplied a sample, in one spelling."""
        return frozenset(spelled(name) for name in (self.name, *self.sources))

    def must(self, ability: str) -> None:
        """Raises `NotAllowed` unless the role has this ability."""
        if ability not in self.abilities:
            who = f"{self.name} is {self.role}" if self.active else f"the account {self.name} is closed"
            raise NotAllowed(f"{who}: to {_WORDS[ability]} needs the role {' or '.join(r for r, a in ROLES.items() if ability in a)}")


_WORDS = {
    "look": "look at held samples",
    "decide": "decide",
    "approve": "agree with what others proposed",
    "measure": "see how reviewers do",
    "export": "export",
    "people": "change accounts",
}


@dataclass(frozen=True)
class Session:
    """A browser that somebody signed in from; `via` is `password`, `link`, `proxy` or `host`."""

    account: Account
    csrf: str
    via: str
    expires_at: datetime


def spelled(name: str) -> str:
    """A name in one spelling, for comparison.

    >>> spelled(" Ann ") == spelled("ann")
    True
    """
    return " ".join(name.split()).casefold()


def add(
    tx: Transaction, name: str, role: str, *, password: str | None = None, sources: Sequence[str] = (), actor: str = "sanitizer"
) -> Account:
    """A new account; raises `UsageError` when the name is taken or malformed, the role unknown or the password weak."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no account name: lower-case letters, digits, . _ @ -, at most 64", subject=name)
    if tx.one(select(accounts.c.name).where(accounts.c.name == name)) is not None:
        raise UsageError(f"there is an account {name} already: change it, or choose another name", subject=name)
    values = {"role": _role(role), "password": _hashed(password, name), "sources": _sources(sources), "active": True}
    tx.execute(insert(accounts), {"name": name, "at": tx.now, **values})
    return _told(tx, name, actor, "made")


def change(
    tx: Transaction,
    name: str,
    *,
    actor: str,
    role: str | None = None,
    password: str | None = None,
    sources: Sequence[str] | None = None,
    active: bool | None = None,
) -> Account:
    """Changes what is given.  A new role, password or closing ends every session of the account at once."""
    before = get(tx, name)
    values: dict[str, Any] = {"role": role and _role(role), "password": _hashed(password, name), "active": active}
    values["sources"] = None if sources is None else _sources(sources)
    values = {key: value for key, value in values.items() if value is not None}
    if not values:
        raise UsageError(f"nothing was asked to change about {name}", subject=name)
    left_admin = before.role == "admin" and (role not in (None, "admin") or active is False)
    if left_admin and not any(a.role == "admin" and a.active and a.name != name for a in listed(tx)):
        raise UsageError(f"{name} is the last admin: make another one first", subject=name)
    tx.execute(update(accounts).where(accounts.c.name == name).values(**values))
    if values.keys() & {"role", "password", "active"}:
        tx.execute(delete(sessions).where(sessions.c.account == name))
    return _told(tx, name, actor, "changed", password_changed="password" in values)


def find(view: Reader, name: str) -> Account | None:
    """An account, or None."""
    row = view.one(select(accounts).where(accounts.c.name == name))
    return None if row is None else Account.of(row)


def get(view: Reader, name: str) -> Account:
    """An account; raises `UsageError` when there is none of that name."""
    found = find(view, name)
    if found is None:
        raise UsageError(f"there is no account {name}", subject=name)
    return found


def listed(view: Reader) -> list[Account]:
    """All accounts by name."""
    return [Account.of(row) for row in view.rows(select(accounts).order_by(accounts.c.name))]


def with_password(view: Reader) -> bool:
    """Whether anybody could sign in with a password."""
    return view.one(select(accounts.c.name).where(accounts.c.password.is_not(None), accounts.c.active).limit(1)) is not None


def known(view: Reader, name: str, password: str) -> Account | None:
    """The active account of that name and password, or None; an unknown name takes as long as a wrong password."""
    row = view.one(select(accounts).where(accounts.c.name == name))
    stored = _NOBODY if row is None or row["password"] is None else row["password"]
    with _ONE_AT_A_TIME:
        try:
            _HASHER.verify(stored, password[: LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return None
    account = None if row is None else Account.of(row)
    return account if account is not None and account.has_password and account.active else None


# --- sessions -------------------------------------------------------------------------------------------------------------


def sign_in(tx: Transaction, account: Account, via: str) -> str:
    """Opens a session and returns its token; only a digest of it is kept."""
    token = secrets.token_urlsafe(32)
    tx.execute(delete(sessions).where(sessions.c.expires_at <= tx.now))
    row = {"digest": _digest(token), "account": account.name, "csrf": secrets.token_urlsafe(32), "via": via}
    tx.execute(insert(sessions), row | {"opened_at": tx.now, "expires_at": tx.now + SESSION})
    tx.record("review.signed-in", account.name, {"role": account.role, "via": via}, actor=account.name)
    return token


def session(view: Reader, token: str) -> Session | None:
    """The session of a token, with the account as it is now; None when it ended or the account is closed."""
    query = select(sessions, accounts).join(accounts, accounts.c.name == sessions.c.account)
    row = view.one(query.where(sessions.c.digest == _digest(token), sessions.c.expires_at > view.now, accounts.c.active))
    return None if row is None else Session(Account.of(row), row["csrf"], row["via"], row["expires_at"])


def sign_out(tx: Transaction, token: str) -> None:
    """Ends a session."""
    tx.execute(delete(sessions).where(sessions.c.digest == _digest(token)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _told(tx: Transaction, name: str, actor: str, what: str, **more: Any) -> Account:
    account = get(tx, name)
    facts = {"what": what, "role": account.role, "sources": list(account.sources), "active": account.active, **more}
    tx.record("review.account", name, facts, actor=actor)
    return account


def _role(role: str) -> str:
    if role not in ROLES:
        raise UsageError(f"{role!r} is no role: {', '.join(ROLES)}", subject=role)
    return role


def _sources(sources: Sequence[str]) -> list[str]:
    return sorted({name.strip() for name in sources if name.strip()})


def _hashed(password: str | None, name: str) -> str | None:
    if password is None:
        return None
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters: take four words that nobody would put together", subject=name)
    if len(set(password)) < 5 or len(password.casefold().replace(name, "")) < SHORTEST:
        raise UsageError("this password is too easy to guess: take four words that nobody would put together", subject=name)
    with _ONE_AT_A_TIME:
        return _HASHER.hash(password)
