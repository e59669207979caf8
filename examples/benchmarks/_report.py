"""What the benchmarks share: options, one BLAS thread, rows of a Markdown table."""

import argparse
import time
from contextlib import contextmanager
from datetime import datetime, timezone

import numpy as np
import scipy
import sklearn
from threadpoolctl import threadpool_limits

import amortsk


def parser(description, seeds):
    """Command line with `--seeds N`: seeds are 0, ..., N - 1."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=seeds, metavar="N")
    return parser


@contextmanager
def report(columns=("metric", "target", "median", "worst", "met", "baseline", "n")):
    """Print the head of a table, then, below its rows, versions and total time.

    A target is met if the worst of all seeds meets it.
    """
    start = time.perf_counter()
    line(*columns)
    line(*["---"] * len(columns))
    with threadpool_limits(1):
        yield
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (np, scipy, sklearn))
    print(
        f"\n{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, amortsk "
        f"{amortsk.__version__}, {versions}; one BLAS thread; "
        f"{time.perf_counter() - start:.0f} s in total."
    )


def row(metric, values, *, at_most=None, at_least=None, baseline="", digits=4):
    """Print one row: median and worst of `values`, one for each seed, and a verdict."""
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if at_least is not None:
        target, worst, met = f">= {at_least}", values.min(), values >= at_least
    elif at_most is not None:
        target, worst, met = f"<= {at_most}", values.max(), values <= at_most
    else:
        target, worst, met = "none", values.max(), None
    line(
        metric,
        target,
        f"{np.median(values):.{digits}f}",
        f"{worst:.{digits}f}",
        "" if met is None else verdict(np.all(met)),
        baseline,
        str(len(values)),
    )


def verdict(met):
    """What the table says of a target."""
    return "yes" if met else "**no**"


def line(*cells):
    """Print one line of the table, as soon as it is known."""
    print(f"| {' | '.join(cells)} |", flush=True)
