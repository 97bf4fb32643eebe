"""What a validly signed delivery may hold and nobody reads: refused or held by `sanitizer run`, with its exit code and its code word."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from sanitizer import bootstrap, cli
from sanitizer.provenance import delivery, keys
from sanitizer.store.ledger import entries
from sanitizer.workspace import Workspace
from tests.vectors.payloads import PAYLOADS

LIMITS = "max_rows = 1000000\nmax_decoded_bytes = 67108864\nmax_memory_bytes = 536870912\nmax_seconds = 60\n"
QUICK = {
    "zip_named_csv",
    "json_of_brackets",
    "pickle_of_protocol_0_named_csv",
    "npz_of_objects",
    "parquet_with_a_zip_behind",
    "json_key_twice",
}
NUMBERS = count(1)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("payloads") / "w"
    bootstrap.init(root, dataset="demo", label="label")
    policy = root / "sanitizer.toml"
    policy.write_text(policy.read_text().replace("[samples]\n", f"[samples]\n{LIMITS}"))
    bootstrap.sign_policy(root)
    keys.new_key(root / "keys/north.pem")
    bootstrap.add_source(root, "north", [root / "keys/north.pub.pem"])
    return root


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PAYLOADS])
def test_it_is_signed_and_still_not_read(name, workspace, capsys):
    payload, folder, number = PAYLOADS[name], workspace / "inbox/north" / name, next(NUMBERS)
    folder.mkdir(parents=True)
    for path, data in payload.files().items():
        (folder / path).write_bytes(data)
    now = datetime.now(UTC)
    signer = keys.signer(f"file:{workspace / 'keys/north.pem'}")
    delivery.deliver(folder, source="north", signers=[signer], sequence=number, issued=now, expires=now + timedelta(days=1))
    with pytest.raises(SystemExit) as end:
        cli.main(["run", f"north/{name}", "--workspace", str(workspace), "--format", "json"])
    out, err = capsys.readouterr()
    [told] = json.loads(out)["deliveries"]
    assert int(end.value.code or 0) == payload.exit_code, told
    assert told["code"] in payload.codes, told
    assert "Traceback" not in err
    assert "UNPICKLED" not in out + err
    with Workspace.open(workspace).store() as store, store.reading() as view:
        last = [e for e in entries(view, limit=100_000) if e.kind.startswith("delivery.")][-1]
    assert (last.kind, last.facts["code"]) == ({3: "delivery.refused", 4: "delivery.held"}[payload.exit_code], told["code"])
    assert not (workspace / "schema.json").exists()
    assert not (workspace / "releases").exists()
