"""One frozen `Policy`, read once from `sanitizer.toml`.

An unknown key is an error, every number has its unit and its reason beside it, and the digest of the policy goes into
each verdict and release.  There is no switch that turns a check off.

>>> Policy.from_toml('dataset = "digits"\\n[samples]\\nlabel = "digit"').samples.label
'digit'
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sanitizer.errors import PolicyError

Share = Annotated[float, Field(ge=0, le=1)]
Level = Literal["L0", "L1", "L2", "L3"]
Modality = Literal["tabular", "text", "image", "embedding", "ratings"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Provenance(_Section):
    """What a delivery must prove before anybody parses it."""

    least_level: Level = Field("L2", description="L3 TUF repository, L2 signed statement, L1 digest list, L0 nothing")
    sources: dict[str, Level] = Field(default_factory=dict, description="another least level for single sources")
    max_age_days: int = Field(90, ge=1, description="a delivery issued longer ago is expired, whatever it says itself")


class Samples(_Section):
    """How bytes become rows."""

    label: str | None = Field(None, description="name of the label column; none for unlabelled data and ratings")
    source: str | None = Field(None, description="column that names the supplier or annotator of a row")
    key: tuple[str, ...] = Field((), description="columns that name a sample; a row with a known key and other content is `changed`")
    modality: Modality | None = Field(None, description="inferred from the first delivery when absent, then pinned")
    formats: tuple[str, ...] = Field(("csv", "jsonl", "parquet", "arrow", "npz", "image"), description="what may be parsed at all")
    max_rows: int = Field(10_000_000, ge=1, description="rows of one delivery")
    max_decoded_bytes: int = Field(8 << 30, ge=1 << 20, description="bytes after decompression, of one delivery")
    max_memory_bytes: int = Field(4 << 30, ge=256 << 20, description="address space of the process that parses")
    max_seconds: int = Field(600, ge=1, description="wall clock of the process that parses")


class Expectations(_Section):
    """The Great Expectations gate."""

    suite: str | None = Field(None, description="path of the suite, relative to the workspace; none: only the pinned schema is checked")


class Detect(_Section):
    """Which witnesses speak, and how sure a quarantine must be."""

    q: Share = Field(0.1, gt=0, lt=1, description="bound on the share of honest rows among the quarantined")
    confidence: Share = Field(0.9, gt=0, lt=1, description="probability that the bound holds for one delivery")
    required: tuple[str, ...] = Field((), description="witnesses that must speak; one that fails stops the line")
    extra: tuple[str, ...] = Field((), description="further witnesses as `module:Class`; nothing is discovered by itself")
    encoder: str | None = Field(None, description="the user's own encoder, `module:callable`; none: the embedded default of the modality")
    seed: int = Field(0, description="the same input, policy and seed give the same verdicts, bit for bit")
    decoys: bool = Field(True, description="plant known attacks in a copy, to tell the expected recall")
    jobs: int = Field(1, ge=1, description="processes that score partitions")


class Hold(_Section):
    """When a whole delivery waits for a person."""

    max_quarantined: Share = Field(0.5, description="beyond this share no reviewer can read it: the delivery is held instead")
    max_relabelled: Share = Field(0.01, description="share of already known samples that come back with another label")
    accused_sources: bool = Field(True, description="hold the next delivery of a source that the last one accused")


class Reference(_Section):
    """What the trusted side is made of."""

    max_source_share: Share = Field(0.5, description="no source makes up more of the trusted rows than this")
    min_age_releases: int = Field(1, ge=0, description="rows of a new source join the reference this many releases later")
    max_rows: int = Field(100_000, ge=1000, description="trusted rows that detectors are fitted on, sampled with the seed")


class Review(_Section):
    """Who may decide what."""

    second_reviewer_above: int = Field(50, ge=0, description="bulk decisions on more samples need a second, different person")
    second_reviewer_causes: tuple[str, ...] = Field(("backdoor",), description="releasing such samples needs a second person")
    second_reviewer_relabels: bool = Field(False, description="every new label needs a second person")


class Store(_Section):
    """Where state, quarantine and ledger live."""

    url: str = Field("sqlite:///state.db", description="SQLAlchemy URL; a relative SQLite path is relative to the workspace")


class Release(_Section):
    """What is published."""

    signer: str = Field("file:keys/release.pem", description="signer URI of the release key (ECDSA P-256)")
    ledger_signer: str = Field("file:keys/ledger.pem", description="signer URI of the ledger's checkpoints (Ed25519)")
    cumulative: bool = Field(True, description="a release holds every accepted sample so far")
    expires_days: int = Field(365, ge=1, description="the gate refuses a release that is older")
    licence: str = Field("", description="licence of the released data, for the data set card")


class Policy(_Section):
    """Everything that a workspace decides."""

    dataset: str = Field("data", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="name of the data set and its releases")
    provenance: Provenance = Provenance()
    samples: Samples = Samples()
    expectations: Expectations = Expectations()
    detect: Detect = Detect()
    hold: Hold = Hold()
    reference: Reference = Reference()
    review: Review = Review()
    store: Store = Store()
    release: Release = Release()

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        # TOML knows arrays only; strict mode would refuse a list where the frozen model holds a tuple
        return _tupled(data)

    @classmethod
    def from_toml(cls, text: str, *, origin: str = "sanitizer.toml") -> Policy:
        """Read a policy; raises `PolicyError` that names each wrong key."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(f"{origin} is not TOML: {error}", subject=origin) from error
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PolicyError(f"{origin}: {wrong}", subject=origin) from error

    @property
    def digest(self) -> str:
        """`sha256:…` of the canonical JSON of all values, defaults included."""
        return f"sha256:{hashlib.sha256(rfc8785.dumps(self.model_dump(mode='json'))).hexdigest()}"

    def least_level(self, source: str) -> Level:
        """The least assurance level that `source` must prove."""
        return self.provenance.sources.get(source, self.provenance.least_level)


def _tupled(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _tupled(value) for key, value in data.items()}
    return tuple(data) if isinstance(data, list) else data


def json_schema() -> dict[str, Any]:
    """JSON Schema of `sanitizer.toml`, for editors."""
    return Policy.model_json_schema()
