"""claims.json is that of the committed chapters, and no claim's address disappears without a word."""

import re

import nbformat
import yaml
from conftest import ROOT

from tools.execute import CLAIMS, IDS, all_chapters, publish
from tools.results import claims_json, claims_of


def committed():
    return {path.stem: nbformat.read(path, as_version=4) for path in all_chapters()}


def test_claims_json_is_that_of_the_chapters():
    assert CLAIMS.read_text(encoding="utf-8") == claims_json(committed()), "run python -m tools.execute"


def test_an_id_vanishes_only_with_a_line_in_the_changelog():
    """Or with an address to which it moved."""
    present = {f"{name}/{claim['id']}" for name, notebook in committed().items() for claim in claims_of(notebook)}
    published = set(IDS.read_text(encoding="utf-8").split())
    assert present <= published, "run python -m tools.execute"
    moved = yaml.safe_load((ROOT / "book" / "moved.yml").read_text()) or {}
    retired = set(re.findall(r"`([a-z0-9_]+/[a-z0-9-]+)`", (ROOT / "CHANGELOG.md").read_text()))
    addresses = {key: f"book/results.html#result-{key.replace('_', '-').replace('/', '-')}" for key in published}
    assert not {key for key in published - present - retired if addresses[key] not in moved}


def test_publishing_adds_ids_and_keeps_old_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.execute.CLAIMS", tmp_path / "claims.json")
    monkeypatch.setattr("tools.execute.IDS", tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("toy/old\n")
    publish({"perfect_denoiser": committed()["perfect_denoiser"]})
    ids = (tmp_path / "ids.txt").read_text().split()
    assert "toy/old" in ids
    assert len(ids) == 1 + len(claims_of(committed()["perfect_denoiser"]))
    assert ids == sorted(ids)
