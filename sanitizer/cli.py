"""The command line: one verb per stage, the same words as the library.  The only file that prints."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import click

import sanitizer
from sanitizer.errors import Held, SanitizerError, UsageError, printable, worst

_log = logging.getLogger(__name__)
_PATH = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)
_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


def _format(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)(command)


def _workspace(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-w",
        "--workspace",
        type=_FOLDER,
        default=".",
        envvar="SANITIZER_WORKSPACE",
        show_default=True,
        help="folder that holds sanitizer.toml",
    )(command)


def _say(form: str, text: str, facts: dict[str, Any]) -> None:
    click.echo(json.dumps({"ok": True, **facts}, sort_keys=True, default=str) if form == "json" else text)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(sanitizer.__version__, prog_name="sanitizer")
@click.option("--debug", is_flag=True, help="log what is done to stderr; show tracebacks")
def cli(*, debug: bool) -> None:
    """Stands between incoming data and training: verify, gate, judge, quarantine, review, publish.

    Exit codes: 0 clean, 1 findings, 2 usage, 3 refused, 4 waits for a person, 5 internal error.
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


# --- a workspace and its keys --------------------------------------------------------------------------------------------


@cli.command()
@click.argument("folder", type=_FOLDER)
@click.option("--dataset", default="data", show_default=True, help="name of the data set and its releases")
@click.option("--label", help="name of the label column")
@_format
def init(folder: Path, dataset: str, label: str | None, form: str) -> None:
    """Make a workspace: commented sanitizer.toml, inbox, trust root, first keys."""
    from sanitizer import bootstrap

    workspace = bootstrap.init(folder, dataset=dataset, label=label)
    then = "edit sanitizer.toml and `sanitizer trust sign-policy`, then `sanitizer trust add-source`"
    _say(form, f"workspace {workspace.root}: {then}", {"workspace": str(workspace.root)})


@cli.group()
def keys() -> None:
    """Key pairs of suppliers, releases and the ledger."""


@keys.command("new")
@click.argument("name")
@click.option("--type", "scheme", type=click.Choice(["ed25519", "ecdsa"]), default="ed25519", show_default=True)
@click.option("--into", type=_FOLDER, default="keys", show_default=True, help="folder for NAME.pem and NAME.pub.pem")
@_format
def keys_new(name: str, scheme: str, into: Path, form: str) -> None:
    """Make a key pair; the private half is readable by its owner only."""
    from sanitizer.provenance.keys import new_key, public_path

    private = into / f"{name}.pem"
    key = new_key(private, scheme)
    public = public_path(private)
    _say(
        form,
        f"{private}, and {public} to hand out; key id {key.keyid}",
        {"private": str(private), "public": str(public), "keyid": key.keyid},
    )


@cli.group()
def trust() -> None:
    """The trust root: who may sign for which source, and which keys sign releases (TUF metadata)."""


def _owners(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--owner", "owners", multiple=True, help="signer URI of an owner; default: the key that `init` made")(command)


@trust.command("init")
@click.argument("directory", type=_FOLDER)
@click.option("--owner", "owners", multiple=True, required=True, help="signer URI of an owner; repeat for several")
@click.option("--threshold", type=int, default=1, show_default=True, help="how many owners must sign a change")
@click.option("--release", type=_FILE, required=True, help="public key file of the releases (ECDSA P-256)")
@click.option("--ledger", type=_FILE, help="public key file of the ledger's checkpoints")
@click.option("--policy", type=_FILE, help="sanitizer.toml, which nobody can change alone then")
@_format
def trust_init(
    directory: Path, owners: tuple[str, ...], threshold: int, release: Path, ledger: Path | None, policy: Path | None, form: str
) -> None:
    """Make a trust root in DIRECTORY, for owners who keep their keys elsewhere; `init` makes one for a workspace."""
    from sanitizer.provenance import keys, trust_edit

    trust_edit.init(
        directory,
        owners=[keys.signer(uri, base=Path.cwd()) for uri in owners],
        threshold=threshold,
        release=keys.public_key(release),
        ledger=None if ledger is None else keys.public_key(ledger),
        policy=None if policy is None else policy.read_bytes(),
        now=datetime.now(UTC),
    )
    _say(form, f"{directory}: a trust root; hand out {directory / '1.root.json'} by another way than the data", {"trust": str(directory)})


@trust.command("add-source")
@click.argument("name")
@click.argument("public", type=_FILE, nargs=-1)
@click.option("--threshold", type=int, default=1, show_default=True, help="how many of the keys must sign each delivery")
@click.option("--expires", type=_DAY, help="after it nothing of this source is accepted; default: as long as the trust root is renewed")
@click.option("--tuf-root", type=_FILE, help="root.json of the source's own TUF repository, got by a safe way; then no key is needed")
@_owners
@_workspace
@_format
def trust_add_source(
    name: str,
    public: tuple[Path, ...],
    threshold: int,
    expires: datetime | None,
    tuf_root: Path | None,
    owners: tuple[str, ...],
    workspace: Path,
    form: str,
) -> None:
    """Let the keys in the PUBLIC files sign deliveries of the source NAME."""
    from sanitizer import bootstrap

    until = None if expires is None else expires.replace(tzinfo=UTC)
    bootstrap.add_source(workspace, name, public, threshold=threshold, expires=until, tuf_root=tuf_root, uris=owners)
    _say(form, f"{name} may deliver now, into inbox/{name}/<delivery>/", {"source": name})


@trust.command("rotate")
@click.argument("role")
@click.option("--add", type=_PATH, multiple=True, help="public key file that may sign from now on")
@click.option("--remove", multiple=True, help="key id that may not any more")
@click.option("--threshold", type=int)
@_owners
@_workspace
@_format
def trust_rotate(
    role: str, add: tuple[Path, ...], remove: tuple[str, ...], threshold: int | None, owners: tuple[str, ...], workspace: Path, form: str
) -> None:
    """Change the keys of ROLE (owners, release, ledger or a source); without a change it renews the trust root."""
    from sanitizer import bootstrap

    bootstrap.rotate(workspace, role, add=add, remove=remove, threshold=threshold, uris=owners)
    _say(form, f"{role}: changed, the trust root is renewed", {"role": role})


@trust.command("revoke")
@click.argument("kind", type=click.Choice(["key", "source", "delivery", "release"]))
@click.argument("name")
@click.option("--reason", required=True)
@_owners
@_workspace
@_format
def trust_revoke(kind: str, name: str, reason: str, owners: tuple[str, ...], workspace: Path, form: str) -> None:
    """Withdraw trust, at once and for good, from a key (by its id), a source, a delivery or a release (by their digests)."""
    from sanitizer import bootstrap

    bootstrap.revoke(workspace, kind, name, reason=reason, uris=owners)
    _say(form, f"{kind} {name}: revoked", {"kind": kind, "name": name})


@trust.command("sign-policy")
@_owners
@_workspace
@_format
def trust_sign_policy(owners: tuple[str, ...], workspace: Path, form: str) -> None:
    """Put the edited sanitizer.toml in force."""
    from sanitizer import bootstrap

    bootstrap.sign_policy(workspace, uris=owners)
    _say(form, "the policy is signed", {})


@trust.command("show")
@click.argument("directory", type=_FOLDER, required=False)
@_workspace
@_format
def trust_show(directory: Path | None, workspace: Path, form: str) -> None:
    """Who may sign for what, by the trust root in DIRECTORY (none: that of the workspace)."""
    from sanitizer.provenance import trust_edit
    from sanitizer.provenance.trust import TrustRoot

    shown = trust_edit.show(TrustRoot.load(directory or sanitizer.Workspace.open(workspace).trust, now=datetime.now(UTC)))
    _say(form, json.dumps(shown, indent=2), shown)


@trust.command("lint")
@click.argument("directory", type=_FOLDER, required=False)
@_workspace
@_format
def trust_lint(directory: Path | None, workspace: Path, form: str) -> int:
    """What is wrong with the trust root in DIRECTORY (none: that of the workspace), or will be soon; exit 2 where something is."""
    from sanitizer.provenance import trust_edit

    found = trust_edit.lint(directory or sanitizer.Workspace.open(workspace).trust, now=datetime.now(UTC))
    lines = [f"{p.level}: {p.where}: {printable(p.message)}" for p in found] or ["nothing to say against it"]
    wrong = any(p.level == "error" for p in found)
    _say(form, "\n".join(lines), {"ok": not wrong, "problems": [asdict(p) for p in found]})
    return UsageError.exit_code if wrong else 0


# --- suppliers -----------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("directory", type=_FOLDER)
@click.option("--source", required=True, help="who delivers, as the trust root knows them")
@click.option("--key", "uris", multiple=True, required=True, help="signer URI, such as file:keys/lab.pem; repeat for a threshold")
@click.option("--sequence", type=int, help="number of this delivery, above the last; default: seconds since 1970")
@click.option("--expires", type=_DAY, help="default: 30 days from now")
@click.option(
    "--schema", "pinned", type=_FILE, help="schema.json of the receiver: the rows are read by it, and signed as well as the bytes"
)
@click.option("--add-signature", is_flag=True, help="sign a delivery that somebody else signed already")
@_format
def deliver(
    directory: Path,
    source: str,
    uris: tuple[str, ...],
    sequence: int | None,
    expires: datetime | None,
    pinned: Path | None,
    *,
    add_signature: bool,
    form: str,
) -> None:
    """Sign the files in DIRECTORY as a delivery: writes delivery.dsse.json, last and by rename."""
    from sanitizer.provenance import delivery, keys

    signers = [keys.signer(uri, base=Path.cwd()) for uri in uris]
    if add_signature:
        manifest = delivery.add_signature(directory, signers)
    else:
        now = datetime.now(UTC)
        end = now + timedelta(days=30) if expires is None else expires.replace(tzinfo=UTC)
        number = int(now.timestamp()) if sequence is None else sequence
        rows = {} if pinned is None else _rows(directory, pinned)
        manifest = delivery.deliver(directory, source=source, signers=signers, sequence=number, issued=now, expires=end, **rows)
    _say(form, f"{manifest}: signed", {"manifest": str(manifest)})


def _rows(directory: Path, pinned: Path) -> dict[str, str]:
    """Schema id and root over the rows of what is to be delivered."""
    from sanitizer import samples
    from sanitizer.samples.proof import rows_root

    try:
        schema = samples.Schema.from_json(json.loads(pinned.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UsageError(f"{pinned} is not a schema: {error}", subject=str(pinned)) from error
    rows = samples.read_path(directory, label=schema.label, source=schema.source, schema=schema)
    return {"schema_id": schema.id, "rows_root": rows_root(rows.row_digests)}


# --- detectors without a workspace ---------------------------------------------------------------------------------------


@cli.command()
@click.argument("data", type=_PATH)
@click.option("--trusted", type=_PATH, help="an earlier release of the same schema; none: a cold start")
@click.option("--label", help="name of the label column")
@click.option("--source", help="column that names the supplier or annotator")
@click.option("--modality", type=click.Choice(["tabular", "text", "image", "embedding", "ratings"]), help="default: inferred")
@click.option("--html", type=_PATH, help="write the HTML report here")
@click.option("--fail-on", type=click.FloatRange(0, 1), help="exit 1 only from this share of quarantined samples on")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "junit"]), default="text", show_default=True)
def scan(
    data: Path,
    trusted: Path | None,
    label: str | None,
    source: str | None,
    modality: str | None,
    html: Path | None,
    fail_on: float | None,
    form: str,
) -> int:
    """Judge DATA (CSV, JSONL, Parquet, Arrow, npz) with the detectors only; no workspace, nothing that a release would take."""
    found = sanitizer.scan(data, label=label, trusted=trusted, source=source, modality=modality)
    from sanitizer import report

    if html is not None:
        found.to_html(html)
    if form in ("sarif", "junit"):
        click.echo((report.sarif if form == "sarif" else report.junit)(found.facts(name=data.name)))
    else:
        _say(form, str(found), found.facts())
    if found.held:
        return Held.exit_code
    share = found.judged.quarantined / max(1, len(found.verdicts))
    return int(share > 0 if fail_on is None else share >= fail_on)


# --- the line ------------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("data", type=_PATH)
@click.option("--reason", required=True, help="why these data are trusted; signed, and in the ledger")
@_workspace
@_format
def baseline(data: Path, reason: str, workspace: Path, form: str) -> None:
    """Make existing data the first trusted release, signed as an assertion of who ran this."""
    from sanitizer import bootstrap

    path = bootstrap.baseline(workspace, data, reason=reason)
    _say(form, f"{path}: the first trusted release", {"release": path})


@cli.group(name="expectations")
def expectations_() -> None:
    """The Great Expectations gate."""


@expectations_.command("draft")
@click.option("--to", type=_PATH, help="file to write; default: the suite of the policy")
@_workspace
@_format
def expectations_draft(to: Path | None, workspace: Path, form: str) -> None:
    """Draft a suite from the newest release, for you to edit."""
    from sanitizer import bootstrap

    path = bootstrap.draft_suite(workspace, to)
    _say(form, f"{path}: edit it, it is yours", {"suite": str(path)})


@cli.command()
@click.argument("deliveries", nargs=-1)
@_workspace
@_format
def run(deliveries: tuple[str, ...], workspace: Path, form: str) -> int:
    """The whole line for the inbox, or for the named DELIVERIES (source/name)."""
    outcomes = sanitizer.pipeline.run(workspace, list(deliveries) or None)
    lines = [_outcome_line(o) for o in outcomes] or ["nothing new in the inbox"]
    _say(form, "\n".join(lines), {"deliveries": [o.as_dict() for o in outcomes]})
    return worst([o.exit_code for o in outcomes])


def _outcome_line(outcome: Any) -> str:
    if outcome.error is not None:
        return f"{outcome.delivery}: {outcome.state}: {outcome.error.code}: {outcome.error.message}"
    return f"{outcome.delivery}: {outcome.state}" + (f", {outcome.quarantined} samples wait in quarantine" if outcome.quarantined else "")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--trust", type=_PATH, required=True, help="trust root that says who may sign for whom")
@click.option("--source", help="who is said to have delivered it; default: whom its manifest names")
@click.option("--level", type=click.Choice(["L0", "L1", "L2", "L3"]), default="L2", show_default=True, help="least level to be proven")
@click.option("--state", type=_PATH, help="the workspace's state.db; without it a replay or an older trust root goes unnoticed")
@_format
def verify(directory: Path, trust: Path, source: str | None, level: str, state: Path | None, form: str) -> None:
    """Provenance only: is the delivery in DIRECTORY what its signers signed?  Keeps nothing."""
    from sanitizer.provenance import delivery
    from sanitizer.provenance.trust import FileTrustState, TrustRoot

    now = datetime.now(UTC)
    offered = delivery.Delivery(directory, source, level) if source is not None else delivery.Delivery.at(directory, least_level=level)
    root = TrustRoot.load(trust, now=now, state=None if state is None else FileTrustState(state.parent / "trust-seen.json"))
    with ExitStack() as opened:
        history = delivery.NoHistory() if state is None else opened.enter_context(_state(state))
        found = delivery.check(offered, root, history, now=now, least_level=level)
    files, signers = len(found.manifest.files), ", ".join(found.signers) or "nobody"
    number = "" if found.sequence is None else f", sequence {found.sequence}"
    text = f"{directory}: {files} files of {found.source}{number}, level {found.level}, signed by {signers}"
    _say(form, text, found.to_json())


def _state(path: Path) -> Any:
    from sanitizer.store import Store

    if not path.is_file():
        raise UsageError(f"there is no state at {path}", subject=str(path))
    return Store.open(f"sqlite:///{path.absolute()}", path.parent)


@cli.command()
@_workspace
@_format
def publish(workspace: Path, form: str) -> None:
    """The next release from what is accepted and decided."""
    path = sanitizer.pipeline.publish(workspace)
    _say(form, path, {"release": path})


@cli.command()
@click.argument("path", type=_FOLDER)
@click.option("--trust", type=_PATH, required=True, help="a root that came another way than the release")
@click.option("--state", type=_PATH, help="file that remembers the newest release seen, so that an older one is refused")
@_format
def gate(path: Path, trust: Path, state: Path | None, form: str) -> None:
    """Exit 0 only if the release verifies, is current and not revoked; for CI and training scripts."""
    from sanitizer.release.gate import verify_release

    found = verify_release(path, trust, state=state)
    facts = {"path": str(found.path), "dataset": found.dataset, "version": found.version, "digest": found.digest, "samples": found.samples}
    _say(form, f"{found.path}: release {found.version} of {found.dataset} verifies, {found.samples:,} samples", facts)


# --- what became of a sample ---------------------------------------------------------------------------------------------


@cli.command()
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH)
@click.option("--trust", type=_PATH, help="trust root, where BEFORE or AFTER is a release")
@click.option("--label", help="label column, where BEFORE is no release")
@click.option(
    "--key", "keys_", multiple=True, help="column that names a sample, so that a change is told from an addition; repeat for several"
)
@click.option("--limit", type=int, default=10, show_default=True, help="sample ids listed of each kind")
@_format
def diff(before: Path, after: Path, trust: Path | None, label: str | None, keys_: tuple[str, ...], limit: int, form: str) -> int:
    """Which samples were added, removed, changed or relabelled, in any row order: files, folders or releases; exit 1 if any were."""
    from sanitizer import samples

    first = _side(before, trust, label, None)
    second = _side(after, trust, label, first.schema)
    found = samples.diff(first, second, key=keys_ or None)
    ids = {
        "added": [second.sample_ids[i] for i in found.added[:limit]],
        "removed": [first.sample_ids[i] for i in found.removed[:limit]],
        "changed": [[first.sample_ids[i], second.sample_ids[j]] for i, j in found.changed[:limit]],
        "relabelled": [[first.sample_ids[i], second.sample_ids[j]] for i, j in found.relabelled[:limit]],
    }
    lines = [f"{name}: {number:,}" for name, number in found.counts.items()]
    lines += [f"  {name} {' -> '.join([i] if isinstance(i, str) else i)}" for name, some in ids.items() for i in some]
    _say(form, "\n".join(lines), {"counts": found.counts, "samples": ids})
    return int(bool(found))


def _side(path: Path, trust: Path | None, label: str | None, schema: Any) -> Any:
    """The samples of a release, which is verified, or of files."""
    from sanitizer import samples

    if (path / "provenance.intoto.json").is_file() or (path / "latest").is_file():
        with sanitizer.open_release(path, trust=trust) as opened:
            rows = opened.samples()
            return rows if schema is None else samples.align(rows, to=schema)[0]
    if not path.exists():
        raise UsageError(f"there is nothing at {path}", subject=str(path))
    if schema is not None:
        return samples.read_path(path, label=schema.label, source=schema.source, schema=schema)
    return samples.read_path(path, label=label)


@cli.command()
@click.argument("name")
@_workspace
@_format
def trace(name: str, workspace: Path, form: str) -> None:
    """Which releases hold NAME: a sample (id or row digest), a source, a key id, or a delivery (digest or source/name)."""
    from sanitizer import lineage

    found = lineage.trace(workspace, name)
    lines = [f"{found.kind} {name}: in {len(found.releases)} releases"]
    lines += [
        f"  release {h.version}: {h.samples:,} samples, from {', '.join(h.deliveries)}"
        + (f"; revoked, {printable(h.revoked)}" if h.revoked else "")
        for h in found.releases
    ]
    lines += [f"  delivery {printable(d['path'])}: {d['state']}, {d['digest']}" for d in found.deliveries]
    lines += [f"  quarantine {k['id']}: {k['state']}, {k['cause']}" for k in found.quarantine]
    _say(form, "\n".join(lines), found.to_json())


@cli.command()
@click.argument("sample", required=False)
@click.option("--release", type=_FOLDER, help="default: the newest release of the workspace")
@click.option("--trust", type=_PATH, help="default: the trust root of the workspace")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="write the proof to this file")
@click.option("--check", type=_FILE, help="check the proof in this file instead; needs no release")
@_workspace
@_format
def prove(
    sample: str | None, release: Path | None, trust: Path | None, to: Path | None, check: Path | None, workspace: Path, form: str
) -> None:
    """The proof that a release holds SAMPLE (its id), for somebody who has neither the release nor its data."""
    from sanitizer import lineage

    if (sample is None) == (check is None):
        raise UsageError("name a sample, or a proof with --check")
    root = trust or sanitizer.Workspace.open(workspace).trust
    if check is not None:
        proven = lineage.check_proof(check.read_bytes(), root)
        _say(form, f"{proven['sample']} is row {proven['row']} of release {proven['version']} of {proven['dataset']}", proven)
        return
    made = lineage.prove_sample(release or _newest(workspace), str(sample), root)
    if to is not None:
        to.write_text(json.dumps(made, sort_keys=True), encoding="utf-8")
    text = f"{made['sample']} is in release {made['version']} of {made['dataset']}, under {made['rows_root']}"
    _say(form, text if to is None else f"{text}; proof in {to}", made)


def _newest(workspace: Path) -> Path:
    opened = sanitizer.Workspace.open(workspace)
    return opened.releases / opened.policy.dataset


@cli.command()
@click.argument("release", type=_FOLDER, required=False)
@click.option("--trust", type=_PATH, help="default: the trust root of the workspace")
@_workspace
def bom(release: Path | None, trust: Path | None, workspace: Path) -> None:
    """Print the bill of materials (CycloneDX 1.6) of RELEASE, verified; none named: the newest of the workspace."""
    from sanitizer import lineage

    found = lineage.bill(release or _newest(workspace), trust or sanitizer.Workspace.open(workspace).trust)
    click.echo(found.decode(), nl=False)


@cli.command()
@click.argument("kind", type=click.Choice(["source", "delivery", "release", "key"]))
@click.argument("name")
@click.option("--reason", required=True, help="why; signed, in the ledger, and shown by every gate")
@_owners
@_workspace
@_format
def revoke(kind: str, name: str, reason: str, owners: tuple[str, ...], workspace: Path, form: str) -> None:
    """Recall a source, a delivery, a key or a release (its version), for good; no gate lets through what holds it."""
    from sanitizer import bootstrap

    versions = bootstrap.recall(workspace, kind, name, reason=reason, uris=owners)
    told = ", ".join(map(str, versions)) or "none"
    text = f"{kind} {name}: revoked; releases that no gate lets through any more: {told}; `sanitizer publish` makes one without it"
    _say(form, text, {"kind": kind, "name": name, "releases": versions})


@cli.command()
@click.argument("data", type=_PATH, required=False)
@click.option("--label", help="label column of DATA")
@click.option("--source", help="source column of DATA")
@click.option("--family", "families", multiple=True, help="only this attack; repeat for several; default: all that make sense")
@click.option("--rate", type=click.FloatRange(0, 0.5, min_open=True), default=0.03, show_default=True, help="share of planted samples")
@click.option("--seed", type=int, default=0, show_default=True)
@_workspace
@_format
def drill(
    data: Path | None,
    label: str | None,
    source: str | None,
    families: tuple[str, ...],
    rate: float,
    seed: int,
    workspace: Path,
    form: str,
) -> None:
    """Plant known attacks in a copy of the newest release (or of DATA that you trust), and tell what would have been caught."""
    from sanitizer import exercise

    options: dict[str, Any] = {"families": families, "rate": rate, "seed": seed}
    if data is not None:
        found = exercise.of_data(data, label=label, source=source, **options)
    else:
        found = exercise.of_workspace(workspace, **options)
    lines = [f"planted in {found['delivery']:,} rows, judged against {found['trusted']:,} others, at {rate:.1%}"]
    lines += [f"  {family:<18} {_caught(told)}" for family, told in found["attacks"].items()]
    _say(form, "\n".join(lines), found)


def _caught(told: dict[str, Any]) -> str:
    if "left_out" in told:
        return f"left out: {printable(told['left_out'])}"
    return (
        f"{told['caught']:>4} of {told['planted']:<4} {told['recall']:>4.0%} (90 % interval {told['low']:.0%} to {told['high']:.0%}), "
        f"honest rows quarantined beside them {told['honest']:.2%}"
    )


@cli.command()
@_workspace
@_format
def doctor(workspace: Path, form: str) -> int:
    """Try out whether this machine and the workspace, if there is one, are fit to work; exit 2 where something is wrong."""
    from sanitizer import doctor as examined

    found = examined.examine(workspace if (workspace / "sanitizer.toml").exists() else None)
    wrong = any(f.level == "error" for f in found)
    _say(
        form,
        "\n".join(f"{f.level:<8} {f.what:<20} {printable(f.message)}" for f in found),
        {"ok": not wrong, "findings": [asdict(f) for f in found]},
    )
    return UsageError.exit_code if wrong else 0


# --- quarantine ----------------------------------------------------------------------------------------------------------


@cli.group(name="quarantine")
def quarantine_() -> None:
    """Held samples: look, decide, undo, export."""


@quarantine_.command("ls")
@click.option("--case", "case_id", type=int, help="the samples of one case; without it, the cases")
@click.option("--state", type=click.Choice(["held", "dropped", "released", "relabelled"]), help="only these samples")
@click.option("--cause", help="only this cause")
@click.option("--limit", type=int, default=50, show_default=True)
@_workspace
@_format
def quarantine_ls(case_id: int | None, state: Any, cause: str | None, limit: int, workspace: Path, form: str) -> None:
    """List cases, riskiest first, or the samples of a case or state."""
    from sanitizer import quarantine

    with sanitizer.Workspace.open(workspace).store() as store, store.reading() as view:
        if case_id is None and state is None and cause is None:
            cases = quarantine.cases(view)
            lines = [f"{c.id:>5}  {printable(c.cause):<18} {c.held:>5} held of {c.size:<5} {printable(c.reason)}" for c in cases]
            facts: dict[str, Any] = {"cases": [asdict(c) for c in cases]}
        else:
            page = quarantine.ls(view, case_id=case_id, state=state, cause=cause, limit=limit)
            lines = [f"{h.id:>6}  {h.state:<10} {printable(h.cause):<18} {printable(h.reason)}" for h in page.samples]
            facts = {"samples": [asdict(h) for h in page.samples], "next": page.next}
    _say(form, "\n".join(lines) or "nothing is held", facts)


@quarantine_.command("show")
@click.argument("held_id", type=int)
@_workspace
@_format
def quarantine_show(held_id: int, workspace: Path, form: str) -> None:
    """Everything known about one held sample."""
    from sanitizer import quarantine

    with sanitizer.Workspace.open(workspace).store() as store, store.reading() as view:
        shown = quarantine.show(view, held_id)
    facts = asdict(shown.held) | {"case_reason": shown.case.reason, "row": shown.content.rows.to_pylist()}
    facts["history"] = [asdict(event) for event in shown.history]
    _say(form, "\n".join(f"{name + ':':<14} {printable(str(value))}" for name, value in facts.items()), facts)


@quarantine_.command("decide")
@click.argument("ids", type=int, nargs=-1)
@click.option("--case", "case_id", type=int, help="everything undecided in this case")
@click.option("--action", type=click.Choice(["drop", "release", "relabel"]), required=True)
@click.option("--label", help="the new label, with --action relabel")
@click.option("--reviewer", required=True, help="who decides")
@click.option("--reason", required=True, help="why")
@_workspace
@_format
def quarantine_decide(
    ids: tuple[int, ...], case_id: int | None, action: Any, label: str | None, reviewer: str, reason: str, workspace: Path, form: str
) -> None:
    """Drop, release or relabel held samples; what needs two people waits for `quarantine approve`."""
    from sanitizer import quarantine

    if bool(ids) == (case_id is not None):
        raise UsageError("name sample numbers, or a case with --case, not both")
    with sanitizer.Workspace.open(workspace).store() as store, store.transaction() as tx:
        policy = sanitizer.Workspace.open(workspace).policy.review
        event = quarantine.decide(
            tx, action=action, reviewer=reviewer, reason=reason, ids=list(ids) or None, case_id=case_id, label=label, policy=policy
        )
    _say(form, f"decision {event.id}: {action} {event.size} samples, {event.status}", asdict(event))


@quarantine_.command("approve")
@click.argument("event", type=int)
@click.option("--reviewer", required=True)
@click.option("--reason", required=True)
@_workspace
@_format
def quarantine_approve(event: int, reviewer: str, reason: str, workspace: Path, form: str) -> None:
    """Agree, as a second person, with a proposed decision."""
    from sanitizer import quarantine

    with sanitizer.Workspace.open(workspace).store() as store, store.transaction() as tx:
        made = quarantine.approve(tx, event, reviewer=reviewer, reason=reason)
    _say(form, f"decision {event} is now {made.status}", asdict(made))


@quarantine_.command("undo")
@click.argument("event", type=int)
@click.option("--reviewer", required=True)
@click.option("--reason", required=True)
@_workspace
@_format
def quarantine_undo(event: int, reviewer: str, reason: str, workspace: Path, form: str) -> None:
    """Take a decision back; the samples are what they were before it."""
    from sanitizer import quarantine

    with sanitizer.Workspace.open(workspace).store() as store, store.transaction() as tx:
        made = quarantine.undo(tx, event, reviewer=reviewer, reason=reason)
    _say(form, f"decision {event} is undone by {made.id}", asdict(made))


@quarantine_.command("lift")
@click.argument("delivery")
@click.option("--refuse", is_flag=True, help="turn the delivery down instead of letting it in")
@click.option("--reviewer", required=True)
@click.option("--reason", required=True)
@_workspace
@_format
def quarantine_lift(delivery: str, reviewer: str, reason: str, workspace: Path, form: str, *, refuse: bool) -> None:
    """Decide about a DELIVERY (source/name) that is held as a whole; suspicious rows of one that is let in stay in quarantine."""
    if refuse:
        sanitizer.pipeline.refuse(workspace, delivery, reviewer=reviewer, reason=reason)
    else:
        sanitizer.pipeline.lift(workspace, delivery, reviewer=reviewer, reason=reason)
    done = "refused" if refuse else "let in"
    _say(form, f"{delivery}: {done} by {reviewer}", {"delivery": delivery, "decision": done})


@quarantine_.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8"))
@click.option("--as", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@_workspace
def quarantine_export(file: Any, kind: str, workspace: Path) -> None:
    """Write all held samples to FILE (- for standard output); CSV cells are safe to open in a spreadsheet."""
    from sanitizer import quarantine

    with sanitizer.Workspace.open(workspace).store() as store, store.reading() as view:
        {"csv": quarantine.export_csv, "jsonl": quarantine.export_jsonl}[kind](view, file)


# --- review --------------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--demo", is_flag=True, help="first fill the workspace (made when it is not there) with 500 held samples of every modality")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen at; others than this machine's need accounts")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one")
@click.option("--name", "names", multiple=True, help="host name under which people reach it; repeat for more")
@click.option("--https", is_flag=True, help="people reach it by https only (a proxy in front ends it)")
@click.option("--proxy", "addresses", multiple=True, help="address of a reverse proxy that signs people in (OIDC, SAML, LDAP)")
@click.option("--proxy-secret", type=_PATH, help="file with the secret that the proxy sends in X-Sanitizer-Proxy")
@click.option("--proxy-header", default="X-Forwarded-User", show_default=True, help="header in which the proxy names who asks")
@_workspace
def review(
    host: str,
    port: int,
    names: tuple[str, ...],
    addresses: tuple[str, ...],
    proxy_secret: Path | None,
    proxy_header: str,
    workspace: Path,
    *,
    demo: bool,
    https: bool,
) -> None:
    """Serve the review of held samples to a browser, until it is interrupted."""
    from sanitizer.review import fill, serve, trusted_proxy

    proxy = trusted_proxy(addresses, proxy_secret, proxy_header)
    if demo:
        click.echo(f"{fill(workspace)} samples are held in {workspace}")

    def announce(address: str) -> None:
        click.echo(f"open {address}")
        click.echo("stop with Ctrl-C")

    serve(workspace, host=host, port=port, names=names, proxy=proxy, secure=https, announce=announce)


@cli.group()
def users() -> None:
    """Who may review: accounts, each with one role.

    viewer looks · reviewer decides · approver decides and agrees with what others proposed · auditor looks, measures and exports ·
    admin makes accounts and decides nothing
    """


_ROLES = click.Choice(["viewer", "reviewer", "approver", "auditor", "admin"])


def _password(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--password-stdin", is_flag=True, help="read the password from standard input instead of asking for it")(command)


def _ask_password(*, stdin: bool) -> str:
    """A password, never from an argument: the process list shows those to everybody."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("password", hide_input=True, confirmation_prompt=True, err=True))


def _account_line(account: Any) -> str:
    how = "password" if account.has_password else "no password"
    works = f", for {', '.join(map(printable, account.sources))}" if account.sources else ""
    return f"{account.name:<24} {account.role:<10} {'open' if account.active else 'closed':<7} {how}{works}"


@users.command("add")
@click.argument("name")
@click.option("--role", type=_ROLES, required=True)
@click.option(
    "--source", "sources", multiple=True, help="a supplier or annotator that this person is, or works for: they never decide on its samples"
)
@click.option("--no-password", is_flag=True, help="signs in by a trusted proxy or Airflow only")
@_password
@_workspace
@_format
def users_add(
    name: str, role: str, sources: tuple[str, ...], workspace: Path, form: str, *, no_password: bool, password_stdin: bool
) -> None:
    """Make an account."""
    from sanitizer.review import owner, people, state

    if no_password and password_stdin:
        raise UsageError("--no-password and --password-stdin exclude each other")
    password = None if no_password else _ask_password(stdin=password_stdin)
    with state(workspace) as store, store.transaction() as tx:
        made = people.add(tx, name, role, password=password, sources=sources, actor=owner())
    _say(form, _account_line(made), {"account": asdict(made)})


@users.command("ls")
@_workspace
@_format
def users_ls(workspace: Path, form: str) -> None:
    """List accounts."""
    from sanitizer.review import people, state

    with state(workspace) as store, store.reading() as view:
        found = people.listed(view)
    _say(form, "\n".join(map(_account_line, found)) or "nobody has an account yet", {"accounts": [asdict(one) for one in found]})


@users.command("change")
@click.argument("name")
@click.option("--role", type=_ROLES)
@click.option("--source", "sources", multiple=True, help="replaces the sources; '' for none")
@click.option("--close/--open", "closed", default=None, help="a closed account cannot sign in; its sessions end at once")
@click.option("--password", is_flag=True, help="ask for a new password")
@_password
@_workspace
@_format
def users_change(
    name: str,
    role: str | None,
    sources: tuple[str, ...],
    workspace: Path,
    form: str,
    *,
    closed: bool | None,
    password: bool,
    password_stdin: bool,
) -> None:
    """Change an account; a new role, a new password and closing end its sessions at once."""
    from sanitizer.review import owner, people, state

    word = _ask_password(stdin=password_stdin) if password or password_stdin else None
    active = None if closed is None else not closed
    with state(workspace) as store, store.transaction() as tx:
        made = people.change(tx, name, actor=owner(), role=role, password=word, sources=sources or None, active=active)
    _say(form, _account_line(made), {"account": asdict(made)})


# --- accounts ------------------------------------------------------------------------------------------------------------


@cli.command()
@_workspace
@_format
def report(workspace: Path, form: str) -> None:
    """What came, who signed it, what is held and why, what was published."""
    from sanitizer import overview

    pages = overview.write_reports(workspace)
    text = "\n".join([overview.summary(workspace), "", *(str(page) for page in pages)])
    _say(form, text, overview.summary_facts(workspace) | {"reports": [str(page) for page in pages]})


@cli.group()
def audit() -> None:
    """The ledger."""


@audit.command("verify")
@click.option(
    "--checkpoint", "notes", type=_FILE, multiple=True, help="a checkpoint that was kept elsewhere: it betrays a shortened ledger"
)
@_workspace
@_format
def audit_verify(notes: tuple[Path, ...], workspace: Path, form: str) -> None:
    """Read the whole ledger again and check every entry and decision against the checkpoints in the state and in every release."""
    from sanitizer import overview

    found = overview.audit(workspace, [note.read_text(encoding="utf-8", errors="replace") for note in notes])
    _say(form, f"{found['entries']} entries, {found['checkpoints']} signed checkpoints: all in order", found)


@cli.command("policy")
def policy_() -> None:
    """Print the JSON Schema of sanitizer.toml: every key, its type and its meaning."""
    from sanitizer.policy import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


# --- entry point ---------------------------------------------------------------------------------------------------------


def _fail(error: SanitizerError, *, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps(error.as_dict(), sort_keys=True))
    else:
        click.echo(f"sanitizer: {error.code}: {error.message}", err=True)
    sys.exit(error.exit_code)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line; every way out is an exit code of the contract."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--format=json" in given or any(pair == ("--format", "json") for pair in pairwise(given))
    try:
        code = cli.main(args=given, prog_name="sanitizer", standalone_mode=False)
    except SanitizerError as error:
        _fail(error, as_json=as_json)
    except click.ClickException as error:
        _fail(UsageError(error.format_message()), as_json=as_json)
    except click.Abort:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  # the last net: a fault of ours is one line and exit 5, the traceback is for --debug
        _log.debug("internal error", exc_info=True)
        _fail(SanitizerError(f"internal error: {type(error).__name__}: {error}; run again with --debug for the traceback"), as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)
