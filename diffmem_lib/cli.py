"""The console command ``diffmem``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__

if TYPE_CHECKING:  # torch takes seconds to load, which --help does not wait for
    from distributed import Client

    from .memorization import AuditReport
    from .memorization.inputs import Loaded, Sources

__all__ = ["main"]

MEASURED, EXCEEDED, BAD_INPUT, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130
PATIENCE = 10  # seconds for a scheduler to answer, and to have a worker
JUDGES = ("threshold", "distance", "fdr", "fail_above", "fail_on", "no_survey", "keep", "scheduler")
NEED_SAMPLES = ("held_out", "sample_labels", "held_out_labels", *JUDGES)

DESCRIPTION = """\
Find which generated samples copy training points, and which training points are at risk.
Without --samples: which are at risk before any training.

Each of S, T and H is an .npy array (mapped, not read), an .npz archive (FILE.npz, or FILE.npz:KEY where it holds
several arrays), or a folder of PNG or JPEG images of one size, taken in the order of their names, without its
subfolders; what is transparent lies on white. Points lie along the first axis. Pickles are refused.
A quoted pattern, 'shards/*.npy', is many arrays as one: mapped, and pixels of 8 bits too are cast block by block.
Distances are Euclidean ones of the numbers as given: pixels, or better, embeddings.

Passing a distance test is no guarantee of privacy: membership inference succeeds on data that pass (arXiv 2505.01524,
2312.05114). And a report can itself leak what it shows: --redact leaves shares and counts only.
"""
LABELS = "labels of the training points: .npy, .npz, or text, one a line; for images also lines NAME,LABEL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if it could measure, 1 if ``--fail-above`` is exceeded, 2 on bad input.

    An error of the program itself gives 3 and its traceback, so that it is not taken for a measurement.
    """
    options = _parser().parse_args(arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its list of fonts concerns nobody here
    try:
        return _audit(options)
    except ValueError as error:
        return _refuse(" ".join(str(error).split()))
    except ConnectionError as error:
        return _refuse(f"--scheduler {options.scheduler}: {error}")
    except OSError as error:
        return _refuse(f"{error.filename or options.out or 'standard output'}: {error.strerror or error}")
    except MemoryError as error:
        return _refuse(_no_memory(options, str(error)))
    except KeyboardInterrupt:
        print("diffmem: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "allocate memory" in str(error):  # torch has no class of its own for this
            return _refuse(_no_memory(options, str(error)))
        traceback.print_exc()
        return CRASHED


def _no_memory(options: argparse.Namespace, reason: str) -> str:
    """How much was asked for, as far as is known, and what to do about it."""
    files = [file for file in (options.training, options.samples, options.held_out) if file is not None]
    sizes = [f"{file} holds {os.path.getsize(file) / 2**30:.2g} GB" for file in files if os.path.isfile(file)]
    detail = "; ".join(filter(None, [" ".join(reason.split()), ", ".join(sizes)]))
    advice = "floating-point .npy files are mapped, not read, and need least; so do embeddings of fewer numbers"
    return f"not enough memory{f' ({detail})' if detail else ''}: {advice}"


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as for everything else."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments:") and ".np" in message:
            message += ": a pattern is quoted, 'shards/*.npy'"
        self.exit(BAD_INPUT, f"diffmem: error: {message} (see diffmem audit --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="diffmem", description="Memorization in diffusion models.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    audit = commands.add_parser(
        "audit",
        help="find copies of training points among samples",
        description=DESCRIPTION,
        epilog="Exit status: 0 measured, 1 --fail-above is exceeded, 2 bad input, 3 an error in diffmem.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    audit.add_argument("--samples", metavar="S", help="what the model generated; without it, only risk is reported")
    audit.add_argument("--training", required=True, metavar="T", help="what it was trained on, or will be")
    audit.add_argument("--held-out", metavar="H", help="data of the same kind it was not trained on: the baseline")
    audit.add_argument("--labels", metavar="L", help=LABELS)
    audit.add_argument("--sample-labels", metavar="LS", help="labels of the samples, as --labels")
    audit.add_argument(
        "--held-out-labels", metavar="LH", help="labels of the held-out points: p-values are then within each class"
    )
    audit.add_argument("--k", type=int, default=10, help="neighbours in sparsity and predicted risk (default 10)")
    audit.add_argument(
        "--threshold",
        type=float,
        metavar="R",
        help="memorized below this ratio of nearest to second distance (default 1/3)",
    )
    audit.add_argument(
        "--distance",
        choices=("euclidean", "squared"),
        help="what R is a ratio of: euclidean distances, as in most papers (default), or squared ones, as in LocalMemo",
    )
    audit.add_argument(
        "--standardize",
        action="store_true",
        help="divide each column by its standard deviation in the training data: for tables whose columns have units",
    )
    audit.add_argument(
        "--fdr", type=float, metavar="Q", help="false discovery rate of what counts as copied (default 0.05)"
    )
    audit.add_argument(
        "--no-survey",
        action="store_true",
        default=None,
        help="leave out sparsity and predicted risk, which compare every training point with all others",
    )
    audit.add_argument(
        "--out", metavar="DIR", type=_directory, help="write report.html and report.json into this folder"
    )
    audit.add_argument(
        "--keep",
        metavar="DIR",
        type=_directory,
        help="keep the comparison with each shard of T in this folder, distances of points, so that the same command"
        " goes on from there if it is killed (sparsity and predicted risk start again)",
    )
    audit.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of the Dask cluster at this address, tcp://HOST:PORT, compare the shards of T, with the"
        " same numbers: they must see the files under the same paths (needs diffmem[cluster]; sparsity and predicted"
        " risk are not spread)",
    )
    audit.add_argument(
        "--redact",
        action="store_true",
        help="leave shares and counts only: no image, name, distance, ratio, p-value or dominance of a point",
    )
    audit.add_argument(
        "--fail-above",
        type=_share,
        metavar="F",
        help="exit with 1 if the memorized share exceeds that of held-out points by more than F (0 to 1): if the lower"
        " end of the excess's interval does. Without --held-out, if the share itself is above F",
    )
    audit.add_argument(
        "--fail-on",
        choices=("share", "excess"),
        help="what --fail-above judges (default: excess if there is --held-out)",
    )
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, not {text}")
    return value


def _directory(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must name a folder")
    return Path(text)


def _audit(options: argparse.Namespace) -> int:
    from .memorization import AuditReport, TrainingSurvey, audit, survey
    from .memorization.remarks import doubts
    from .memorization.report import as_text, write_reports

    _check_options(options)
    sources = _load(options)
    labels = _labels(options, sources)
    _check(options, sources, labels)
    arrays = _arrays(sources)
    report: TrainingSurvey
    with _cluster(options.scheduler) as client, _Bar() as bar, _names_of_files(options):
        if sources.samples is None:
            report = survey(arrays["training"], labels["labels"], options.k, progress=bar)
        else:
            given = {name: getattr(options, name) for name in ("threshold", "distance", "fdr")}
            given = {name: value for name, value in given.items() if value is not None}
            given |= {"k": options.k, "survey": not options.no_survey, "keep": options.keep, "progress": bar}
            report = audit(**arrays, **labels, **given, client=client)
    written = [] if options.out is None else write_reports(report, sources, options.out, redact=options.redact)
    _say(as_text(report, sources, redact=options.redact) + "".join(f"written: {file}\n" for file in written))
    if options.fail_above is None or not isinstance(report, AuditReport):
        return MEASURED
    for doubt in doubts(report, sources, redact=options.redact):
        print(f"diffmem: warning: {doubt}", file=sys.stderr)
    return _judge(options, report)


@contextmanager
def _cluster(address: str | None) -> Iterator[Client | None]:
    """A client of the cluster at ``address``, which has a worker; None without an address."""
    from .memorization.inputs import InputError

    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler needs an extra: pip install 'diffmem[cluster]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said once, in a line
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # of an address, of the network, of another version
        raise InputError(f"--scheduler {address}: cannot be reached ({error})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise InputError(f"--scheduler {address}: has no workers") from None
        yield client


def _arrays(sources: Sources) -> dict[str, Any]:
    """What is compared, by the name of the audit's argument."""
    from .memorization.inputs import InputError, standardized
    from .points.shards import Shards

    training = sources.training.points
    parts = {"training": sources.training, "samples": sources.samples, "held_out": sources.held_out}
    arrays = {name: None if part is None else part.points for name, part in parts.items()}
    if not sources.standardized:
        return arrays
    scaled = {}
    for name, array in arrays.items():
        if isinstance(array, Shards) or isinstance(training, Shards):
            raise InputError(f"{sources.training.source}: --standardize needs points in one file, not in shards")
        scaled[name] = None if array is None else standardized(array, training)
    return scaled


def _judge(options: argparse.Namespace, report: AuditReport) -> int:
    """Whether --fail-above is exceeded, and by what."""
    if (options.fail_on or ("share" if options.held_out is None else "excess")) == "share":
        what, value = "memorized share", report.fraction
    else:
        if report.held_out_distance is not None and report.held_out_in_training == len(report.held_out_distance):
            raise ValueError(f"{options.held_out}: all held-out points are training points, and nothing can be judged")
        what, value = "lower bound of the memorized share's excess over held-out points", report.excess_interval[0]
    above = value > options.fail_above
    print(
        f"diffmem: the {what}, {value:.4g}, is {'above' if above else 'at most'} {options.fail_above:g}",
        file=sys.stderr,
    )
    return EXCEEDED if above else MEASURED


def _labels(options: argparse.Namespace, sources: Sources) -> dict[str, Any]:
    """The labels that are given, by the name of the audit's argument."""
    from .memorization.inputs import load_labels

    parts = {"labels": sources.training, "sample_labels": sources.samples, "held_out_labels": sources.held_out}
    given = {name: getattr(options, name) for name in parts}
    files = {name: None if part is None else part.files for name, part in parts.items()}
    return {name: None if file is None else load_labels(file, files[name]) for name, file in given.items()}


@contextmanager
def _names_of_files(options: argparse.Namespace) -> Iterator[None]:
    """What is wrong with an argument of the audit, said of the file that it came from."""
    try:
        yield
    except ValueError as error:
        argument, _, rest = str(error).partition(" ")
        file = getattr(options, argument, None)
        raise ValueError(f"{file}: {argument} {rest}" if file else str(error)) from None


def _load(options: argparse.Namespace) -> Sources:
    """Samples, training and held-out points; if some of them are in colour, grey images are read as such too."""
    from .memorization.inputs import Sources, load

    given = {name: getattr(options, name) for name in ("training", "samples", "held_out")}
    files = {name: file for name, file in given.items() if file is not None}
    parts = {name: load(file) for name, file in files.items()}
    shapes = [part.image_shape for part in parts.values()]
    if len({shape and shape[:2] for shape in shapes}) == 1 and len({shape and shape[2] for shape in shapes}) > 1:
        parts = {name: load(file, colour=True) for name, file in files.items()}
    images = all(shape is not None for shape in shapes)  # flat points are in whatever order the others are
    if images and len({part.planes for part in parts.values()}) > 1:  # torch's order, and everyone else's
        parts = {name: part.interleaved() for name, part in parts.items()}
    return Sources(**parts, standardized=options.standardize)


def _check_options(options: argparse.Namespace) -> None:
    """What is wrong whatever the files hold."""
    from .memorization.inputs import InputError

    if options.samples is None:
        for name in NEED_SAMPLES:
            if getattr(options, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} needs --samples")
    if (options.sample_labels is None) != (options.held_out_labels is None):
        raise InputError("--sample-labels and --held-out-labels need each other: samples are compared within a class")
    if options.held_out is None and options.held_out_labels is not None:
        raise InputError("--held-out-labels needs --held-out")
    if options.held_out is None and options.fail_on == "excess":
        raise InputError("--fail-on excess needs --held-out")
    if options.keep is not None and options.keep.exists() and not options.keep.is_dir():
        raise InputError(f"{options.keep}: is no folder, as --keep needs")
    if options.fail_on is not None and options.fail_above is None:
        raise InputError("--fail-on needs --fail-above")
    if options.k < 1:
        raise InputError(f"--k must be at least 1, not {options.k}")
    for name in ("threshold", "fdr"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise InputError(f"--{name} must lie between 0 and 1, not {value:g}")
    if options.held_out is None and options.fdr is not None:
        raise InputError("--fdr needs --held-out: without it nothing is compared")


def _check(options: argparse.Namespace, sources: Sources, labels: Mapping[str, Any]) -> None:
    """What the audit would refuse too, said with the names of files."""
    from .memorization.inputs import InputError
    from .points.shards import Shards

    if options.scheduler is not None and not isinstance(sources.training.points, Shards):
        raise InputError(f"{options.training}: --scheduler needs training points in shards, as 'shards/*.npy'")
    n, dim = sources.training.points.shape
    if n <= options.k and not options.no_survey:
        raise InputError(f"{options.training}: more than k = {options.k} training points are needed, there are {n}")
    for part in (sources.samples, sources.held_out):
        if part is None:
            continue
        if part.points.shape[1] != dim:
            raise InputError(
                f"{part.source}: {part.points.shape[1]} numbers a point{_size(part)},"
                f" but {dim}{_size(sources.training)} in {options.training}"
            )
        if len({part.image_shape, sources.training.image_shape} - {None}) > 1:
            raise InputError(f"{part.source}: images{_size(part)}, but{_size(sources.training)} in {options.training}")
        if part.image_shape is None and min(len(part.axes), len(sources.training.axes)) > 1:
            shapes = ["×".join(map(str, one.axes)) for one in (part, sources.training)]
            if shapes[0] != shapes[1]:
                found = f"points of shape {shapes[0]}, but {shapes[1]} in {options.training}"
                raise InputError(f"{part.source}: {found}: bring both into one order of axes, or flatten both")
    if options.out is not None:
        there = next(path for path in (options.out, *options.out.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(f"{there}: is not a folder that can be written to, as --out needs")
    for name, part, kind in (
        ("labels", sources.training, "training points"),
        ("sample_labels", sources.samples, "samples"),
        ("held_out_labels", sources.held_out, "held-out points"),
    ):
        if part is not None and labels[name] is not None and len(labels[name]) != len(part.points):
            found = f"{len(labels[name])} labels for {len(part.points)} {kind} in {part.source}"
            raise InputError(f"{getattr(options, name)}: {found}")


def _size(part: Loaded) -> str:
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
