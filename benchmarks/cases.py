"""The ways to apply N domains that are compared: for each, its configuration and its command."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from fixture import NETWORK, PREFIX, URI, names

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
PEER = CHECKOUT / ".cache" / "benchmarks" / "saltext-virt"
PEER_PACKAGES = ("saltext-virt==0.1.0",)
MEMORY_MIB = 64
DISK_SIZE = "1GiB"

Disk = Callable[[str], str]


@dataclass(frozen=True)
class Case:
    """One row of the table; a Salt run is checked to change as many domains as it should.

    ``over`` is the key of the row that it is compared with, if not the two floors; ``running``
    rows find their domains running.
    """

    key: str
    label: str
    command: Callable[[int], Sequence[str]]
    salt: bool = True
    changes: int = 0
    over: str | None = None
    running: bool = False


def ours(name: str, disk: Disk, state: str = "stopped") -> dict[str, Any]:
    """A domain in this package's words."""
    return {
        "state": state,
        "virt_type": "qemu",
        "memory": f"{MEMORY_MIB}MiB",
        "vcpus": 1,
        "disks": [{"path": disk(name), "format": "qcow2", "size": DISK_SIZE}],
        "interfaces": [{"network": NETWORK}],
        "graphics": [{"type": "vnc", "listen": "127.0.0.1"}],
    }


def theirs(name: str, disk: Disk) -> dict[str, Any]:
    """The same domain in saltext-virt's words."""
    return {
        "vm_type": "qemu",
        "mem": MEMORY_MIB,
        "cpu": 1,
        "disks": [{"name": "system", "source_file": disk(name), "format": "qcow2"}],
        "interfaces": [{"name": "eth0", "type": "network", "source": NETWORK}],
        "graphics": {"type": "vnc", "listen": {"type": "address", "address": "127.0.0.1"}},
    }


def cases(work: Path, disk: Disk) -> list[Case]:
    """Return every case; ``work`` takes their configurations."""

    def salt_call(key: str, sls: str, pillar: Callable[[int], Any], python: Path) -> Any:
        def command(count: int) -> Sequence[str]:
            config = configuration(work / f"{key}-{count}", pillar(count))
            return [str(python.parent / "salt-call"), *options(config), "state.apply", sls]

        return command

    def bare(count: int) -> Any:
        return {"bench": names(count)}

    def kvm(count: int) -> Any:
        return {"kvm": {"domains": {name: ours(name, disk) for name in names(count)}}}

    def on(count: int) -> Any:
        return {"kvm": {"domains": {name: ours(name, disk, "running") for name in names(count)}}}

    def titled(title: str) -> Callable[[int], Any]:
        def pillar(count: int) -> Any:
            made = kvm(count)
            made["kvm"]["domains"][names(count)[-1]]["title"] = title
            return made

        return pillar

    def guests(count: int) -> Any:
        return {"guests": {name: theirs(name, disk) for name in names(count)}}

    def read(_count: int) -> Sequence[str]:
        return [sys.executable, str(HERE / "raw_read.py"), URI]

    here, peer = Path(sys.executable), PEER / "bin" / "python"
    domain = salt_call("domain", "kvm.domain", kvm, here)
    titles = itertools.cycle(
        [salt_call(f"one-{title}", "kvm.domain", titled(title), here) for title in "ab"]
    )
    return [
        Case("nop", "Salt alone", salt_call("nop", "bench.nop", bare, here)),
        Case("read", "raw read", read, salt=False),
        Case("carried", "Salt, same pillar", salt_call("carried", "bench.carried", kvm, here)),
        Case("domain", "salt-kvm", domain),
        Case("dry", "salt-kvm, dry run", lambda n: [*domain(n), "test=True"], over="domain"),
        Case("one", "salt-kvm, one change", lambda n: next(titles)(n), changes=1, over="domain"),
        Case("kvm", "salt-kvm, all of kvm", salt_call("kvm", "kvm", kvm, here)),
        Case("peer", "saltext-virt", salt_call("peer", "bench.peer", guests, peer)),
        Case("on", "salt-kvm, running", salt_call("on", "kvm.domain", on, here), running=True),
    ]


def configuration(folder: Path, pillar: Any) -> Path:
    """Write a minion's configuration and pillar, once; return its directory."""
    if not folder.exists():
        (folder / "pillar").mkdir(parents=True)
        files = {
            "minion": {
                "id": "bench",
                "root_dir": str(folder),
                "file_client": "local",
                "file_roots": {"base": [str(CHECKOUT / "states"), str(HERE / "states")]},
                "pillar_roots": {"base": [str(folder / "pillar")]},
                "enable_fqdns_grains": False,
            },
            "pillar/top.sls": {"base": {"*": ["data"]}},
            "pillar/data.sls": pillar,
        }
        for name, content in files.items():
            (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def options(config: Path) -> list[str]:
    return [
        "-c",
        str(config),
        "--local",
        "--out=json",
        "--log-level=quiet",
        "--retcode-passthrough",
    ]


def fault(output: str, count: int, changes: int = 0) -> str | None:
    """Say in what a run is not what this benchmark measures: N domains, so many of them changed."""
    states = json.loads(output)["local"]
    if not isinstance(states, dict):
        return str(states)
    changed = [state for state in states.values() if state["changes"]]
    odd = [state for state in states.values() if state["result"] is not True]
    for state in odd or (changed if len(changed) != changes else []):
        return f"{state['__id__']}: {state['comment']} {json.dumps(state['changes'])}"
    if len(changed) != changes:
        return f"{len(changed)} changes instead of {changes}"
    seen = sum(PREFIX in state["__id__"] for state in states.values())
    return None if seen == count else f"{seen} domains instead of {count}"


def make_peer() -> None:
    """Make the environment of saltext-virt, with the versions of Salt and libvirt-python here."""
    if (PEER / "ready").exists():
        return
    print(f"Installing {' '.join(PEER_PACKAGES)} into {PEER}", file=sys.stderr)
    PEER.parent.mkdir(parents=True, exist_ok=True)
    same = [f"{name}=={version(name)}" for name in ("salt", "libvirt-python")]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER)], check=True)
    pip = [str(PEER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", *same, *PEER_PACKAGES], check=True, stderr=subprocess.DEVNULL)
    (PEER / "ready").touch()
