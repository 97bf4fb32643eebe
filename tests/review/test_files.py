"""What is shipped: no inline script, no markup from strings, no outside address; and how the app is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sanitizer.review
from sanitizer.errors import NotAllowed, PolicyError, UsageError
from sanitizer.review import fill, people, serve
from sanitizer.workspace import Workspace

HERE = Path(sanitizer.review.__file__).parent
SCRIPTS = sorted((HERE / "static").glob("*.js"))
TEMPLATES = sorted((HERE / "templates").glob("*.jinja"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_from_a_string(path):
    text = path.read_text(encoding="utf-8")
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
    forbidden = rf"{markup}|\beval\b|new Function|setTimeout\(\s*[\"'`]"
    assert re.findall(forbidden, text) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *TEMPLATES, HERE / "static" / "review.css"], ids=lambda path: path.name)
def test_no_file_names_an_outside_address(path):
    found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", path.read_text(encoding="utf-8"))
    assert [address for address in found if not address.endswith("www.w3.org/2000/svg")] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_an_inline_script_a_style_or_an_unescaped_value(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|\|\s*safe|javascript:", text) == []


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "sanitizer.toml").write_text('dataset = "signs"\n')
    return tmp_path


def test_other_machines_reach_it_only_when_people_have_passwords(workspace):
    with pytest.raises(NotAllowed, match="can be reached from other machines"):
        serve(workspace, host="0.0.0.0", port=0)
    with pytest.raises(UsageError, match="no address to listen at"):
        serve(workspace, host="evil.example", port=0)


def test_a_port_in_use_is_named(workspace):
    with pytest.raises(UsageError, match=r"cannot listen at 127\.0\.0\.1:99999"):
        serve(workspace, port=99999)


def test_a_folder_that_is_no_workspace_is_named(tmp_path):
    with pytest.raises(PolicyError):
        serve(tmp_path)


@pytest.mark.slow
def test_the_demo_fills_a_workspace_that_the_line_can_use(tmp_path):
    root = tmp_path / "demo"
    assert fill(root) == 500
    assert fill(root) == 500
    workspace = Workspace.open(root)
    with workspace.store() as store, store.reading() as view:
        assert not people.with_password(view)
    assert workspace.policy.dataset == "signs"
