"""The command as its user meets it: files in, report out, exit status, and one line about whatever is wrong."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffmem_lib import cli
from diffmem_lib.memorization import inputs

RNG = np.random.default_rng(0)
TRAINING = RNG.random((60, 6, 5)).astype(np.float32)
SAMPLES = np.concatenate([TRAINING[:4], RNG.random((36, 6, 5)).astype(np.float32)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with good input of every kind, which the command runs in."""
    monkeypatch.chdir(tmp_path)
    np.save("samples.npy", SAMPLES)
    np.save("training.npy", TRAINING)
    np.save("held_out.npy", RNG.random((30, 6, 5)).astype(np.float32))
    np.save("labels.npy", np.arange(60) % 3)
    Path("labels.txt").write_text("\n".join("abc"[i % 3] for i in range(60)) + "\n")
    np.savez("both.npz", samples=SAMPLES, training=TRAINING)
    np.savez("one.npz", SAMPLES)
    for name, images in (("png", SAMPLES), ("jpeg", TRAINING)):
        Path(name).mkdir()
        for i, image in enumerate(images):
            suffix = {"png": "png", "jpeg": ("jpg", "JPEG")[i % 2]}[name]
            Image.fromarray((255 * image).astype(np.uint8)).save(f"{name}/{i:03d}.{suffix}", quality=95)
    return tmp_path


def run(capsys, *arguments):
    status = cli.main(["audit", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_everything_at_once(folder, capsys):
    status, out, err = run(
        capsys, "--samples", "samples.npy", "--training", "training.npy", "--held-out", "held_out.npy",
        "--labels", "labels.npy", "--k", "5", "--out", "new/report",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "memorized 10.0 %, 95 % interval 2.8 % to 23.7 %" in out
    assert "squared Euclidean distance per dimension" in out
    assert "not perception" in out
    document = json.loads(Path("new/report/report.json").read_text())
    assert document["memorized_fraction"] == 0.1
    assert document["samples"]["memorized"] == [True] * 4 + [False] * 36
    assert document["training"]["copies"][:5] == [1, 1, 1, 1, 0]
    assert set(document["labels"]) == {"0", "1", "2"}
    assert sorted(path.name for path in Path("new/report").iterdir()) == ["report.html", "report.json"]


def test_page_is_self_contained_and_well_formed(folder, capsys):
    Path("labels.txt").write_text("\n".join(["<b>&"] * 30 + ["plain"] * 30))
    run(capsys, "--samples", "samples.npy", "--training", "training.npy", "--labels", "labels.txt", "--out", "report")
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.(?!data:|#)", page)
    assert "<script" not in page
    assert "<b>&" not in page
    assert page.count("<figure>") == 4
    assert page.count("data:image/png;base64,") == 4 * 2 + 4 + 20  # pairs, what was copied, what is at risk
    assert page.count("<img") == page.count(" alt=")
    open_tags = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            assert "svg" in open_tags

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Parser().feed(page)
    assert open_tags == []


@pytest.mark.parametrize(
    ("samples", "training"),
    [("both.npz:samples", "both.npz:training"), ("one.npz", "training.npy"), ("png", "jpeg"), ("png", "training.npy")],
)
def test_formats(folder, capsys, samples, training):
    status, out, _ = run(capsys, "--samples", samples, "--training", training, "--labels", "labels.txt")
    assert status == 0
    assert "memorized 10.0 %" in out
    assert "label" in out


def test_pixels_of_eight_and_sixteen_bits_and_both_channel_orders(folder, capsys):
    colour = RNG.random((30, 3, 4, 5))
    np.save("first.npy", np.uint8(255 * colour))
    np.save("last.npy", np.uint16(65535 * np.moveaxis(colour, 1, 3)))
    status, out, _ = run(capsys, "--samples", "first.npy", "--training", "last.npy", "--out", "report")
    assert status == 0
    assert "memorized 100.0 %" in out
    same = ["--samples", "first.npy", "--training", "first.npy", "--out", "report"]
    assert run(capsys, *same)[0] == 0
    assert Path("report/report.html").read_text(encoding="utf-8").count("<figure>") == 30


def test_grey_and_colour_folders(folder, capsys):
    Path("colour").mkdir()
    for i, image in enumerate(SAMPLES):
        Image.fromarray((255 * image).astype(np.uint8)).convert("RGB").save(f"colour/{i:02d}.png")
    assert run(capsys, "--samples", "colour", "--training", "jpeg")[0] == 0


def test_float_arrays_are_mapped(folder):
    assert isinstance(inputs.load("training.npy").points.base, np.memmap)


def test_embeddings_need_no_images(folder, capsys):
    np.save("a.npy", TRAINING.reshape(60, -1)[:10])
    np.save("b.npy", TRAINING.reshape(60, -1))
    assert run(capsys, "--samples", "a.npy", "--training", "b.npy", "--out", "report")[0] == 0
    assert "<img" not in Path("report/report.html").read_text(encoding="utf-8")


def test_a_training_set_alone(folder, capsys):
    """Before any training there are no samples: sparsity, risk, duplicates and labels all the same."""
    repeated = TRAINING.copy()
    repeated[50] = repeated[2]
    np.save("repeated.npy", repeated)
    status, out, err = run(capsys, "--training", "repeated.npy", "--labels", "labels.txt", "--out", "report")
    assert (status, err) == (0, "")
    assert "repeated.npy: 60 points of 30 numbers, 1 of them duplicates" in out
    assert "most at risk before any training" in out
    assert "predicted risk" in out
    assert "memorized " not in out.split("Predicted risk is")[0]
    document = json.loads(Path("report/report.json").read_text())
    assert document["training"]["duplicate_of"][50] == 2
    assert set(document["labels"]) == set("abc")
    assert "<img" in Path("report/report.html").read_text(encoding="utf-8")
    assert run(capsys, "--training", "jpeg")[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--held-out", "held_out.npy"),
        ("--threshold", "0.2"),
        ("--distance", "squared"),
        ("--fdr", "0.1"),
        ("--fail-above", "0.5"),
        ("--fail-above", "0"),
        ("--sample-labels", "labels.txt"),
        ("--no-survey",),
    ],
    ids=lambda pair: pair[0],
)
def test_options_that_need_samples(folder, capsys, options):
    status, out, err = run(capsys, "--training", "training.npy", *options, "--out", "report")
    assert (status, out, err) == (2, "", f"diffmem: error: {options[0]} needs --samples\n")
    assert not Path("report").exists()


@pytest.mark.parametrize(("limit", "expected"), [("0.05", 1), ("0.1", 0), ("0", 1), ("1", 0)])
def test_fail_above(folder, capsys, limit, expected):
    """Without held-out points the share is judged, which is .1."""
    status, _, err = run(
        capsys, "--samples", "samples.npy", "--training", "training.npy", "--fail-above", limit, "--out", "report"
    )
    assert status == expected
    assert err == f"diffmem: the memorized share, 0.1, is {'above' if expected else 'at most'} {float(limit):g}\n"
    assert Path("report/report.html").exists()  # measured all the same


@pytest.mark.parametrize(
    ("limit", "judged", "expected"),
    [("0", None, 0), ("0", "excess", 0), ("0", "share", 1), ("0.09", "share", 1), ("0.1", "share", 0)],
)
def test_with_held_out_points_the_lower_bound_of_the_excess_is_judged(folder, capsys, limit, judged, expected):
    """4 in 40 against 0 in 30: the excess is 10 %, but its interval begins below zero."""
    files = ["--samples", "samples.npy", "--training", "training.npy", "--held-out", "held_out.npy"]
    chosen = [] if judged is None else ["--fail-on", judged]
    status, out, err = run(capsys, *files, "--fail-above", limit, *chosen)
    assert status == expected
    assert "excess    10.0 %, 95 % interval −2.9 % to 23.1 %" in out
    assert ("memorized share, 0.1," if judged == "share" else "excess over held-out points, -0.02") in err


def test_many_copies_exceed_by_the_lower_bound(folder, capsys):
    np.save("half.npy", np.concatenate([TRAINING[:20], SAMPLES[20:]]))
    files = ["--samples", "half.npy", "--training", "training.npy", "--held-out", "held_out.npy"]
    assert run(capsys, *files, "--fail-above", "0.2")[0] == 1
    assert run(capsys, *files, "--fail-above", "0.45")[0] == 0


def test_convention_and_rate_of_false_discoveries(folder, capsys):
    files = ["--samples", "samples.npy", "--training", "training.npy", "--held-out", "held_out.npy", "--out", "report"]
    out = run(capsys, *files, "--distance", "squared", "--threshold", "0.6", "--fdr", "0.2")[1]
    document = json.loads(Path("report/report.json").read_text())
    assert (document["convention"], document["threshold"], document["fdr"]) == ("squared", 0.6, 0.2)
    assert document["other_convention"]["convention"] == "euclidean"
    assert "by D1/D2 < 0.6 in squared distances" in out
    assert "false discovery rate of 0.2" in out


def test_classes(folder, capsys):
    Path("ls.txt").write_text("a\n" * 20 + "b\n" * 20)
    Path("lh.txt").write_text("a\n" * 10 + "b\n" * 20)
    files = ["--samples", "samples.npy", "--training", "training.npy", "--held-out", "held_out.npy", "--out", "report"]
    assert run(capsys, *files, "--sample-labels", "ls.txt", "--held-out-labels", "lh.txt")[0] == 0
    p = json.loads(Path("report/report.json").read_text())["samples"]["p_value"]
    assert p[0] == pytest.approx(1 / 11)
    assert {round(21 * value, 9) % 1 for value in p[20:]} == {0}


def test_redacted(folder, capsys):
    """No image, name or number of a point in any form, the warnings included; the shares are there."""
    Path("names.txt").write_text("".join(f"{i:03d}.{('jpg', 'JPEG')[i % 2]},Person {i}\n" for i in range(60)))
    Path("jpeg/more").mkdir()
    status, out, err = run(
        capsys, "--samples", "png", "--training", "jpeg", "--held-out", "held_out.npy", "--labels", "names.txt",
        "--redact", "--fail-above", "1", "--out", "report",
    )  # fmt: skip
    assert status == 0
    forms = [out.replace("written: report/report.html\nwritten: report/report.json\n", ""), err]
    forms += [Path(f"report/report.{kind}").read_text(encoding="utf-8") for kind in ("html", "json")]
    for form in forms:
        assert not re.search(r"png|jpe?g|npy|Person|<img|base64|p_value|dominance|\"d1\"", form, re.IGNORECASE)
        assert "1 subfolder" in form
    assert "memorized 10.0 %" in forms[0]
    assert json.loads(forms[3])["memorized_fraction"] == 0.1


def test_no_survey(folder, capsys):
    files = ["--samples", "samples.npy", "--training", "training.npy", "--out", "report"]
    out = run(capsys, *files, "--no-survey", "--k", "1000")[1]
    assert "memorized 10.0 %" in out
    assert json.loads(Path("report/report.json").read_text())["training"]["predicted_risk"] == [None] * 60


@pytest.mark.parametrize("kind", ["f4", "f8", "u1"])
def test_shards_are_one_array(folder, capsys, kind):
    """Copies and duplicates across shards, held-out points and labels: all numbers are those of the whole array."""
    rng = np.random.default_rng(7)
    numbers = rng.random((500, 6, 5))
    numbers[[17, 130, 499]], numbers[260] = numbers[3], numbers[259]
    whole = (255 * numbers).astype(np.uint8) if kind == "u1" else numbers.astype(kind)
    samples = np.concatenate([whole[[3, 131, 260, 498]], whole[[40, 250]], whole[:30][::-1]])
    np.save("whole.npy", whole)
    np.save("some.npy", samples)
    np.save("out.npy", (whole[:60] // 2 if kind == "u1" else whole[:60] / 2))
    Path("labels2.txt").write_text("\n".join("abc"[i % 3] for i in range(500)))
    Path("shards").mkdir()
    for number, part in enumerate(np.split(whole, [130, 131, 260, 499])):
        np.save(f"shards/part-{number + 7}.npy", part)  # 7 to 11: in the order of numbers, not of letters
    rest = ["--samples", "some.npy", "--held-out", "out.npy", "--labels", "labels2.txt", "--out", "report"]
    found = []
    for training in ("whole.npy", "shards/*.npy"):
        status, out, err = run(capsys, "--training", training, *rest)
        assert (status, err) == (0, "")
        found.append(json.loads(Path("report/report.json").read_text()))
    assert "part-7.npy:3\n" in out
    assert found[1].pop("shards") == {
        "training": {f"part-{n}.npy": c for n, c in zip(range(7, 12), (130, 1, 129, 239, 1), strict=True)}
    }
    assert found[0].pop("sources") != found[1].pop("sources")
    assert found[0] == found[1]
    assert found[0]["samples"]["d1"][:4] == [0] * 4
    assert found[0]["training"]["duplicate_of"][499] == 3


def test_shards_that_do_not_fit(folder, capsys):
    Path("shards").mkdir()
    np.save("shards/a.npy", TRAINING[:30])
    for other, said in (
        (TRAINING[30:].astype(np.float64), "shards/*.npy: b.npy: float64 numbers, but float32 in a.npy"),
        (TRAINING[30:, :, :4], "shards/*.npy: b.npy: points of shape 6×4, but 6×5 in a.npy"),
        (
            np.where(np.arange(60)[:, None, None] == 31, np.float32(np.nan), TRAINING)[30:],
            "NaN or infinity in point b.npy:1",
        ),
    ):
        np.save("shards/b.npy", other)
        status, out, err = run(capsys, "--samples", "samples.npy", "--training", "shards/*.npy")
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
    np.save("shards/b.npy", TRAINING[30:])
    for options, said in (
        (["--training", "shards/*.np"], "no .npy file matches"),
        (["--training", "shards/*.npy", "--standardize"], "needs points in one file"),
    ):
        status, _, err = run(capsys, "--samples", "samples.npy", *options)
        assert status == 2
        assert said in err


def test_killed_and_gone_on(folder, capsys):
    """Killed after the first of six shards, the same command finds what an audit of one file finds."""
    rng = np.random.default_rng(8)
    whole = rng.random((12000, 300), dtype=np.float32)
    np.save("whole.npy", whole)
    np.save("many.npy", np.concatenate([whole[::60], rng.random((1300, 300), dtype=np.float32)]))
    Path("shards").mkdir()
    for number, part in enumerate(np.split(whole, 6)):
        np.save(f"shards/{number}.npy", part)
    rest = ["--samples", "many.npy", "--no-survey", "--out", "report"]
    again = ["--training", "shards/*.npy", "--keep", "kept", *rest]
    with subprocess.Popen([sys.executable, "-m", "diffmem_lib.cli", "audit", *again]) as process:
        while not list(Path().glob("kept/*.npz")) and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    first = {file.name: file.stat().st_mtime_ns for file in Path("kept").glob("*.npz")}
    assert 1 <= len(first) < 6
    assert not Path("report").exists()
    assert run(capsys, *again)[0] == 0
    found = json.loads(Path("report/report.json").read_text())
    kept = {file.name: file.stat().st_mtime_ns for file in Path("kept").glob("*.npz")}
    assert len(kept) == 6
    assert first.items() <= kept.items()
    assert run(capsys, "--training", "whole.npy", *rest)[0] == 0
    whole = json.loads(Path("report/report.json").read_text())
    assert {**found, "sources": None, "shards": None} == {**whole, "sources": None, "shards": None}
    status, _, err = run(capsys, "--training", "whole.npy", "--keep", "kept", *rest)
    assert (status, err) == (2, "diffmem: error: kept: keep needs training points in shards\n")


def test_shards_on_a_cluster(folder, capsys):
    """The report is that of this process; what is wrong with the cluster is told in a line, and soon."""
    distributed = pytest.importorskip("distributed")
    Path("shards").mkdir()
    for number, part in enumerate(np.split(TRAINING, 3)):
        np.save(f"shards/{number}.npy", part)
    given = ["--samples", "samples.npy", "--training", "shards/*.npy"]
    here = run(capsys, *given)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="localhost:0") as cluster:
        address = ["--scheduler", cluster.scheduler_address]
        assert run(capsys, *given, *address) == here
        status, _, err = run(capsys, "--samples", "samples.npy", "--training", "training.npy", *address)
        assert (status, err.count("\n")) == (2, 1)
        assert "training.npy: --scheduler needs training points in shards" in err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere://x"])
def test_no_cluster(folder, capsys, monkeypatch, address):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cli, "PATIENCE", 0.5)
    given = ["--samples", "samples.npy", "--training", "[t]raining.npy", "--scheduler", address]
    status, _, err = run(capsys, *given)
    assert (status, err.count("\n")) == (2, 1)
    assert f"--scheduler {address}: cannot be reached (" in err


def test_a_cluster_without_workers_or_library(folder, capsys, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(cli, "PATIENCE", 0.5)
    given = ["--samples", "samples.npy", "--training", "[t]raining.npy", "--scheduler"]
    with distributed.LocalCluster(n_workers=0, dashboard_address="localhost:0") as cluster:
        address = cluster.scheduler_address
        status, _, err = run(capsys, *given, address)
    assert (status, err) == (2, f"diffmem: error: --scheduler {address}: has no workers\n")
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, _, err = run(capsys, *given, address)
    assert (status, err) == (2, "diffmem: error: --scheduler needs an extra: pip install 'diffmem[cluster]'\n")


def test_help_speaks_of_privacy(capsys):
    with pytest.raises(SystemExit):
        cli.main(["audit", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "no guarantee of privacy" in words
    assert "can itself leak" in words


def bad_input(folder):
    """Everything that a user may get wrong: options over good ones, and what the line must say."""
    broken = TRAINING.copy()
    broken[17, 2, 2] = np.nan
    np.save("nan.npy", broken)
    np.save("nan_samples.npy", broken[10:])
    np.save("narrow.npy", TRAINING[:, :, :4])
    np.save("few.npy", TRAINING[:10])
    np.save("short.npy", np.arange(59))
    np.save("square.npy", np.zeros((60, 2)))
    np.save("objects.npy", np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)
    np.savez("objects.npz", np.array([{"a": 1}] * 3, dtype=object))
    np.save("words.npy", np.array(["one", "two"]))
    np.save("counts.npy", np.arange(120).reshape(60, 2))
    np.save("flat.npy", np.zeros(60))
    np.save("none.npy", np.zeros((0, 30), dtype=np.float32))
    np.save("same.npy", np.ones((60, 6, 5), dtype=np.float32))
    Path("pickle.npy").write_bytes(pickle.dumps([1, 2]))
    Path("text.npy").write_text("not an array")
    Path("cut.npy").write_bytes(Path("training.npy").read_bytes()[:300])
    Path("cut.npz").write_bytes(Path("both.npz").read_bytes()[:300])
    Path("empty").mkdir()
    for name in ("mixed", "torn"):
        Path(name).mkdir()
        Image.new("L", (5, 6)).save(f"{name}/a.png")
    Image.new("L", (7, 6)).save("mixed/b.png")
    Path("torn/b.png").write_bytes(Path("mixed/a.png").read_bytes()[:40])
    Path("file").write_text("in the way")
    Path("nested/below").mkdir(parents=True)
    Path("nested/a.webp").touch()
    np.savez_compressed("whole.npz", SAMPLES)
    damage = {"damaged": None, "encrypted": {6: 1, -8: 1}, "unknown": {8: 99, -10: 99}}
    for name, changes in damage.items():
        data = bytearray(Path("whole.npz").read_bytes())
        central = data.find(b"PK\x01\x02")
        for place, value in ({} if changes is None else changes).items():
            data[place if place >= 0 else central - place] = value
        if changes is None:
            data[200:260] = bytes(byte ^ 0x5A for byte in data[200:260])
        Path(f"{name}.npz").write_bytes(data)
    with zipfile.ZipFile("letters.npz", "w") as archive:
        archive.writestr("a.txt", "letters")
    Path("weights.pt").write_bytes(Path("whole.npz").read_bytes())
    np.save("huge.npy", 1e200 * SAMPLES.astype(np.float64))
    np.save("turned.npy", SAMPLES.transpose(0, 2, 1))
    np.save("unknown.npy", np.full(60, np.nan))
    return [
        (["--samples", "absent.npy"], "absent.npy: cannot be read"),
        *((["--samples", f"{name}.npz"], f"{name}.npz") for name in ("damaged", "encrypted", "unknown", "letters")),
        (["--samples", "weights.pt"], "weights.pt: is no folder, and no .npy or .npz file"),
        (["--samples", "huge.npy"], "neither under- nor overflow"),
        (["--samples", "turned.npy"], "turned.npy: images (6×5, 1 channels), but (5×6, 1 channels) in training.npy"),
        (["--samples", "nested"], "nested: no .png, .jpg or .jpeg in this folder, and 1 subfolder and 1 image of"),
        (["--labels", "unknown.npy"], "unknown.npy: labels must be finite"),
        (["--samples", "text.npy"], "text.npy"),
        (["--samples", "cut.npy"], "cut.npy: cannot be read"),
        (["--samples", "cut.npz"], "cut.npz: cannot be read"),
        (["--samples", "empty"], "empty: no .png"),
        (["--samples", "mixed"], "mixed/b.png: is 7×6 but 5×6 in a.png"),
        (["--samples", "torn"], "torn/b.png: cannot be read as an image"),
        (["--samples", "nan_samples.npy"], "nan_samples.npy: NaN or infinity in point 7"),
        (["--training", "nan.npy"], "nan.npy: NaN or infinity in point 17"),
        (["--held-out", "nan.npy"], "nan.npy: NaN or infinity in point 17"),
        (["--labels", "short.npy"], "short.npy: 59 labels for 60 training points"),
        (["--labels", "square.npy"], "square.npy: labels must have one axis"),
        (["--labels", "absent.txt"], "absent.txt: cannot be read"),
        (["--training", "few.npy"], "few.npy: more than k = 10 training points are needed, there are 10"),
        (["--k", "60"], "training.npy: more than k = 60"),
        (["--k", "0"], "--k must be at least 1"),
        (["--threshold", "1.5"], "--threshold"),
        (["--threshold", "nan"], "--threshold"),
        (["--fdr", "1"], "--fdr must lie between 0 and 1"),
        (["--fdr", "0.1"], "--fdr needs --held-out"),
        (["--keep", "file"], "file: is no folder, as --keep needs"),
        (["--fail-on", "share"], "--fail-on needs --fail-above"),
        (["--fail-on", "excess"], "--fail-on excess needs --held-out"),
        (["--sample-labels", "labels.txt"], "--sample-labels and --held-out-labels need each other"),
        (["--samples", "narrow.npy"], "narrow.npy: 24 numbers a point"),
        (["--held-out", "narrow.npy"], "narrow.npy: 24 numbers a point"),
        (["--samples", "objects.npy"], "objects.npy: holds pickled objects"),
        (["--samples", "objects.npz"], "objects.npz: holds pickled objects"),
        (["--samples", "pickle.npy"], "pickle.npy"),
        (["--labels", "objects.npy"], "objects.npy: holds pickled objects"),
        (["--samples", "words.npy"], "words.npy: numbers must be"),
        (["--samples", "counts.npy"], "counts.npy: numbers must be"),
        (["--samples", "flat.npy"], "flat.npy: must hold points"),
        (["--samples", "none.npy"], "none.npy: must hold points"),
        (["--samples", "both.npz"], "both.npz: say which array is meant"),
        (["--samples", "both.npz:other"], "both.npz: say which array is meant"),
        (["--training", "same.npy"], "same.npy: training must have two distinct points"),
        (["--out", "file"], "file: is not a folder"),
        (["--out", "file/below"], "file: is not a folder"),
    ]


def test_held_out_points_that_are_all_training_points_judge_nothing(folder, capsys):
    files = ["--samples", "samples.npy", "--training", "training.npy", "--held-out", "training.npy"]
    status, _, err = run(capsys, *files, "--fail-above", "0.1")
    assert status == 2
    assert "training.npy: all held-out points are training points, and nothing can be judged" in err
    status, out, _ = run(capsys, *files)
    assert status == 0
    assert "60 held-out points are equal to training points." in " ".join(out.split())


def test_a_pattern_without_quotes_is_told_from_other_words(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["audit", "--training", "training.npy", "samples.npy"])
    assert "arguments: samples.npy: a pattern is quoted, 'shards/*.npy' (see diffmem audit" in capsys.readouterr().err


def test_bad_input(folder, capsys):
    """Exit 2, nothing on standard output, one line on standard error that names the culprit, and no report."""
    good = {"--samples": "samples.npy", "--training": "training.npy", "--out": "report"}
    for options, message in bad_input(folder):
        arguments = {**good, **dict([options])}
        status, out, err = run(capsys, *(word for pair in arguments.items() for word in pair))
        assert status == 2, options
        assert err.count("\n") == 1, err
        assert err.startswith("diffmem: error: ")
        assert message in err
        assert not Path("report").exists(), options
        assert out == "", options


def test_flat_points_keep_the_order_of_the_images_beside_them(folder, capsys):
    """Rows made of arrays with channels first are compared with such arrays as they are, and it is said."""
    colour = RNG.random((40, 3, 7, 6)).astype(np.float32)
    np.save("first.npy", colour)
    np.save("rows.npy", colour.reshape(40, -1))
    for samples, training in (("rows.npy", "first.npy"), ("first.npy", "rows.npy")):
        status, out, err = run(capsys, "--samples", samples, "--training", training, "--fail-above", "0.5")
        assert status == 1
        assert "memorized 100.0 %" in out
        assert "number by number" in out
        assert "number by number" in err


def test_shapes_are_compared_in_full(folder, capsys):
    """Equal points whose axes come in another order are no copies number by number, and look like none."""
    latent = RNG.random((30, 4, 8, 8)).astype(np.float32)
    np.save("first.npy", latent)
    np.save("last.npy", np.moveaxis(latent, 1, 3))
    np.save("rows.npy", latent.reshape(30, -1))
    status, _, err = run(capsys, "--samples", "first.npy", "--training", "last.npy")
    assert status == 2
    assert "first.npy: points of shape 4×8×8, but 8×8×4 in last.npy" in err
    assert "memorized 100.0 %" in run(capsys, "--samples", "first.npy", "--training", "first.npy")[1]
    out = run(capsys, "--samples", "rows.npy", "--training", "first.npy")[1]
    assert "memorized 100.0 %" in out
    assert "number by number" in " ".join(out.split())


def test_a_table_with_units(folder, capsys):
    """One column in the thousands hides copies in the others until each has its own unit."""
    table = RNG.standard_normal((60, 4)).astype(np.float32) * np.float32([1000, 1, 1, 1])
    samples = table[:10] + np.float32([0, 2, 2, 2])
    np.save("table.npy", table)
    np.save("moved.npy", samples)
    files = ["--samples", "moved.npy", "--training", "table.npy", "--out", "report"]
    out = run(capsys, *files)[1]
    assert "carries over 99 %" in " ".join(out.split())
    assert "memorized 100.0 %" not in run(capsys, *files, "--standardize")[1]
    document = json.loads(Path("report/report.json").read_text())
    assert document["standardized"]
    assert not [doubt for doubt in document["doubts"] if "carries" in doubt]


def test_too_large_for_memory(folder, capsys, monkeypatch):
    """How much was asked for, how large the files are, and what to do."""
    said = "Unable to allocate 3.6 TiB for an array with shape (1000000, 1000000)"
    for error in (MemoryError(said), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")):

        def broken(*arguments, error=error):
            raise error

        monkeypatch.setattr(cli, "_check", broken)
        status, _, err = run(capsys, "--samples", "samples.npy", "--training", "training.npy")
        assert status == 2
        assert str(error) in err
        assert re.search(r"training\.npy holds [\d.e-]+ GB", err)
        assert "mapped, not read" in err
        assert err.count("\n") == 1


def test_doubts_come_first(folder, capsys):
    """Other units, near-copies of training points that are there twice, parts of a folder that were not read."""
    twice = np.concatenate([TRAINING, TRAINING + 0.001 * RNG.standard_normal(TRAINING.shape)]).astype(np.float32)
    np.save("twice.npy", twice)
    np.save("copies.npy", TRAINING[:9] + np.float32(0.003) * RNG.standard_normal((9, 6, 5)).astype(np.float32))
    np.save("half.npy", TRAINING[:9] / 2)
    np.save("unclipped.npy", TRAINING[:9] + np.float32(0.03) * RNG.standard_normal((9, 6, 5)).astype(np.float32))
    Path("jpeg/more").mkdir()
    said = {}
    for name, training in (("copies", "twice.npy"), ("half", "training.npy"), ("unclipped", "jpeg")):
        _, out, _ = run(capsys, "--samples", f"{name}.npy", "--training", training, "--out", "report")
        said[name] = " ".join(re.findall(r"^(?:doubt {5}| {10})(\S.*)$", out, re.MULTILINE))
        assert out.index("doubt ") < out.index("D is the squared")
        page = Path("report/report.html").read_text(encoding="utf-8")
        assert page.index('class="doubt"') < page.index("<table")
        assert json.loads(Path("report/report.json").read_text())["doubts"]
    assert "9 samples that do not count as memorized are nearer" in said["copies"]
    assert "scaled alike?" in said["half"]
    assert said["unclipped"] == "Not read in jpeg: 1 subfolder."
    assert "doubt" not in run(capsys, "--samples", "samples.npy", "--training", "training.npy")[1]


def test_labels_of_images_by_name(folder, capsys):
    for i in range(40):
        Path(f"png/{i:03d}.png").rename(f"png/{i}.png")
    Path("plain.txt").write_text("a\n" * 40)
    assert "0.png" in inputs.load("png").files
    status, _, err = run(capsys, "--training", "png", "--labels", "plain.txt")
    assert status == 2
    assert "plain.txt: write lines NAME,LABEL" in err
    assert "(10.png or 2.png first)" in err
    Path("named.txt").write_text("\ufeff" + "".join(f"{i}.png, {'ab'[i % 2]} \n" for i in range(40)), encoding="utf-8")
    labels = inputs.load_labels("named.txt", inputs.load("png").files)
    assert labels[:4].tolist() == ["a", "b", "a", "b"]  # of 0, 1, 10, 11
    assert run(capsys, "--training", "png", "--labels", "named.txt")[0] == 0


def test_what_is_transparent_lies_on_white(folder):
    Path("alpha").mkdir()
    for i, hidden in enumerate(((255, 0, 0, 0), (0, 0, 255, 0))):
        image = Image.new("RGBA", (5, 6), hidden)
        image.putpixel((i, 0), (0, 0, 0, 255))
        image.save(f"alpha/{i}.png")
    points = inputs.load("alpha").points.reshape(2, 6, 5, 3)
    assert points.min() == 0
    assert (points.sum(axis=(1, 2, 3)) == 3 * 29).all()


def test_large_images_are_shown_small(folder, capsys):
    Path("large").mkdir()
    for i in range(12):
        Image.fromarray(RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(f"large/{i:02d}.png")
    assert run(capsys, "--samples", "large", "--training", "large", "--k", "3", "--out", "report")[0] == 0
    assert Path("report/report.html").stat().st_size < 8e6  # twenty million bytes at full size


def test_hidden_files_and_names_that_are_no_text(folder, capsys):
    Path("png/._000.png").write_bytes(b"what a file system left")
    Path(os.fsdecode(b"png/caf\xe9.png")).write_bytes(Path("png/000.png").read_bytes())
    assert run(capsys, "--samples", "png", "--training", "png", "--out", "report")[0] == 0
    assert "caf?.png" in Path("report/report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (MemoryError(), 2), (RuntimeError("a mistake of ours"), 3)]
)
def test_no_accident_looks_like_a_measurement(folder, capsys, monkeypatch, error, status):
    def broken(*arguments):
        raise error

    monkeypatch.setattr(cli, "_check", broken)
    found, out, err = run(capsys, "--samples", "samples.npy", "--training", "training.npy", "--out", "report")
    assert (found, out) == (status, "")
    assert err.count("\n") == 1 or status == 3
    assert not Path("report").exists()


def test_a_terminal_without_greek(folder):
    command = [
        sys.executable,
        "-m",
        "diffmem_lib.cli",
        "audit",
        "--samples",
        "samples.npy",
        "--training",
        "training.npy",
    ]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"memorized 10.0 %" in done.stdout


def test_usage_errors_exit_with_two(folder, capsys):
    for arguments in (
        [],
        ["audit"],
        ["audit", "--samples", "samples.npy"],
        ["audit", "--fail-above", "2"],
        ["audit", "--fail-above", "5%"],
        ["other"],
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        assert re.fullmatch(r"diffmem: error: .*\n", capsys.readouterr().err)


def test_a_report_that_cannot_be_completed_leaves_the_old_one(folder, capsys, monkeypatch):
    arguments = ["--samples", "samples.npy", "--training", "training.npy", "--out", "report"]
    run(capsys, *arguments)
    before = {path: path.read_bytes() for path in (folder / "report").iterdir()}
    real = Path.write_text

    def full(path, text, **options):
        real(path, text[: len(text) // 2], **options)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    status, _, err = run(capsys, *arguments, "--k", "3")
    monkeypatch.undo()
    assert status == 2
    assert "No space left" in err
    assert {path: path.read_bytes() for path in (folder / "report").iterdir()} == before


def test_installed_command_and_quiet_pipe(folder):
    """A pipe gets no progress bar; ``python -m`` and the entry point run the same function."""
    settings = tomllib.loads((Path(cli.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["scripts"]["diffmem"] == "diffmem_lib.cli:main"
    command = [sys.executable, "-m", "diffmem_lib.cli", "audit", "--samples", "samples.npy", "--training", "absent.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "diffmem: error: absent.npy: cannot be read (No such file or directory)\n"
    command[-1] = "training.npy"
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_does_not_change_the_status(folder):
    arguments = ["audit", "--samples", "samples.npy", "--training", "training.npy", "--out", "report"]
    command = [sys.executable, "-m", "diffmem_lib.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert Path("report/report.json").exists()


def test_progress_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with cli._Bar() as update:
        update(1, 4)
        update(4, 4)
    assert "comparing" in capsys.readouterr().err
