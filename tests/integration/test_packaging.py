"""The package form: what a wheel holds, and what Salt sees of it and of an editable install."""

import shutil
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from .conftest import ROOT, make_environment, make_minion

NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
FACES = {"modules": "_modules", "states": "_states"}
HOST = [
    "kvm_domain",
    "kvm_host",
    "kvm_image",
    "kvm_network",
    "kvm_pool",
    "kvm_secret",
    "kvm_volume",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy: setuptools writes beside what it builds."""
    copy = tmp_path_factory.mktemp("source") / "salt-kvm"
    return Path(shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def wheel(checkout, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    environment.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def inside(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(inside):
    (text,) = (data for name, data in inside.items() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(text)


@pytest.fixture
def installed(tmp_path):
    """Return the maker of a minion with this package installed by pip and nothing synced."""

    def make(*arguments):
        environment = make_environment(tmp_path / "python")
        environment.pip("install", "--quiet", "--no-deps", *map(str, arguments))
        return make_minion(environment, tmp_path / "minion")

    return make


def python_files(folder, prefix):
    return {f"{prefix}/{path.relative_to(folder)}" for path in folder.rglob("*.py")}


def test_the_wheel_holds_the_library_and_the_faces_and_nothing_else(inside):
    wanted = python_files(ROOT / "salt_kvm", "salt_kvm") | {"salt_kvm/py.typed"}
    for kind, folder in FACES.items():
        wanted |= python_files(ROOT / folder, f"salt_kvm/{kind}")
    assert {name for name in inside if ".dist-info/" not in name} == wanted


def test_the_wheel_is_for_every_machine(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_says_what_it_needs(metadata):
    assert metadata["Name"] == "salt-kvm"
    assert metadata["Requires-Python"] == ">=3.10"
    needs = {line.split(">")[0] for line in metadata.get_all("Requires-Dist") if ";" not in line}
    assert needs == {"msgspec", "pycdlib", "pyyaml"}


def test_the_wheel_carries_its_licence(inside, metadata):
    assert "Apache-2.0" in (metadata["License-Expression"], metadata["License"])
    carried = [data for name, data in inside.items() if name.endswith("/LICENSE")]
    assert carried == [(ROOT / "LICENSE").read_bytes()]


def check_seen(minion, library, faces):
    """Check that Salt sees everything, and from where: the library's folder and kvm_host's file."""
    for kind in ("modules", "state_modules"):
        seen = minion.call(f"sys.list_{kind}", "kvm_*")
        assert seen.value == HOST, seen.said
    found = minion.call("kvm_host.version").value
    assert found["library"] == {"path": str(library), "form": "package"}
    assert found["faces"] == {"path": str(faces / "kvm_host.py"), "form": "package"}
    assert found["one_form"] is True
    grain = minion.call("grains.get", "kvm").value
    assert grain["versions"]["pack"] == found["version"]


def test_salt_sees_the_wheel(installed, wheel):
    minion = installed("--no-index", wheel)
    (site,) = minion.environment.bin.parent.glob("lib/python*/site-packages")
    check_seen(minion, site / "salt_kvm", site / "salt_kvm" / "modules")


def test_salt_sees_an_editable_install(installed, checkout):
    minion = installed("--editable", checkout)
    check_seen(minion, checkout / "salt_kvm", checkout / "_modules")


def test_salt_sees_a_strict_editable_install(installed, checkout):
    """setuptools lays out links to the files that a wheel would hold."""
    minion = installed("--config-settings", "editable_mode=strict", "--editable", checkout)
    (links,) = checkout.glob("build/__editable__*/salt_kvm")
    assert (links / "modules/kvm_host.py").samefile(checkout / "_modules/kvm_host.py")
    check_seen(minion, links, links / "modules")


def test_a_state_runs_from_the_wheel(installed, wheel, place):
    minion = installed("--no-index", wheel)
    image = place / "a.raw"
    arguments = ("state.single", "kvm_image.present", str(image), "size=1MiB")
    (first,) = minion.call(*arguments).value.values()
    assert first["result"] is True, first
    assert image.stat().st_size == 1024**2
    (again,) = minion.call(*arguments).value.values()
    assert (again["result"], again["changes"]) == (True, {})
