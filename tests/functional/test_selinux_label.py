"""SELinux labels of images, volumes and pools: refused here, and written where there is SELinux.

No machine of these tests has SELinux. A label is a file's attribute, which root can write and read
without it; only whether the host has SELinux is said here in its place.
"""

import os

import pytest

from salt_kvm.backend.hosts import host

from .conftest import PREFIX

POOL = f"{PREFIX}labels"
LABEL = "system_u:object_r:virt_image_t:s0"
OTHER = "system_u:object_r:virt_content_t:s0"


def states(folder):
    """Of each noun: the state, its fields with a label, and the file that it is about."""
    permissions = {"permissions": {"label": LABEL}}
    pool, vols = f"{folder}/pool", f"{folder}/pool/a.raw"
    return {
        "image": ("kvm_image.present", f"{folder}/a.raw", {"size": "1MiB", "label": LABEL}),
        "pool": ("kvm_pool.running", POOL, {"path": pool, **permissions}),
        "volume": ("kvm_volume.present", f"{POOL}/a.raw", {"capacity": "1MiB", **permissions}),
    }, {"image": f"{folder}/a.raw", "pool": pool, "volume": vols}


def label(path):
    return os.getxattr(path, "security.selinux").decode().rstrip("\0")


@pytest.mark.parametrize("noun", ["image", "pool", "volume"])
def test_a_label_is_refused_without_selinux(run, folder, noun):
    assert not host.selinux()
    cases, files = states(folder)
    function, name, fields = cases[noun]
    if noun == "volume":
        assert run()("kvm_pool.running", name=POOL, path=files["pool"])["result"] is True
    for test in (True, False):
        told = run(test=test)(function, name=name, **fields)
        assert (told["result"], told["changes"]) == (False, {})
        assert "this host has no SELinux; leave the label out" in told["comment"]
    assert not os.path.exists(files[noun])


def test_an_image_gets_its_label(run, converge, folder, monkeypatch):
    monkeypatch.setattr(host, "selinux", lambda: True)
    cases, files = states(folder)
    function, name, fields = cases["image"]
    made = converge(function, name=name, **fields)
    assert made["changes"]["label"] == {"old": None, "new": LABEL}
    assert label(files["image"]) == LABEL
    changed = converge(function, name=name, **{**fields, "label": OTHER})
    assert changed["changes"] == {"label": {"old": LABEL, "new": OTHER}}
    assert label(files["image"]) == OTHER
    told = run()("kvm_image.present", name=name, size="1MiB")
    assert (told["result"], told["changes"]) == (True, {})


def test_a_pool_and_its_volume_get_their_labels(run, folder, monkeypatch):
    monkeypatch.setattr(host, "selinux", lambda: True)
    cases, files = states(folder)
    for noun in ("pool", "volume"):
        function, name, fields = cases[noun]
        dry = run(test=True)(function, name=name, **fields)
        real = run()(function, name=name, **fields)
        assert real["result"] is True, real["comment"]
        assert dry["changes"] == real["changes"]
    assert label(files["pool"]) == LABEL
    assert label(files["volume"]) == LABEL
    for noun in ("pool", "volume"):
        function, name, fields = cases[noun]
        again = run()(function, name=name, **fields)
        assert (again["result"], again["changes"]) == (True, {}), again
