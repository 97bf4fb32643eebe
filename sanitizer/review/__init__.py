"""The review app: held samples by case, decided by people, every decision an event; and the demo that fills a workspace for it."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sanitizer.errors import MissingExtra, NotAllowed, UsageError

if TYPE_CHECKING:
    from sanitizer.review.visitor import TrustedProxy
    from sanitizer.store import Store

__all__ = ["fill", "owner", "serve", "state", "trusted_proxy"]

PORT = 8765
SHORTEST_SECRET = 24


def serve(
    workspace: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    names: Sequence[str] = (),
    proxy: TrustedProxy | None = None,
    secure: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serves the review of a workspace until it is interrupted.

    The state is opened without any key: what people decide is in the ledger at once, and signed with the next checkpoint of the line.
    While nobody has a password, a one-time link lets in whoever started the process, by the name of the operating system.

    Args:
        workspace: the folder with `sanitizer.toml`.
        host: the address to listen at; any but the machine's own needs accounts with passwords, or a proxy that signs people in.
        port: the port; 0 takes a free one.
        names: host names under which people reach it, beside the address itself.
        proxy: a reverse proxy that signs people in.
        secure: whether people reach it by https, so that the session cookie is never sent otherwise.
        announce: called once with the address to open, when the app listens.

    Raises:
        NotAllowed: other machines could reach it, and anybody could come in.
        UsageError: the address cannot be used.
        MissingExtra: the extra `review` is not installed.
    """
    try:
        import uvicorn  # noqa: PLC0415 (an extra)

        from sanitizer.review.app import create_app  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("the review app needs its extra: pip install 'sanitizer[review]'", subject=str(error.name)) from error
    from sanitizer.review import people  # noqa: PLC0415
    from sanitizer.workspace import Workspace  # noqa: PLC0415

    policy = Workspace.open(workspace).policy
    with state(workspace) as store:
        with store.reading() as view:
            accounts = people.with_password(view)
        own = _is_loopback(host)
        if not own and not accounts and proxy is None:
            raise NotAllowed(
                f"{host} can be reached from other machines, and nobody has a password yet: `sanitizer users add` first", subject=host
            )
        local = ("127.0.0.1", "localhost", "::1") if own else ()
        app = create_app(store, policy, hosts=(*local, host, *names), proxy=proxy, secure=secure)
        entrance = "/"
        if not accounts and proxy is None:
            token = secrets.token_urlsafe(24)
            app.state.site.links[token] = owner()
            entrance = f"/enter?token={token}"
        with _listening(host, port) as listener:
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{listener.getsockname()[1]}{entrance}")
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,  # addresses of the one-time link and filters with sample text stay out of logs
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                limit_concurrency=256,
            )
            uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def state(workspace: Path | str) -> Iterator[Store]:
    """The state of a workspace without any key: what is written is in the ledger at once, the line signs the next checkpoint."""
    from sanitizer.store import Store  # noqa: PLC0415
    from sanitizer.workspace import Workspace  # noqa: PLC0415

    ws = Workspace.open(workspace)
    with Store.open(ws.policy.store.url, ws.root, origin=f"sanitizer/{ws.policy.dataset}") as store:
        yield store


def trusted_proxy(addresses: Sequence[str], secret: Path | None, header: str = "X-Forwarded-User") -> TrustedProxy | None:
    """The reverse proxy at `addresses` with the secret in a file; None when no address is given.  Raises `UsageError` for half of one."""
    from sanitizer.review.visitor import TrustedProxy  # noqa: PLC0415

    if not addresses and secret is None:
        return None
    if not addresses or secret is None:
        raise UsageError("a trusted proxy needs both its address (--proxy) and a secret that it sends (--proxy-secret FILE)")
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise UsageError(f"{address!r} is no address of a proxy: give a number, such as 127.0.0.1", subject=address) from error
    try:
        word = secret.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the secret of the proxy from {secret}: {error}", subject=str(secret)) from error
    if len(word) < SHORTEST_SECRET:
        raise UsageError(f"the secret in {secret} has fewer than {SHORTEST_SECRET} characters: take 32 random ones", subject=str(secret))
    return TrustedProxy(frozenset(addresses), word, header)


def fill(workspace: Path | str) -> int:
    """Fills a workspace (made when it is not there) with 500 held samples of every modality; returns how many wait.  Again: no change."""
    from sanitizer import bootstrap  # noqa: PLC0415
    from sanitizer.review import demo  # noqa: PLC0415
    from sanitizer.workspace import POLICY_FILE, Workspace  # noqa: PLC0415

    root = Path(workspace)
    if not (root / POLICY_FILE).exists():
        root.mkdir(parents=True, exist_ok=True)
        bootstrap.init(root, dataset="signs", label="sign")
    with Workspace.open(root).store() as store:
        return demo.fill(store)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise UsageError(f"{host!r} is no address to listen at: give a number, such as 127.0.0.1", subject=host) from error


def owner() -> str:
    """The account name of whoever runs this process; what the environment says about it proves nothing."""
    name = re.sub(r"[^a-z0-9._@-]", "-", pwd.getpwuid(os.getuid()).pw_name.lower())[:64]
    return name if name[:1].isalnum() else f"u{name}"[:64]


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)  # whoever opens the address at once waits until the app is ready, instead of being turned away
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"cannot listen at {host}:{port}: {error}; choose another port with --port", subject=f"{host}:{port}") from error
    return listener
