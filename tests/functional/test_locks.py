"""Two runs at once, and a run that is killed."""

import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest

from salt_kvm.backend.system import lock
from waiting import SECONDS

from .conftest import PREFIX, in_child

NAME = f"{PREFIX}twice"


def test_two_runs_at_once_make_one_guest(run, modules, folder):
    fields = {"memory": "32MiB", "disks": [{"path": f"{folder}/a.raw", "size": "1MiB"}]}
    together = multiprocessing.get_context("fork").Barrier(2)
    results = multiprocessing.get_context("fork").Queue()

    def one():
        together.wait()
        results.put(run()("kvm_domain.running", name=NAME, **fields))

    children = [in_child(one), in_child(one)]
    told = [results.get(timeout=SECONDS) for _ in children]
    for child in children:
        child.join()
    assert [each["result"] for each in told] == [True, True]
    assert sorted(bool(each["changes"]) for each in told) == [False, True]


def test_a_run_that_waited_says_so(run, folder, monkeypatch):
    ready, waiting = (multiprocessing.get_context("fork").Event() for _ in range(2))

    def other():
        with lock.held("image", f"{folder}/a.raw"):
            ready.set()
            waiting.wait(SECONDS)
            time.sleep(2)

    def poll(seconds):
        waiting.set()
        time.sleep(seconds)

    child = in_child(other)
    ready.wait()
    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=time.monotonic, sleep=poll))
    told = run()("kvm_image.present", name=f"{folder}/a.raw", size="1MiB")
    child.join()
    assert told["result"] is True
    assert "for another run on" in told["comment"]


# A start takes seconds to clean up after, so most of the fifty stop at the definition.
KILLS = [("present", 5 * n) for n in range(40)] + [("running", 60 * n) for n in range(10)]


@pytest.mark.parametrize(("state", "milliseconds"), KILLS)
def test_a_run_killed_at_any_point_is_finished_by_the_next(run, folder, state, milliseconds):
    disk = {"path": f"{folder}/a.qcow2", "format": "qcow2", "size": "1MiB"}
    arguments = {"name": NAME, "memory": "32MiB", "disks": [disk], "cloud_init": True}

    def victim():
        run()(f"kvm_domain.{state}", **arguments)

    child = in_child(victim)
    time.sleep(milliseconds / 1000)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert run()(f"kvm_domain.{state}", **arguments)["result"] is True
    assert run()(f"kvm_domain.{state}", **arguments)["changes"] == {}
    assert sorted(os.listdir(folder)) == ["a.qcow2", f"{NAME}-cidata.iso"]
