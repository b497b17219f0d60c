"""What an administrator reads on the terminal."""

from __future__ import annotations

from typing import Any

from salt_kvm.output import kvm_host

CHECKS = [
    {"name": "above", "result": "warn", "seen": "KVM", "cure": "Switch it on."},
    {"name": "tun", "result": "pass", "seen": "is there", "cure": ""},
    {"name": "cpu", "result": "fail", "seen": "nothing", "cure": "Switch it on."},
    {"name": "kvm", "result": "fail", "seen": "no /dev/kvm", "cure": "Load it."},
    {"name": "memory", "result": "pass", "seen": "v2", "cure": ""},
]


def account(**more: Any) -> dict[str, Any]:
    told = {"total": 8 * 1024**3, "used": 1536 * 1024**2, "promised": 6 * 1024**3}
    return {**told, "defined": 10 * 1024**3, "ratio": None, "allowed": None, "left": None, **more}


CPU = {
    "total": 4,
    "used": 1.25,
    "promised": 9,
    "defined": 9,
    "ratio": 2.0,
    "allowed": 8,
    "left": -1,
}
GUESTS = {
    "b": {"running": False, "memory": 4 * 1024**3, "memory_used": None, "vcpus": 1},
    "web1": {"running": True, "memory": 6 * 1024**3, "memory_used": 1024**2, "vcpus": 9},
}


def test_the_worst_check_comes_first_and_a_cure_once() -> None:
    assert kvm_host.output({"node1": CHECKS}).splitlines() == [
        "node1:",
        "  fail cpu: nothing",
        "      Switch it on.",
        "  fail kvm: no /dev/kvm",
        "      Load it.",
        "  warn above: KVM",
        "      The cure is that of cpu.",
        "  pass tun, memory",
        "  2 fail, 1 warn, 2 pass.",
    ]


def test_capacity_has_units_and_says_what_the_policy_comes_to() -> None:
    told = {"memory": account(), "cpu": CPU, "domains": GUESTS}
    assert kvm_host.output({"node1": told}).splitlines() == [
        "node1:",
        "          there      used  promised  if all ran  allowed  left",
        "  memory  8 GiB   1.5 GiB     6 GiB      10 GiB        -     -",
        "  cpu         4  load 1.2         9           9        8    -1",
        "",
        "  guest       memory  of it used  CPUs",
        "  web1    on   6 GiB       1 MiB     9",
        "  b      off   4 GiB           -     1",
        "",
        "  memory: no limit; kvm:host:overcommit:memory would be one.",
        "  cpu: kvm:host:overcommit:cpu allows 2 times what is there, and 1 more than that is "
        "promised: no further guest starts until some are stopped or smaller.",
    ]


def test_a_host_that_could_not_be_asked_says_so() -> None:
    assert kvm_host.output({"node1": "libvirt can't be reached"}) == (
        "node1:\nlibvirt can't be reached"
    )
    nothing = {"memory": account(used=None), "cpu": {**CPU, "used": None}, "domains": {}}
    lines = kvm_host.output({"node1": nothing}).splitlines()
    assert "load" not in "".join(lines)
    assert not any("guest  " in line for line in lines)
