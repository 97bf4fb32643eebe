"""Other people's tools read our releases: installed from their own packages, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest

from sanitizer.provenance import keys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def model_signing(tmp_path_factory):
    """The public `model_signing` command.  SANITIZER_MODEL_SIGNING names a Python that has it; else it is installed here."""
    ready = os.environ.get("SANITIZER_MODEL_SIGNING")
    if ready is None:
        place = tmp_path_factory.mktemp("model_signing")
        venv.create(place, with_pip=True)
        ready = str(place / "bin" / "python")
        # model-signing 1.1.1 imports pyOpenSSL without declaring it
        install = [ready, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "model-signing", "pyopenssl"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"NOT RUN: model-signing could not be installed: {done.stderr.strip()[-200:]}")
    return [ready, "-m", "model_signing"]


@pytest.fixture
def verify(model_signing, toys, signer, tmp_path):
    public = tmp_path / "release.pub.pem"
    public.write_bytes(keys.pem(signer.public_key))

    def run(*more):
        command = [*model_signing, "verify", "key", str(toys / "2"), "--signature", str(toys / "2.sig"), "--public_key", str(public), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_public_model_signing_command_accepts_a_release(verify):
    for options in (["--no-ignore-git-paths"], []):
        code, said = verify(*options)
        assert code == 0, said
        assert "succeeded" in said


@pytest.mark.parametrize("name", ["data/part-00000.parquet", "README.md", "provenance.intoto.json", "rows.sha256.parquet"])
def test_it_refuses_one_changed_byte(verify, toys, name):
    path = toys / "2" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, said = verify("--no-ignore-git-paths")
    assert code == 1
    assert "mismatch" in said


def test_it_refuses_a_file_in_a_hidden_place(verify, toys):
    (toys / "2" / ".git").mkdir()
    (toys / "2" / ".git" / "more.parquet").write_bytes(b"x")
    assert verify("--no-ignore-git-paths")[0] == 1


def test_the_bundle_fits_the_published_shape(toys):
    bundle = json.loads((toys / "2.sig").read_bytes())
    assert set(bundle) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
    assert set(bundle["dsseEnvelope"]["signatures"][0]) == {"sig", "keyid"}


def test_sha256sum_accepts_every_listed_file(toys):
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=toys / "2", capture_output=True, text=True, check=False)
    assert done.returncode == 0
    listed = {line.split(": ")[0] for line in done.stdout.splitlines()}
    assert listed == {p.relative_to(toys / "2").as_posix() for p in Path(toys / "2").rglob("*") if p.is_file()} - {"SHA256SUMS"}
