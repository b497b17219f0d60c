"""Measure every case in one run, interleaved, and print the figures; see README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cases
import fixture
import process
from cases import Case
from process import Counts, Sample

SIZES = (10, 100, 300)
RUNNING = 20
PLANNED = 1000
PATIENCE = 30.0
ATTEMPTS = 3
FLOORS = ("nop", "read")


@dataclass
class Figures:
    """All that was measured; samples and counts by the key of a case and the number of domains."""

    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    counts: dict[tuple[str, int], Counts] = field(default_factory=dict)
    loading: list[dict[str, float]] = field(default_factory=list)
    planning: dict[str, list[float]] = field(default_factory=dict)

    def wall(self, key: str, size: int) -> float:
        return median(sample.wall for sample in self.samples[key, size])

    def cpu(self, key: str, size: int) -> float:
        return median(sample.cpu for sample in self.samples[key, size])

    def has(self, key: str, size: int) -> bool:
        return (key, size) in self.samples


def main() -> None:
    arguments = parse()
    sizes = SIZES[:1] if arguments.quick else SIZES
    if not arguments.no_peer:
        cases.make_peer()
    with fixture.host() as host, tempfile.TemporaryDirectory() as work:
        rows = cases.cases(Path(work), host.disk)
        rows = [row for row in rows if row.key != "peer" or not arguments.no_peer]
        rounds = 1 if arguments.quick else arguments.rounds
        off = [row for row in rows if not row.running]
        figures = measure(host, off, sizes, rounds)
        running = sizes[0] if arguments.quick else RUNNING
        measure_running(host, rows, running, rounds, figures)
        planned = sizes[0] if arguments.quick else PLANNED
        measure_planning(host, f"{work}/domain-{sizes[0]}/minion", planned, rounds, figures)
        loaded = [
            sys.executable,
            str(cases.HERE / "load_modules.py"),
            f"{work}/domain-{sizes[0]}/minion",
        ]
        more = 1 if arguments.quick else max(arguments.rounds, 5)
        figures.loading = [json.loads(process.run(loaded).output) for _ in range(more)]
    for line in report(figures, off, sizes):
        print(line)
    for line in report_running(figures, rows, running):
        print(line)
    print(report_planning(figures, planned))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="converged", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each case (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round, 10 domains")
    parser.add_argument("--no-peer", action="store_true", help="leave saltext-virt out")
    return parser.parse_args()


def measure(host: fixture.Host, rows: Sequence[Case], sizes: Sequence[int], rounds: int) -> Figures:
    """Make the domains with salt-kvm, find out which cases leave them alone, then take turns."""
    figures = Figures()
    host.prepare()
    process.run(next(row for row in rows if row.key == "domain").command(sizes[-1]))
    host.remember()
    turns = list(usable(host, rows, sizes, figures))
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for size in sizes:
            host.resize(size)
            due = [row for row, to in turns if to == size]
            first = number % len(due)
            for row in due[first:] + due[:first]:
                sample = converged(row, size)
                figures.samples.setdefault((row.key, size), []).append(sample)
    return figures


def measure_running(
    host: fixture.Host, rows: Sequence[Case], size: int, rounds: int, figures: Figures
) -> None:
    """Let the rows for running guests take turns with the floors, while ``size`` guests run.

    Their figures are kept under the negative of their number.
    """
    host.resize(size)
    host.start()
    due = [row for row in rows if row.running or row.key in FLOORS]
    for row in due:
        converged(row, size)
        figures.counts[row.key, -size] = process.count(row.command(size))
    for number in range(rounds):
        say(f"running guests, round {number + 1} of {rounds}")
        for row in due[number % len(due) :] + due[: number % len(due)]:
            figures.samples.setdefault((row.key, -size), []).append(converged(row, size))
    host.stop()


def measure_planning(
    host: fixture.Host, config: str, size: int, rounds: int, figures: Figures
) -> None:
    """Plan the whole pillar of ``size`` domains, and read them, in turns within one process."""
    host.resize(0)
    say(f"defining {size} domains")
    host.multiply(size)
    say("planning them")
    command = [sys.executable, str(cases.HERE / "plan.py"), config, str(size), str(host.folder)]
    figures.planning = json.loads(process.run([*command, str(rounds)]).output)


def usable(
    host: fixture.Host, rows: Sequence[Case], sizes: Sequence[int], figures: Figures
) -> Iterator[tuple[Case, int]]:
    """Yield the cases that change nothing and end in time; count their calls on the way."""
    for size in sizes:
        host.resize(size)
        for row in rows:
            if row.key == "kvm" and (why := would_change(row, size)) is not None:
                say(f"left out: {row.label} with {size}: {why}")
                continue
            first = converged(row, size)
            if first.wall > PATIENCE:
                say(f"left out: {row.label} with {size} domains takes {first.wall:.0f} s")
                continue
            figures.counts[row.key, size] = process.count(row.command(size))
            yield row, size


def would_change(row: Case, size: int) -> str | None:
    """Say what the whole state would change on this host: that is nothing for a benchmark."""
    try:
        return cases.fault(process.run([*row.command(size), "test=True"]).output, size)
    except process.Failed as error:
        return str(error)


def converged(row: Case, size: int) -> Sample:
    """Run a case once; again where what others do on this host got in its way, but not forever."""
    for left in reversed(range(ATTEMPTS)):
        try:
            sample = process.run(row.command(size))
            why = cases.fault(sample.output, size, row.changes) if row.salt else None
        except process.Failed as error:
            why = str(error)
        if why is None:
            return sample
        say(f"{row.label} with {size} domains, {left} attempts left: {why}")
    raise SystemExit(f"{row.label} with {size} domains does not end well")


def report(figures: Figures, rows: Sequence[Case], sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the tables, as Markdown."""
    head = [
        "",
        "N",
        "wall s",
        "least",
        "CPU s",
        "connections",
        "calls",
        "round trips",
        "more programs",
    ]
    yield from table(
        head,
        [
            [row.label, str(size), *measured(figures, row.key, size)]
            for row in rows
            for size in sizes
            if figures.has(row.key, size)
        ],
    )
    yield ""
    if len(sizes) > 1:
        small, large = sizes[-2:]
        head = ["each further domain", "wall ms", "CPU ms", "calls", "round trips"]
        both = [row for row in rows if all(figures.has(row.key, n) for n in (small, large))]
        yield from table(
            head, [[row.label, *slopes(figures, row.key, small, large)] for row in both]
        )
        yield ""
    yield from table(
        ["over the two floors", "N", "wall", "CPU"], list(ratios(figures, rows, sizes))
    )
    yield ""
    yield from table(
        ["over the row salt-kvm", "N", "wall", "CPU"], list(relative(figures, rows, sizes))
    )
    yield ""
    modules, grain = (median(row[key] for row in figures.loading) for key in ("modules", "grain"))
    yield f"Loading the execution modules: {modules:.0f} ms; the grain: {grain:.0f} ms."


def measured(figures: Figures, key: str, size: int) -> list[str]:
    counts = figures.counts[key, size]
    more = counts.programs - figures.counts["nop", size].programs
    programs = ", ".join(f"{n} {name}" for name, n in sorted(more.items()))
    return [
        f"{figures.wall(key, size):.2f}",
        f"{min(sample.wall for sample in figures.samples[key, size]):.2f}",
        f"{figures.cpu(key, size):.2f}",
        str(counts.connections),
        str(counts.calls.total()),
        str(counts.round_trips),
        programs or "none",
    ]


def slopes(figures: Figures, key: str, small: int, large: int) -> list[str]:
    def slope(low: float, high: float) -> float:
        return (high - low) / (large - small)

    few, many = figures.counts[key, small], figures.counts[key, large]
    return [
        f"{1000 * slope(figures.wall(key, small), figures.wall(key, large)):.2f}",
        f"{1000 * slope(figures.cpu(key, small), figures.cpu(key, large)):.2f}",
        f"{slope(few.calls.total(), many.calls.total()):.1f}",
        f"{slope(few.round_trips, many.round_trips):.1f}",
    ]


def ratios(figures: Figures, rows: Sequence[Case], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield each case's time over that of Salt alone and of the raw read together."""
    for row in rows:
        for size in sizes:
            if row.key in FLOORS or row.over or not figures.has(row.key, size):
                continue
            wall = figures.wall(row.key, size) / sum(figures.wall(f, size) for f in FLOORS)
            cpu = figures.cpu(row.key, size) / sum(figures.cpu(f, size) for f in FLOORS)
            yield [row.label, str(size), f"{wall:.2f}", f"{cpu:.2f}"]


def relative(figures: Figures, rows: Sequence[Case], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield each row's time over that of the row that it is compared with."""
    for row in rows:
        for size in sizes:
            if row.over is not None and figures.has(row.key, size):
                wall = figures.wall(row.key, size) / figures.wall(row.over, size)
                cpu = figures.cpu(row.key, size) / figures.cpu(row.over, size)
                yield [row.label, str(size), f"{wall:.2f}", f"{cpu:.2f}"]


def report_running(figures: Figures, rows: Sequence[Case], size: int) -> Iterator[str]:
    """Yield the lines of the table of running guests."""
    due = [row for row in rows if figures.has(row.key, -size)]
    head = ["running guests", "N", "wall s", "CPU s", "calls", "round trips", "over the floors"]
    floors = sum(figures.wall(key, -size) for key in FLOORS)
    lines = []
    for row in due:
        counts, wall = figures.counts[row.key, -size], figures.wall(row.key, -size)
        cells = [f"{wall:.2f}", f"{figures.cpu(row.key, -size):.2f}"]
        asked = [str(counts.calls.total()), str(counts.round_trips)]
        ratio = "" if row.key in FLOORS else f"{wall / floors:.2f}"
        lines.append([row.label, str(size), *cells, *asked, ratio])
    yield ""
    yield from table(head, lines)
    yield ""


def report_planning(figures: Figures, size: int) -> str:
    read, plan = (median(figures.planning[key]) for key in ("read", "plan"))
    return (
        f"kvm_host.plan of {size} domains: {1000 * plan:.0f} ms; reading their XML: "
        f"{1000 * read:.0f} ms; ratio {plan / read:.2f}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table with its columns aligned."""
    lines: list[Any] = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
