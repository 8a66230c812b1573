"""The console command ``diffmem``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

MEASURED, EXCEEDED, BAD_INPUT = 0, 1, 2
THRESHOLD = 1 / 3

DESCRIPTION = """\
Find which generated samples copy training points, and which training points are at risk.
Without --samples: which are at risk before any training.

Each of S, T and H is an .npy array (mapped, not read), an .npz archive (FILE.npz, or FILE.npz:KEY where it holds
several arrays), or a folder of PNG or JPEG images of one size. Points lie along the first axis. Pickles are refused.
Distances are squared Euclidean ones per dimension, of the numbers as given: pixels, or better, embeddings.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if it could measure, 1 if ``--fail-above`` is exceeded, 2 on bad input."""
    options = _parser().parse_args(arguments)
    from .memorization.inputs import InputError  # torch loads only when there is something to do

    try:
        return _audit(options)
    except (InputError, ValueError) as error:
        return _refuse(" ".join(str(error).split()))
    except OSError as error:
        return _refuse(f"{error.filename or options.out}: {error.strerror or error}")


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as for everything else."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"diffmem: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="diffmem", description="Memorization in diffusion models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    audit = commands.add_parser(
        "audit",
        help="find copies of training points among samples",
        description=DESCRIPTION,
        epilog="Exit status: 0 measured, 1 the fraction exceeds --fail-above, 2 bad input.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    audit.add_argument("--samples", metavar="S", help="what the model generated; without it, only risk is reported")
    audit.add_argument("--training", required=True, metavar="T", help="what it was trained on, or will be")
    audit.add_argument("--held-out", metavar="H", help="data of the same kind it was not trained on: the baseline")
    audit.add_argument("--labels", metavar="L", help="labels of the training points: .npy, .npz, or text, one a line")
    audit.add_argument("--k", type=int, default=10, help="neighbours in sparsity and predicted risk (default 10)")
    audit.add_argument(
        "--threshold", type=float, metavar="R", help="memorized below this ratio of squared distances (default 1/3)"
    )
    audit.add_argument("--out", metavar="DIR", type=Path, help="write report.html and report.json into this folder")
    audit.add_argument(
        "--fail-above", type=_share, metavar="F", help="exit with 1 if the memorized fraction is above F (0 to 1)"
    )
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {text}")
    return value


def _audit(options: argparse.Namespace) -> int:
    from .memorization import audit, survey
    from .memorization.inputs import load_labels
    from .memorization.report import as_text, write_reports

    _check_options(options)
    sources = _load(options)
    labels = None if options.labels is None else load_labels(options.labels)
    _check(options, sources, labels)
    training = sources.training.points
    with _Bar() as bar:
        if sources.samples is None:
            report = survey(training, labels, options.k, progress=bar)
        else:
            held_out = None if sources.held_out is None else sources.held_out.points
            threshold = THRESHOLD if options.threshold is None else options.threshold
            report = audit(sources.samples.points, training, held_out, labels, options.k, threshold, progress=bar)
    written = [] if options.out is None else write_reports(report, sources, options.out)
    _say(as_text(report, sources) + "".join(f"written: {file}\n" for file in written))
    if options.fail_above is not None and report.fraction > options.fail_above:
        print(f"diffmem: memorized fraction {report.fraction:.4g} is above {options.fail_above:g}", file=sys.stderr)
        return EXCEEDED
    return MEASURED


def _load(options: argparse.Namespace):
    """Samples, training and held-out points; if some of them are in colour, grey images are read as such too."""
    from .memorization.inputs import load
    from .memorization.report import Sources

    names = [options.training, options.samples, options.held_out]
    parts = [None if name is None else load(name) for name in names]
    shapes = [part.image_shape for part in parts if part is not None]
    if len({shape and shape[:2] for shape in shapes}) == 1 and len({shape and shape[2] for shape in shapes}) > 1:
        parts = [None if name is None else load(name, colour=True) for name in names]
    if len({part.planes for part in parts if part is not None}) > 1:  # torch's order of channels, and everyone else's
        parts = [None if part is None else part.interleaved() for part in parts]
    return Sources(*parts)


def _check_options(options: argparse.Namespace) -> None:
    """What is wrong whatever the files hold."""
    from .memorization.inputs import InputError

    if options.samples is None:
        for name in ("held_out", "threshold", "fail_above"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} needs --samples")
    if options.k < 1:
        raise InputError(f"--k must be at least 1, not {options.k}")
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise InputError(f"--threshold must lie between 0 and 1, not {options.threshold:g}")


def _check(options: argparse.Namespace, sources, labels) -> None:
    """What the audit would refuse too, said with the names of files."""
    from .memorization.inputs import InputError

    n, dim = sources.training.points.shape
    if n <= options.k:
        raise InputError(f"{options.training}: more than k = {options.k} training points are needed, there are {n}")
    for part in (sources.samples, sources.held_out):
        if part is not None and part.points.shape[1] != dim:
            raise InputError(
                f"{part.source}: {part.points.shape[1]} numbers a point{_size(part)},"
                f" but {dim}{_size(sources.training)} in {options.training}"
            )
    if options.out is not None:
        there = next(path for path in (options.out, *options.out.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(f"{there}: is not a folder that can be written to, as --out needs")
    if labels is not None and len(labels) != n:
        raise InputError(f"{options.labels}: {len(labels)} labels for {n} training points in {options.training}")


def _size(part) -> str:
    return "" if part.image_shape is None else " ({1}×{0}, {2} channels)".format(*part.image_shape)


def _say(text: str) -> None:
    """Print, though the reader may have left (``diffmem … | head``) or have no σ in its encoding."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor complain when Python closes it


def _refuse(message: str) -> int:
    print(f"diffmem: error: {message}", file=sys.stderr)
    return BAD_INPUT


class _Bar:
    """A progress bar on the terminal, and nothing where standard error is a file or a pipe."""

    def __enter__(self) -> Callable[[int, int], None]:
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f} % |{bar}| {elapsed} elapsed, {remaining} to go"
        self.bar = tqdm(desc="comparing", bar_format=form, total=1, disable=None, leave=False, file=sys.stderr)
        return self.update

    def update(self, done: int, total: int) -> None:
        if self.bar.total != total:
            self.bar.reset(total)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *exception: object) -> None:
        self.bar.close()


if __name__ == "__main__":
    sys.exit(main())
