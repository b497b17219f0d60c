"""What guests may be promised of the host: its policy at a guest's start, and the account of it.

What counts is all of a host, so these tests have a libvirtd to themselves.
"""

import os
from pathlib import Path

import pytest
import salt.loader

from .conftest import PREFIX

WEB, DB = f"{PREFIX}web", f"{PREFIX}db"
MiB = 1024**2
TOTAL = int(Path("/proc/meminfo").read_text().split()[1]) * 1024


@pytest.fixture
def run_with(opts, modules, own_libvirtd):
    """Return the maker of runs under a policy: ``run_with(memory=bytes)(function, name, ...)``."""

    def make(*, test=False, memory=None, cpu=None):
        # The quotient may be off by one in its last digit, so a little more than the whole.
        ratios = {"memory": memory and (memory + 4096) / TOTAL, "cpu": cpu and cpu / os.cpu_count()}
        overcommit = {what: ratio for what, ratio in ratios.items() if ratio}
        pillar = {"kvm": {"host": {"overcommit": overcommit}}}
        options = {**opts, "test": test, "pillar": pillar}
        states = salt.loader.states(options, modules, {}, None, context={})
        states.pack["__running__"] = {}

        def go(function, name, **fields):
            return states[f"kvm_domain.{function}"](
                name=name, connection=own_libvirtd.uri, **{"memory": "32MiB", **fields}
            )

        return go

    return make


def test_a_guest_that_breaks_the_policy_is_refused_and_nothing_is_made(run_with, own_libvirtd):
    for test in (True, False):
        ret = run_with(test=test, memory=48 * MiB)("running", WEB, memory="64MiB")
        assert (ret["result"], ret["changes"]) == (False, {})
        assert "promised 64MiB of memory where 0B are promised" in ret["comment"]
        assert "kvm:host:overcommit:memory allows" in ret["comment"]
        assert "overcommit: true" in ret["comment"]
    assert own_libvirtd.names() == {}


def test_earlier_starts_of_a_run_count_in_a_dry_run_too(run_with, own_libvirtd):
    for test in (True, False):
        run = run_with(test=test, memory=64 * MiB)
        first, second = (run("running", name, memory="40MiB") for name in (WEB, DB))
        assert first["result"] is (None if test else True), first
        assert second["result"] is False, second
        assert "where 40MiB are promised already" in second["comment"]
    assert own_libvirtd.names() == {WEB: "running"}


def test_what_is_only_defined_is_no_promise(run_with, own_libvirtd):
    run = run_with(memory=64 * MiB)
    assert run("present", DB, memory="64MiB")["result"] is True
    assert run("running", WEB, memory="64MiB")["result"] is True
    assert run("running", DB, memory="64MiB")["result"] is False
    assert own_libvirtd.names() == {WEB: "running", DB: "shut off"}
    assert run("stopped", WEB, timeout=0, force=True)["result"] is True
    assert run("running", DB, memory="64MiB")["result"] is True


def test_a_stop_makes_room_for_a_later_start_of_a_dry_run(run_with, own_libvirtd):
    assert run_with()("running", WEB, memory="64MiB")["result"] is True
    for test in (True, False):
        run = run_with(test=test, memory=64 * MiB)
        assert run("stopped", WEB, timeout=0, force=True)["result"] is (None if test else True)
        assert run("running", DB, memory="64MiB")["result"] is (None if test else True)


def test_who_says_so_starts_it_all_the_same(run_with):
    ret = run_with(memory=32 * MiB)("running", WEB, memory="64MiB", overcommit=True)
    assert ret["result"] is True, ret


def test_the_maximum_counts_since_it_needs_no_start(run_with):
    ret = run_with(memory=48 * MiB)("running", WEB, memory="32MiB", max_memory="64MiB")
    assert ret["result"] is False
    ret = run_with(cpu=2)("running", WEB, vcpus=1, max_vcpus=3)
    assert ret["result"] is False
    assert "promised 3 of vcpus where 0 are promised already" in ret["comment"]
    assert "kvm:host:overcommit:cpu allows 2" in ret["comment"]


def test_a_restart_that_takes_no_more_is_always_allowed(run_with, own_libvirtd):
    assert run_with()("running", WEB, memory="64MiB")["result"] is True
    strict = run_with(memory=32 * MiB)
    waits = {"cpu": "Nehalem", "restart": True, "timeout": 0, "force": True}
    ret = strict("running", WEB, memory="64MiB", **waits)
    assert (ret["result"], ret["changes"]["state"]["new"]) == (True, "restarted"), ret
    before = own_libvirtd.guest(WEB)
    ret = strict("running", WEB, memory="128MiB", **waits)
    assert ret["result"] is False
    assert "promised 128MiB of memory" in ret["comment"]
    assert own_libvirtd.guest(WEB) == before


def test_a_policy_that_is_none_is_named(run_with, opts, modules, own_libvirtd):
    pillar = {"kvm": {"host": {"overcommit": {"memory": "much"}}}}
    states = salt.loader.states({**opts, "pillar": pillar}, modules, {}, None, context={})
    ret = states["kvm_domain.running"](name=WEB, memory="32MiB", connection=own_libvirtd.uri)
    assert ret["result"] is False
    assert "kvm:host:overcommit:memory" in ret["comment"]


def test_the_plan_of_a_pillar_counts_its_own_starts(modules, own_libvirtd):
    domains = {name: {"memory": "40MiB"} for name in (WEB, DB)}
    pillar = {"host": {"overcommit": {"memory": 64 * MiB / TOTAL}}, "domains": domains}
    first, second = modules["kvm_host.plan"](pillar, connection=own_libvirtd.uri)
    assert first["fault"] is None
    assert "40MiB are promised already" in second["fault"]


def test_the_account(opts, run_with, own_libvirtd):
    run = run_with()
    run("running", WEB, memory="64MiB", vcpus=1, max_vcpus=2)
    run("present", DB, memory="48MiB")
    pillar = {"kvm": {"host": {"overcommit": {"memory": 1.5}}}}
    asked = salt.loader.minion_mods({**opts, "pillar": pillar}, context={})
    found = asked["kvm_host.capacity"](connection=own_libvirtd.uri)
    memory, cpu = found["memory"], found["cpu"]
    assert memory["total"] == TOTAL
    assert 0 < memory["used"] < TOTAL
    assert (memory["promised"], memory["defined"]) == (64 * MiB, 112 * MiB)
    assert memory["allowed"] == int(TOTAL * 1.5)
    assert memory["left"] == memory["allowed"] - 64 * MiB
    assert (cpu["total"], cpu["promised"], cpu["defined"]) == (os.cpu_count(), 2, 3)
    assert (cpu["ratio"], cpu["allowed"], cpu["left"]) == (None, None, None)
    web, db = found["domains"][WEB], found["domains"][DB]
    assert (web["running"], web["memory"], web["vcpus"]) == (True, 64 * MiB, 2)
    assert web["memory_used"] > MiB
    assert db == {"running": False, "memory": 48 * MiB, "memory_used": None, "vcpus": 1}
