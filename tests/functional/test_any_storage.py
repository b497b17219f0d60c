"""Any image and any volume, and any edit of one: it ends at rest, or nothing of it is changed.

What a guest had written is never lost but behind a new end. The examples are the same in each run.
"""

import json
import subprocess
from pathlib import Path
from string import Template

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.strategies import IMAGES, VOLUMES

from .conftest import PREFIX

EXAMPLES = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
POOL = f"{PREFIX}any"
WRITTEN = "-P 7 0 64k"


def filled(fields, folder):
    return json.loads(Template(json.dumps(fields)).safe_substitute(folder=folder))


def qemu_io(path, fields, command):
    """Do what a guest does; where a program can't, the image is not one that a guest could use."""
    call = ["qemu-io", "-f", fields.get("format", "raw"), "-c", command, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return "Pattern verification failed" not in done.stdout


def photograph(path):
    """What is at a path: its bytes, owner and mode."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_uid, found.st_gid, found.st_mode, path.read_bytes()


def converged(run, function, path, **fields):
    """Run a state dry and for real; tell whether that is done, else nothing is changed."""
    before = photograph(path)
    dry = run(test=True)(function, **fields)
    assert photograph(path) == before
    told = run()(function, **fields)
    assert "Traceback" not in told["comment"]
    if not told["result"]:
        assert told["changes"] == {}
        assert photograph(path) == before, told["comment"]
        return False
    assert dry["changes"] == told["changes"]
    for test in (True, False):
        again = run(test=test)(function, **fields)
        assert (again["result"], again["changes"]) == (True, {}), again["comment"]
    return True


def check_edit(run, function, path, name, pair):
    """Make something, write into it, and bring it to another pillar."""
    first, second = pair
    if not converged(run, function, path, name=name, **first):
        return
    qemu_io(path, first, f"write {WRITTEN}")
    there = converged(run, function, path, name=name, **second)
    assert qemu_io(path, second if there else first, f"read {WRITTEN}")


@pytest.fixture
def base(folder):
    (folder / "base.raw").write_bytes(b"base" * 2**18)
    return folder


@EXAMPLES
@given(st.tuples(IMAGES, IMAGES))
def test_any_edit_of_an_image_keeps_what_it_holds(run, base, pair):
    path = base / "any"
    path.unlink(missing_ok=True)
    check_edit(run, "kvm_image.present", path, str(path), filled(pair, base))
    assert (base / "base.raw").read_bytes() == b"base" * 2**18
    assert {each.name for each in base.iterdir()} <= {"any", "base.raw"}


@EXAMPLES
@given(st.tuples(VOLUMES, VOLUMES))
def test_any_edit_of_a_volume_keeps_what_it_holds(run, base, pair):
    folder = Path(base / "pool")
    folder.mkdir(exist_ok=True)
    assert run()("kvm_pool.running", name=POOL, path=str(folder))["result"] is True
    assert run()("kvm_volume.absent", name=f"{POOL}/any")["result"] is True
    check_edit(run, "kvm_volume.present", folder / "any", f"{POOL}/any", filled(pair, base))
    assert {each.name for each in folder.iterdir()} <= {"any"}
