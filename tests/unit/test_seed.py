"""Seeds: a pure function of what is declared, of which nothing is shown."""

import datetime
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from golden_cases import cases
from hypothesis import given
from hypothesis import strategies as st

from salt_kvm.backend.guests.seed import look
from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import seed
from salt_kvm.plan.seed_data import cidata
from salt_kvm.seen import Hidden
from salt_kvm.spec.cloud_init import CloudInit
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.xml.seed import Place

SECRET = "correct horse battery staple"
PLACE = Place("cidata", "/srv/web1-cidata.iso", "disk")


def files(**fields):
    return cidata("web1", convert(CloudInit, fields, "x"), {}, "x")


# JSON writes no text that YAML takes for another; some numbers it does.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from([0.5, -2.25, 1.0])
ANY = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, ANY, max_size=4))
def test_what_is_written_is_what_yaml_reads(data):
    made = files(user_data=data)
    assert made["user-data"].startswith(b"#cloud-config\n")
    assert yaml.safe_load(made["user-data"].decode()) == data


def test_order_is_no_change():
    one = {"a": {"b": 1, "c": 2}, "d": 3}
    other = {"d": 3, "a": {"c": 2, "b": 1}}
    assert files(user_data=one) == files(user_data=other)
    assert files(user_data={"a": [1, 2]}) != files(user_data={"a": [2, 1]})


def test_another_process_makes_the_same():
    (fields,) = (fields for path, fields in cases("domain") if path.stem == "cloud-init")
    here = {name: data.decode() for name, data in files(**fields["cloud_init"]).items()}
    code = f"""
import json
from salt_kvm.plan.seed_data import cidata
from salt_kvm.spec.cloud_init import CloudInit
from salt_kvm.spec.convert import convert
want = convert(CloudInit, {fields["cloud_init"]!r}, "x")
print(json.dumps({{name: data.decode() for name, data in cidata("web1", want, {{}}, "x").items()}}))
"""
    command = [sys.executable, "-c", code]
    elsewhere = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    other = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == here


def test_dates_are_written_and_bytes_are_not():
    made = files(user_data={"expiredate": datetime.date(2030, 1, 2)})
    assert yaml.safe_load(made["user-data"].decode()) == {"expiredate": "2030-01-02"}
    with pytest.raises(SpecError, match="the type bytes"):
        files(user_data={"a": b"a"})


@pytest.mark.parametrize("name", ["web1", "CentOS-7-x86_64", "zwölf", "-a"])
def test_only_a_name_that_can_be_one_becomes_the_hostname(name):
    made = json.loads(cidata(name, CloudInit(), {}, "x")["meta-data"])
    assert made["instance-id"] == name
    assert made.get("local-hostname") == ("web1" if name == "web1" else None)


def test_a_digest_of_the_data_names_each_part():
    """What moves from one file to the other is another instance too."""
    one = files(instance_id="content", user_data={"a": 1}, vendor_data={"b": 2})
    other = files(instance_id="content", user_data={"b": 2}, vendor_data={"a": 1})
    assert one["meta-data"] != other["meta-data"]
    assert (
        one["meta-data"]
        == files(instance_id="content", user_data={"a": 1}, vendor_data={"b": 2})["meta-data"]
    )


def seen(**more):
    held = {"user-data": Hidden(SECRET.encode())}
    return seed.SeedSeen(PLACE, held, **more)


def test_no_step_shows_what_it_writes():
    for there in (None, {}, {"user-data": Hidden(b"old")}, {"gone": Hidden(b"old")}):
        (step,) = seed.write("web1", [seen(there=there)])
        told = repr(step) + repr(step.changes) + step.sentence(done=True)
        assert SECRET not in told
        assert "seed[cidata]/user-data" in step.changes


@pytest.mark.parametrize(
    ("fields", "path", "how"),
    [
        ({}, "/var/lib/salt-kvm/seed/web1-cidata.iso", "disk"),
        ({"disks": [{"path": "/srv/a/b.raw"}]}, "/srv/a/web1-cidata.iso", "disk"),
        ({"disks": [{"path": "/srv/a.raw", "bus": "scsi"}]}, "/srv/web1-cidata.iso", "cdrom"),
        ({"disks": [{"path": "/srv/a.raw", "target": "sda"}]}, "/srv/web1-cidata.iso", "cdrom"),
        ({"disks": [{"block": "/dev/sda"}]}, "/var/lib/salt-kvm/seed/web1-cidata.iso", "disk"),
        (
            {"disks": [{"path": "/iso/a.iso", "device": "cdrom"}, {"path": "/srv/a.raw"}]},
            "/srv/web1-cidata.iso",
            "disk",
        ),
    ],
)
def test_a_new_seed_is_beside_the_first_disk_on_what_the_guest_can_drive(fields, path, how):
    want = convert(Domain, {"cloud_init": True, **fields}, "x")
    (place,), gone = seed.placed("web1", want, None)
    assert (place.path, place.how, gone) == (path, how, [])


def test_what_is_private_stays_so_whoever_owns_it():
    held = {"user-data": Hidden(SECRET.encode())}
    assert list(seed.write("web1", [seen(there=held)])) == []
    (step,) = seed.write("web1", [seen(there=held, mode=seed.Mode(0o640))])
    assert (step.owner, step.group, step.mode) == (None, None, 0o600)


def test_a_hypervisor_on_another_machine_has_no_seed_from_here():
    view = SimpleNamespace(world=SimpleNamespace(local=False))
    want = convert(Domain, {"cloud_init": True}, "x")
    with pytest.raises(UnmetError, match="run this there"):
        list(look(view, "web1", want, None))
    for fields in ({"cloud_init": False}, {"state": "absent"}, {}):
        assert list(look(view, "web1", convert(Domain, fields, "x"), None)) == []
