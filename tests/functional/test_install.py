"""Installations with a real installer, made here: each phase, each way of answers, interrupted."""

import hashlib
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from salt_kvm.backend.guests import iso
from waiting import wait_for

from . import installer
from .conftest import PREFIX, virsh
from .test_store import store, web

__all__ = ["store", "web"]

NAME = f"{PREFIX}new"
SECRET = "rootpw-5ecret"
BOOT = Path("/var/lib/salt-kvm/boot")
SECONDS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The installer, where QEMU, which is not root, can read it."""
    if not (installer.GUEST / "vmlinuz").is_file():
        pytest.skip(f"no kernel in {installer.GUEST}; tools/test fetches it")
    folder = Path(f"/var/tmp/{PREFIX}installer")
    folder.mkdir()
    folder.chmod(0o755)
    try:
        yield installer.make(folder)
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
def new(folder):
    """The fields of a guest with a blank disk; the installer's messages are in its log."""
    log = folder / "serial.log"
    disk = folder / "disk.raw"
    yield SimpleNamespace(
        disk=str(disk),
        log=log,
        fields={
            "name": NAME,
            "memory": "256MiB",
            "machine": "pc",
            "disks": [{"path": str(disk), "size": f"{installer.DISK}MiB"}],
            "graphics": [{"type": "vnc"}],
            "serial": [{"type": "pty", "log": str(log)}],
            "force": True,
            "timeout": 1,
        },
    )
    print(log.read_text(errors="replace") if log.exists() else "nothing printed")
    virsh("destroy", NAME)
    subprocess.run(["rm", "-rf", BOOT / NAME], check=True)


def off():
    return virsh("domstate", NAME).strip() == "shut off"


def says(new, text):
    return new.log.exists() and text in new.log.read_text(errors="replace")


def live():
    return virsh("dumpxml", NAME)


def definition():
    return virsh("dumpxml", NAME, "--inactive", "--security-info")


def press_enter(new):
    """QEMU notices after a while that somebody sits there."""

    def installed():
        # It is gone with the guest.
        with suppress(OSError):
            console.write(b"\n")
        return says(new, "installed")

    with open(virsh("ttyconsole", NAME).strip(), "wb", buffering=0) as console:
        wait_for(installed, "the installer's work")


def both(run, function, **fields):
    """Run a state dry and for real; what both owe each other is checked."""
    dry = run(test=True)(function, **fields)
    real = run()(function, **fields)
    assert real["result"] is True, real["comment"]
    assert dry["changes"] == real["changes"], (dry, real)
    assert dry["result"] is (None if real["changes"] else True), dry
    return real


def rests(run, **fields):
    """Both runs have nothing to do; return the comment."""
    for test in (True, False):
        again = run(test=test)("kvm_domain.installed", **fields)
        assert (again["result"], again["changes"]) == (True, {}), again
    return again["comment"]


def test_an_interactive_install_by_hand(run, new, made):
    """Media first, on_reboot destroy; then the medium is out and the guest as declared."""
    fields = {**new.fields, "cdrom": made.iso, "on_reboot": "restart", "boot": ["hd", "cdrom"]}
    first = both(run, "kvm_domain.installed", **fields)
    assert first["changes"]["install"] == {"old": None, "new": "installing"}
    assert "VNC at 127.0.0.1:59" in first["comment"]
    assert "<on_reboot>destroy</on_reboot>" in live()
    assert f"<source file='{made.iso}'" in live()
    assert "<on_reboot>restart</on_reboot>" in definition()
    assert made.iso not in definition()
    wait_for(lambda: says(new, "press enter"), "the installer")
    told = rests(run, **fields)
    assert told.startswith("Installing since 20")
    assert "VNC at 127.0.0.1:59" in told
    press_enter(new)
    wait_for(off, "the end of the installer")
    last = both(run, "kvm_domain.installed", **fields)
    assert last["changes"] == {
        "install": {"old": "installing", "new": "installed"},
        "state": {"old": "off", "new": "running"},
    }
    wait_for(lambda: says(new, "the installed system is up"), "the installed system")
    assert made.iso not in live()
    assert "<on_reboot>restart</on_reboot>" in live()
    assert rests(run, **fields).startswith("As declared.")
    assert "INSTALLED from nowhere" in installer.note(new.disk)


def preseeded(made, answer, **more):
    return {"location": made.tree, "preseed": f"{answer}\nrootpw {SECRET}\n", **more}


def test_answers_in_the_initrd(run, new, made):
    """One run: the kernel of a tree, answers in the initrd, waits, cleans up, starts the guest."""
    names = {"kernel": installer.KERNEL, "initrd": installer.INITRD}
    more = {"kernel_args": "net.ifnames=0 biosdevname=0", "wait": "poweroff", **names}
    fields = {**new.fields, "install": preseeded(made, "poweroff", **more)}
    real = both(run, "kvm_domain.installed", **fields)
    assert real["changes"]["install"] == {"old": None, "new": "installed"}
    assert real["changes"]["state"] == {"old": None, "new": "running"}
    noted = installer.note(new.disk)
    assert "INSTALLED from initrd:/preseed.cfg" in noted
    assert SECRET in noted
    assert "auto=true priority=critical net.ifnames=0 biosdevname=0" in noted
    # The file in the initrd is root's alone.
    assert says(new, "-rw-------    1 0        0")
    assert not (BOOT / NAME).exists()
    assert "<kernel>" not in live() + definition()
    assert SECRET not in str(real) + live() + definition()
    assert "/images/pxeboot" not in definition()
    assert rests(run, **fields).startswith("As declared.")


WAYS = {
    "kickstart-initrd": ({"kickstart": "reboot"}, "initrd:/ks.cfg", "inst.ks=file:/ks.cfg", ()),
    "kickstart-volume": (
        {"kickstart": "reboot", "deliver": "volume"}, "OEMDRV:ks.cfg", "", ("ks.cfg",),
    ),
    # cloud-init takes a volume without meta-data for none of its own.
    "autoinstall": (
        {"autoinstall": "reboot"}, "cidata:user-data", " autoinstall", ("meta-data", "user-data"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_answers_beside_an_iso(run, new, made, folder, way):
    """Kernel and initrd come out of the ISO, which the installer has as its CD; a template."""
    fields, found, told, volume = WAYS[way]
    ((kind, action), *more) = fields.items()
    template = folder / "answers"
    template.write_text(f"{{{{ 20 + 3 }}}}\n{action}\nrootpw {SECRET}\n")
    template.chmod(0o600)
    install = {"location": made.iso, kind: str(template), "kernel_args": ["a=1", "b=2"]}
    fields = {**new.fields, "install": {**install, **dict(more)}}
    real = both(run, "kvm_domain.installed", **fields)
    assert SECRET not in str(real) + live() + definition()
    assert "<on_reboot>destroy</on_reboot>" in live()
    files = {path.name: path.stat() for path in (BOOT / NAME).iterdir()}
    assert all(found.st_mode & 0o077 == 0 for found in files.values())
    if volume:
        _, _, there = iso.contents((BOOT / NAME / "answers.iso").read_bytes())
        assert tuple(sorted(there)) == volume
    wait_for(off, "the end of the installer")
    noted = installer.note(new.disk)
    begins = "#cloud-config\n" if way == "autoinstall" else ""
    assert f"INSTALLED from {found}\n{begins}23\n{action}\n" in noted
    assert f"{told} a=1 b=2".strip() in noted
    both(run, "kvm_domain.installed", **fields)
    assert not (BOOT / NAME).exists()
    rests(run, **fields)


@pytest.mark.parametrize("wait", [{"until": "agent"}, {"until": "port", "port": 2222}], ids=str)
def test_the_installed_guest_is_waited_for(run, new, made, network, wait):
    """One run from the blank disk until the agent answers, or a port at the leased address."""
    install = {**preseeded(made, "poweroff"), "location": made.iso}
    fields = {**new.fields, "interfaces": [{"network": network}]}
    fields["install"] = {**install, "wait": {**wait, "timeout": SECONDS}}
    real = both(run, "kvm_domain.installed", **fields)
    assert real["changes"]["install"] == {"old": None, "new": "installed"}
    assert real["comment"].count("aited for") == 2
    assert says(new, "the installed system is up")
    assert rests(run, **fields).startswith("As declared.")


def ends_installed(run, new, fields):
    """Both runs are as they foretold; the installer found its answers, and kept nothing."""
    both(run, "kvm_domain.installed", **fields)
    wait_for(off, "the end of the installer")
    assert "INSTALLED from initrd:/preseed.cfg" in installer.note(new.disk)
    both(run, "kvm_domain.installed", **fields)
    assert not (BOOT / NAME).exists()
    rests(run, **fields)


def test_an_iso_is_fetched_once_into_the_store(run, new, made, web, store):
    """By its checksum; it is in the installer's drive, and gone from the guest's."""
    (web.root / "a.iso").symlink_to(made.iso)
    data = Path(made.iso).read_bytes()
    (web.root / "SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  a.iso\n")
    install = preseeded(made, "poweroff", location=f"{web.address}/a.iso")
    for wrong, told in ((None, "'location_hash' is needed"), ("0" * 64, "is declared; it is cut")):
        fields = {**new.fields, "install": {**install, "location_hash": wrong}}
        refused = run()("kvm_domain.installed", **fields)
        assert refused["result"] is False
        assert told in refused["comment"]
        assert refused["changes"] == {}
        assert not (BOOT / NAME).exists()
    web.asked.clear()
    fields["install"]["location_hash"] = f"{web.address}/SUMS"
    ends_installed(run, new, fields)
    assert web.asked.count("/a.iso") == 1
    again = {**fields, "install": {**fields["install"], "reinstall": "a"}}
    assert run()("kvm_domain.installed", **again)["result"] is True
    assert f"{store}/{hashlib.sha256(data).hexdigest()}/image" in live()
    assert web.asked.count("/a.iso") == 1


@pytest.mark.parametrize("place", ["salt://tree", "{}/plain/", "{}/mute"])
def test_kernel_and_initrd_of_a_tree_elsewhere(run, new, made, web, opts, place):
    """Where they are is known, or declared where the server does not tell; no other file is had."""
    served = Path(opts["file_roots"]["base"][-1]) / "tree"
    parts = {"kernel": installer.KERNEL, "initrd": installer.INITRD}
    install = preseeded(made, "poweroff", location=place.format(web.address))
    shutil.copytree(made.tree, web.root, dirs_exist_ok=True)
    shutil.copytree(made.tree, served)
    if "mute" in place:
        for test in (True, False):
            told = run(test=test)("kvm_domain.installed", **new.fields, install=install)
            assert told["result"] is False
            assert "/mute holds no installer that is known here" in told["comment"]
        install.update(parts)
    try:
        ends_installed(run, new, {**new.fields, "install": install})
    finally:
        shutil.rmtree(served)
    assert len(web.asked) == (0 if "salt" in place else 2)
    gone = {**install, "location": f"{web.address}/plain/gone", **parts, "reinstall": "a"}
    told = run()("kvm_domain.installed", **{**new.fields, "install": gone})
    assert told["result"] is False
    assert f"/plain/gone/{installer.KERNEL} can't be fetched" in told["comment"]
    assert 'phase="installed"' in definition()


def test_windows_answers_on_a_second_cd_by_uefi(run, new, made):
    wait = {"until": "poweroff", "timeout": SECONDS}
    install = {"autounattend": f"reboot\n{SECRET}", "wait": wait}
    fields = {**new.fields, "cdrom": made.iso, "os": {"firmware": "efi"}, "install": install}
    both(run, "kvm_domain.installed", **fields)
    assert "INSTALLED from UNATTEND:Autounattend.xml" in installer.note(new.disk)
    wait_for(lambda: says(new, "the installed system is up"), "the installed system")
    assert "OVMF" in live()
    rests(run, **fields)
