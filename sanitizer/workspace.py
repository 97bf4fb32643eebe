"""A workspace: one folder with a policy, an inbox, a trust root, blobs, state, releases and reports."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from securesystemslib.signer import Signer

from sanitizer.errors import PolicyError, UsageError
from sanitizer.policy import Policy
from sanitizer.provenance.blobs import BlobStore
from sanitizer.provenance.delivery import MANIFEST, Delivery
from sanitizer.provenance.keys import signer
from sanitizer.provenance.names import check_name
from sanitizer.provenance.trust import FileTrustState, TrustRoot
from sanitizer.samples import Schema
from sanitizer.store import Store, deliveries
from sanitizer.verdicts import Verdicts

POLICY_FILE = "sanitizer.toml"
SCHEMA_FILE = "schema.json"


@dataclass(frozen=True)
class Workspace:
    """Where things lie.  A value: opening it reads the policy and nothing else."""

    root: Path
    policy: Policy
    toml: bytes = field(default=b"", repr=False, compare=False)  # the bytes that the policy was read from

    @classmethod
    def open(cls, root: Path | str) -> Workspace:
        """The workspace at `root`; raises `PolicyError` where there is none."""
        root = Path(root).absolute()
        if not root.is_dir():
            raise UsageError(f"{root} is not a folder; `sanitizer init {root.name}` makes a workspace", subject=str(root))
        toml = read_policy(root / POLICY_FILE)
        return cls(root, Policy.from_toml(toml.decode(), origin=str(root / POLICY_FILE)), toml)

    @classmethod
    def in_force(cls, root: Path | str, *, now: datetime) -> Workspace:
        """The workspace at `root`, whose policy the owners of the trust root signed: what every stage that acts on the policy opens.

        Raises:
            DigestMismatch: `sanitizer.toml` is not the policy that was signed.
            Refused: the trust root does not verify.
        """
        workspace = cls.open(root)
        workspace.trusted(now)
        return workspace

    def trusted(self, now: datetime) -> TrustRoot:
        """The trust root: current, not older than one seen before, and it signs this very policy."""
        trust = TrustRoot.load(self.trust, now=now, state=FileTrustState(self.root / "trust-seen.json"))
        trust.check_policy(self.toml)
        return trust

    @property
    def inbox(self) -> Path:
        """`inbox/<source>/<delivery>/`: untrusted."""
        return self.root / "inbox"

    @property
    def trust(self) -> Path:
        """TUF metadata."""
        return self.root / "trust"

    @property
    def releases(self) -> Path:
        """`releases/<dataset>/<version>/`."""
        return self.root / "releases"

    @property
    def reports(self) -> Path:
        """One HTML and one JSON file per delivery."""
        return self.root / "reports"

    @cached_property
    def blobs(self) -> BlobStore:
        """Every artefact, by its digest."""
        return BlobStore(self.root / "blobs")

    @property
    def runs_foreign_code(self) -> bool:
        """Whether the policy names detectors that are not ours: no process that runs them may hold a key."""
        return bool(self.policy.detect.extra)

    def store(self, *, keys: bool | None = None) -> Store:
        """The state, opened; the ledger's checkpoints are signed where its key is at hand.

        Without `keys` the entries are kept but not signed: whoever publishes signs for them.  That is the default where the
        policy names foreign code.
        """
        uri = self.policy.release.ledger_signer
        wanted = not self.runs_foreign_code if keys is None else keys
        at_hand = wanted and (not uri.startswith("file:") or (self.root / uri.removeprefix("file:")).exists())
        return Store.open(
            self.policy.store.url, self.root, ledger_signer=self.signer(uri) if at_hand else None, origin=f"sanitizer/{self.policy.dataset}"
        )

    def signer(self, uri: str) -> Signer:
        """The signer of a URI; a `file:` path is relative to the workspace."""
        scheme, _, rest = uri.partition(":")
        return signer(f"file:{self.root / rest}" if scheme == "file" else uri)

    def arrivals(self) -> list[Delivery]:
        """Everything in the inbox, complete or not."""
        folders = sorted(self.inbox.glob("*/*")) if self.inbox.is_dir() else []
        return [
            self.delivery(f"{f.parent.name}/{f.name}") for f in folders if f.is_dir() and not f.is_symlink() and not f.name.startswith(".")
        ]

    def delivery(self, ref: str) -> Delivery:
        """The delivery at `source/name` in the inbox, to be proven as far as the policy asks of its source."""
        source, _, name = ref.partition("/")
        return Delivery(self.inbox / source / name, source, self.policy.least_level(source))

    def fingerprint(self, delivery: Delivery) -> str:
        """Changes when the delivery, the trust root or the policy changes: what was refused is judged anew only then."""
        stamp = self.trust / "timestamp.json"
        trust = stamp.read_bytes() if stamp.exists() else b""
        rules = hashlib.sha256(hashlib.sha256(trust).digest() + hashlib.sha256(self.toml).digest()).hexdigest()
        return deliveries.fingerprint(delivery.root, trust=rules)

    def schema(self) -> Schema | None:
        """The pinned schema, None before the first delivery or baseline."""
        path = self.root / SCHEMA_FILE
        if not path.exists():
            return None
        try:
            return Schema.from_json(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UsageError(f"{path} is not a schema: {error}", subject=str(path)) from error

    def pin(self, schema: Schema) -> None:
        """Writes the drafted schema, once; a person may edit it, nothing infers it again."""
        path = self.root / SCHEMA_FILE
        if not path.exists():
            write(path, json.dumps(schema.to_json(), indent=2, ensure_ascii=False).encode() + b"\n")

    def suite(self) -> dict[str, Any] | None:
        """The Great Expectations suite of the policy, None where it names none."""
        if self.policy.expectations.suite is None:
            return None
        path = self.root / self.policy.expectations.suite
        try:
            suite: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot read the suite {path}: {error}; `sanitizer expectations draft` makes one", subject=str(path)
            ) from error
        return suite

    def keep(self, table: pa.Table) -> str:
        """Stores an Arrow table as a blob."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        return self.blobs.put_bytes(sink.getvalue().to_pybytes())

    def kept(self, digest: str) -> pa.Table:
        """The Arrow table of a blob."""
        with pa.ipc.open_file(pa.BufferReader(self.blobs.read(digest))) as file:
            return file.read_all()

    def verdicts(self, judged: str) -> Verdicts:
        """The verdicts that `pipeline.judge` made."""
        return Verdicts.from_arrow(self.kept(self.blobs.read_json(judged)["table"]))


def read_policy(path: Path) -> bytes:
    """The bytes of a policy; raises `PolicyError` unless they are there and UTF-8."""
    try:
        data = path.read_bytes()
        data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"cannot read the policy {path}: {error}; run `sanitizer init`", subject=str(path)) from error
    return data


def write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def fetch(inbox: Any, into: Path) -> None:
    """Copies complete deliveries from `inbox` (anything like a `pathlib.Path`); the manifest last, so that a broken copy waits."""
    for source in sorted(inbox.iterdir(), key=str):
        for delivery in sorted(source.iterdir(), key=str) if source.is_dir() else ():
            place = into / check_name(source.name) / check_name(delivery.name)
            if (place / MANIFEST).exists() or not (delivery / MANIFEST).exists():
                continue
            _copy(delivery, place)
            write(place / MANIFEST, (delivery / MANIFEST).read_bytes())


def _copy(folder: Any, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for entry in sorted(folder.iterdir(), key=str):
        name = check_name(entry.name)
        if entry.is_dir():
            _copy(entry, place / name)
        elif name != MANIFEST:
            with entry.open("rb") as stream, (place / name).open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)


TEMPLATE = """\
# What this workspace decides.  An unknown key is an error; `sanitizer policy` prints every key with its meaning.

dataset = "{dataset}"          # name of the data set and its releases

[samples]
{label}
# source = "supplier"          # column that names the supplier or annotator of a row
# key = ["id"]                 # columns that name a sample, so that a change is told from an addition

[provenance]
least_level = "L2"             # a signed statement by a key that the trust root knows for this source
max_age_days = 90              # an older delivery is expired, whatever it says itself

[expectations]
{suite}

[detect]
q = 0.1                        # at most this share of the quarantined rows is honest …
confidence = 0.9               # … in nine deliveries of ten

[hold]
max_quarantined = 0.5          # beyond this share nobody could review it: the delivery is held as a whole
max_relabelled = 0.01          # share of known samples that may come back with another label

[review]
second_reviewer_above = 50     # larger bulk decisions need a second, different person
# second_reviewer_relabels = true  # … and so does every new label
"""


def template(dataset: str, *, label: str | None = None, suite: str | None = None) -> str:
    """A commented `sanitizer.toml`."""
    return TEMPLATE.format(
        dataset=dataset,
        label=f'label = "{label}"' if label else '# label = "label"            # the label column; none for unlabelled data',
        suite=f'suite = "{suite}"' if suite else '# suite = "expectations.json"  # drafted by `sanitizer expectations draft`',
    )
