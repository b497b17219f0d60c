"""What a disk costs that is cloned from the store, and the memory that a large image takes."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from salt_kvm import converge
from salt_kvm.backend.client import Client
from salt_kvm.backend.world import World

GIB = 1024**3
TURN = 10
BLOCK = os.urandom(1024 * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=50)
    parser.add_argument("--folder", default="/var/tmp", help="where it all is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-kvm-", dir=arguments.folder) as name:
        clones(Path(name), arguments.guests)
        memory(Path(name))


def clones(folder: Path, guests: int) -> None:
    """Clone in turns of a few: the state's way, and qemu-img alone."""
    base = folder / "base.raw"
    write(base, GIB)
    world = here(folder)
    start = time.perf_counter()
    make(world, folder / "first.qcow2", base)
    os.sync()
    print(f"the first of {guests + 1}: {time.perf_counter() - start:.2f} s")
    ours, bare = [], []
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base)]
    for first in range(0, guests, TURN):
        turn = range(first, min(first + TURN, guests))
        ours += timed(make, [(world, folder / f"ours{number}.qcow2", base) for number in turn])
        bare += timed(run, [([*create, str(folder / f"bare{number}.qcow2")],) for number in turn])
    for label, times in (("kvm_image.present", ours), ("qemu-img create -b", bare)):
        print(f"{label:20} median {1000 * median(times):6.1f} ms, all {sum(times):5.2f} s")
    print(f"{'ratio':20} median {median(ours) / median(bare):6.2f}")


def timed(call: Callable[..., object], calls: Iterable[tuple[Any, ...]]) -> Iterator[float]:
    """Yield the seconds of each call; none pays for what the other side left unwritten."""
    os.sync()
    for arguments in calls:
        start = time.perf_counter()
        call(*arguments)
        yield time.perf_counter() - start


def run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def memory(folder: Path) -> None:
    """Bring four GiB into the store."""
    large = folder / "large.raw"
    write(large, 4 * GIB)
    world = here(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    make(world, folder / "large.qcow2", large)
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"4 GiB: {seconds:.1f} s, {grown / 1024:.1f} MiB more memory than before")


def here(folder: Path) -> World:
    """Return this host, with a store in a folder."""
    world = World("qemu:///system")
    world.begin("benchmark", lambda: Client(store=str(folder / "store")))
    return world


def make(world: World, path: Path, source: Path) -> None:
    outcome = converge.run(world, "image", str(path), {"format": "qcow2", "source": str(source)})
    assert outcome.failure is None, outcome.failure


def write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // len(BLOCK)):
            file.write(BLOCK)
        # What is still on its way to the disk would be waited for by whoever comes next.
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
