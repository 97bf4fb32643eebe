"""The conformance suite: each named attack, through the command line alone, ends with its exit code and its code word."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from sanitizer import cli
from sanitizer.provenance import jcs
from sanitizer.store import Store, deliveries
from tests.vectors.attacks import ATTACKS, HONEST
from tests.vectors.world import World

NOW = datetime.now(UTC).replace(microsecond=0)  # the command line knows no other clock


def made(root, build):
    world = World.make(root, NOW)
    build(world)
    if world.seen:
        (root / "trust-seen.json").write_bytes(jcs.dumps(world.seen))
    with Store.open("sqlite:///state.db", root) as store:
        for source, sequence in world.accepted.items():
            accept(store, source, sequence)
    return world


def accept(store, source, sequence):
    digest = f"sha256:{sequence:064}"
    with store.transaction(now=NOW) as tx:
        deliveries.receive(tx, digest, dataset="demo", source=source, path="earlier", fingerprint=digest)
        deliveries.advance(tx, digest, "verified", level="L2", sequence=sequence)


def say(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([str(a) for a in arguments])
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


def arguments(world):
    state = ["--state", world.root / "state.db"]
    return ["verify", world.offered, "--trust", world.trust, "--source", world.source, "--level", world.least_level, *state]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=lambda a: f"{a.row:02}-{a.name}")
def test_verify_refuses_with_the_code_of_the_contract(attack, tmp_path, capsys):
    world = made(tmp_path, attack.build)
    code, out, err = say(capsys, *arguments(world), "--format", "json")
    told = json.loads(out or err)
    assert (code, told["ok"], told["code"]) == (attack.exit_code, False, attack.code), told
    assert "Traceback" not in err


@pytest.mark.parametrize("name", HONEST)
def test_verify_passes_what_is_honest(name, tmp_path, capsys):
    world = made(tmp_path, HONEST[name])
    code, out, err = say(capsys, *arguments(world), "--format", "json")
    assert (code, json.loads(out)["level"]) == (0, "L2"), err


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=lambda a: f"{a.row:02}-{a.name}")
def test_the_line_refuses_it_too_writes_it_down_and_leaves_it_where_it_is(attack, tmp_path, capsys):
    world = made(tmp_path, attack.build)
    before = sorted(p.relative_to(world.offered) for p in world.offered.rglob("*"))
    ref = f"{world.source}/{world.name}"
    code, out, err = say(capsys, "run", ref, "--workspace", world.root, "--format", "json")
    [told] = json.loads(out)["deliveries"]
    assert (code, told["code"]) == (attack.exit_code, attack.code), told
    assert "Traceback" not in err
    assert sorted(p.relative_to(world.offered) for p in world.offered.rglob("*")) == before
    with Store.open("sqlite:///state.db", world.root) as store, store.reading() as view:
        kinds = [row["kind"] for row in view.rows(_ledger())]
    assert kinds[-1] == "delivery.refused"
    assert not (world.root / "releases").exists() or not list((world.root / "releases").glob("*/*"))


def _ledger():
    from sqlalchemy import select  # noqa: PLC0415  # only the slow tests need it

    from sanitizer.store.tables import ledger  # noqa: PLC0415

    return select(ledger.c.kind).order_by(ledger.c.index)
