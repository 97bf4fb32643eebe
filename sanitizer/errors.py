"""Every error that this package raises on purpose.

    SanitizerError                     code               exit
    ├── UsageError                     usage                2   the call, the policy or the workspace is wrong
    │   ├── PolicyError                bad_policy           2
    │   ├── MissingExtra               missing_extra        2
    │   ├── NotAllowed                 not_allowed          2   a person may not do this: role, four eyes, own samples
    │   └── Overtaken                  overtaken            2   somebody else decided meanwhile
    ├── Refused                                             3   a delivery or release that must not enter
    │   ├── DigestMismatch             digest_mismatch
    │   ├── LengthMismatch             length_mismatch
    │   ├── UnlistedFile               unlisted_file
    │   ├── MissingFile                missing_file
    │   ├── Replayed                   replayed
    │   ├── Expired                    expired
    │   ├── UntrustedSigner            untrusted_signer
    │   ├── RevokedKey                 revoked_key
    │   ├── ThresholdNotMet            threshold_not_met
    │   ├── BadEnvelope                bad_envelope
    │   ├── Unsigned                   unsigned
    │   ├── WeakDigest                 weak_digest
    │   ├── BadName                    bad_name
    │   ├── NotRegularFile             not_regular_file
    │   ├── FormatNotAllowed           format_not_allowed
    │   ├── AmbiguousData              ambiguous_data
    │   └── LedgerBroken               ledger_broken
    ├── Held                                                4   a person must look before anything goes on
    │   ├── ParserLimit                parser_limit
    │   ├── ParserCrash                parser_crash
    │   ├── SchemaMismatch             schema_mismatch
    │   ├── SuiteFailed                suite_failed
    │   ├── RelabelBudget              relabel_budget
    │   ├── ChangedSincePinned         changed_since_pinned
    │   └── TooSuspicious              too_suspicious
    └── Failed                         internal             5   our side could not do its work; nothing was lost
        ├── DetectorFailed             detector_failed
        ├── StorageFailed              storage_failed
        └── Busy                       busy                     another run holds the lock, or an earlier delivery goes first

Hostile input may raise these and nothing else.  `Failed` is worth a retry, `Refused` and `Held` never are.
A message is one line: what happened, to what, what to do.  `subject` names the thing (a path, a digest, a key id).
"""

from __future__ import annotations

from typing import Any, ClassVar

_LONGEST = 400  # characters of a message; a file name or a cell may be hostile and huge


def printable(text: str) -> str:
    """`text` on one line, with control and bidirectional characters made visible and the middle of long text left out.

    >>> printable("a\\x1b[31mred\\nline")
    'a\\\\x1b[31mred\\\\nline'
    """
    shown = text
    if not text.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST // 2]} … {shown[-_LONGEST // 4 :]}"


class SanitizerError(Exception):
    """The root of the tree."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 5

    def __init__(self, message: str, *, subject: str = "") -> None:
        self.message = printable(message)
        self.subject = printable(subject)
        super().__init__(self.message)

    def as_dict(self) -> dict[str, Any]:
        """What `--format json` prints."""
        return {"ok": False, "code": self.code, "message": self.message, "subject": self.subject}


class UsageError(SanitizerError):
    """The call, the policy or the workspace is wrong."""

    code = "usage"
    exit_code = 2


class PolicyError(UsageError):
    """`sanitizer.toml` has an unknown key, a wrong type or a value out of range."""

    code = "bad_policy"


class MissingExtra(UsageError):
    """An optional part is not installed; the message names the extra to install."""

    code = "missing_extra"


class NotAllowed(UsageError):
    """This person may not do this: not with this role, not alone, not on samples of their own, not by this way."""

    code = "not_allowed"


class Overtaken(UsageError):
    """What a decision was made on is no longer so: somebody else decided meanwhile.  Nothing was overwritten."""

    code = "overtaken"


class Refused(SanitizerError):
    """A delivery or release that must not enter.  Judging it again gives the same answer."""

    code = "refused"
    exit_code = 3


class DigestMismatch(Refused):
    """Bytes differ from the signed digest."""

    code = "digest_mismatch"


class LengthMismatch(Refused):
    """A file is longer or shorter than the manifest says."""

    code = "length_mismatch"


class UnlistedFile(Refused):
    """A file lies in the directory that nobody signed."""

    code = "unlisted_file"


class MissingFile(Refused):
    """A signed file is absent."""

    code = "missing_file"


class Replayed(Refused):
    """An earlier, validly signed delivery or trust root is offered again."""

    code = "replayed"


class Expired(Refused):
    """A statement or a role is past its expiry, judged by our clock."""

    code = "expired"


class UntrustedSigner(Refused):
    """Signed, but by nobody who may sign for this."""

    code = "untrusted_signer"


class RevokedKey(Refused):
    """Signed by a key, or made from a source, that was revoked."""

    code = "revoked_key"


class ThresholdNotMet(Refused):
    """Fewer different keys signed than the role asks for."""

    code = "threshold_not_met"


class BadEnvelope(Refused):
    """The envelope or its statement is malformed, or of a kind we do not accept."""

    code = "bad_envelope"


class Unsigned(Refused):
    """There is no signature where one is required."""

    code = "unsigned"


class WeakDigest(Refused):
    """A digest algorithm other than sha256 or sha512 is relied on."""

    code = "weak_digest"


class BadName(Refused):
    """A file name that could be read as another one, or leave its directory."""

    code = "bad_name"


class NotRegularFile(Refused):
    """A link, a device or a pipe where a plain file belongs."""

    code = "not_regular_file"


class FormatNotAllowed(Refused):
    """The content is of a format that the policy does not allow (pickle in any dress, archives, …)."""

    code = "format_not_allowed"


class AmbiguousData(Refused):
    """Two parsers could read this differently: duplicate columns, ragged rows, invalid UTF-8, …"""

    code = "ambiguous_data"


class LedgerBroken(Refused):
    """The ledger was edited, cut, reordered or forked."""

    code = "ledger_broken"


class Held(SanitizerError):
    """A person must look before anything goes on; nothing is lost."""

    code = "held"
    exit_code = 4


class ParserLimit(Held):
    """Reading took more memory, time, rows or decoded bytes than the policy allows."""

    code = "parser_limit"


class ParserCrash(Held):
    """The child process that read the file died."""

    code = "parser_crash"


class SchemaMismatch(Held):
    """The delivery does not fit the pinned schema."""

    code = "schema_mismatch"


class SuiteFailed(Held):
    """An expectation on the whole table failed."""

    code = "suite_failed"


class RelabelBudget(Held):
    """More known samples came back with another label than the policy allows."""

    code = "relabel_budget"


class ChangedSincePinned(Held):
    """Content behind a pinned address is not what was pinned.  `versions` are the blobs that list the files of both, first and now."""

    code = "changed_since_pinned"
    versions: tuple[str, str] = ("", "")


class TooSuspicious(Held):
    """The delivery moved as a whole, or more of it is suspicious than anybody could review."""

    code = "too_suspicious"


class Failed(SanitizerError):
    """Our side could not do its work.  Nothing was lost; trying again may help."""


class DetectorFailed(Failed):
    """A detector that the policy requires could not speak."""

    code = "detector_failed"


class StorageFailed(Failed):
    """A full disk, an unreachable database, an I/O error."""

    code = "storage_failed"


class Busy(Failed):
    """Another run holds the lock, or an earlier delivery of the same source goes first."""

    code = "busy"


# the worst of several outcomes, worst first
SEVERITY = (5, 3, 4, 1, 2, 0)


def worst(exit_codes: list[int]) -> int:
    """The exit code of several deliveries.

    >>> worst([0, 4, 3])
    3
    """
    return min(exit_codes, key=SEVERITY.index, default=0)
