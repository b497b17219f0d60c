"""Installations that are cut off: by kills, faults of the host, and what is deleted around them."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from salt_kvm import converge
from salt_kvm.backend.guests import guest_log, iso
from waiting import wait_for

from .conftest import PREFIX, in_child, virsh
from .daemon import Daemon
from .test_install import BOOT, NAME, SECRET, live, made, new, off, preseeded, rests, says

__all__ = ["made", "new"]


def killed_after(steps, run, fields):
    """Run the state in a process that kills itself when it has done so many steps."""

    def victim():
        perform, done = converge.perform, []

        def counted(*arguments):
            undo = perform(*arguments)
            done.append(undo)
            if len(done) == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            return undo

        converge.perform = counted
        run()("kvm_domain.installed", **fields)

    child = in_child(victim)
    child.join()
    return child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("steps", range(1, 6))
def test_killed_before_the_installer_is_at_work(run, new, made, steps):
    """After the image, the definition, the boot files, the mark, the start."""
    fields = {**new.fields, "install": preseeded(made, "hold")}
    assert killed_after(steps, run, fields)
    assert run()("kvm_domain.installed", **fields)["result"] is True
    assert 'phase="installer"' in live()
    assert rests(run, **fields).startswith("Installing since")
    assert sorted(os.listdir(BOOT / NAME)) == ["initrd", "kernel"]


def test_killed_while_it_waits_and_while_it_finishes(run, new, made):
    fields = {**new.fields, "install": preseeded(made, "linger")}
    waiting = {**fields, "install": {**fields["install"], "wait": "poweroff"}}
    child = in_child(lambda: run()("kvm_domain.installed", **waiting))
    wait_for(lambda: says(new, "the installer is up"), "the installer")
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    wait_for(off, "the end of the installer")
    # After the mark, and after the start.
    assert killed_after(1, run, fields)
    assert off()
    assert killed_after(1, run, fields)
    assert not off()
    last = run()("kvm_domain.installed", **fields)
    assert last["changes"] == {"boot files": {"old": "present", "new": None}}
    rests(run, **fields)
    # What is deleted around it does not matter: the disk holds a system.
    virsh("destroy", NAME)
    virsh("undefine", NAME)
    again = run()("kvm_domain.installed", **fields)
    assert again["result"] is True
    assert "No installer was started: its disk held data already" in again["comment"]
    assert "<kernel>" not in live()
    rests(run, **fields)


def test_destroyed_saved_and_reinstalled(run, new, made):
    holding = {**new.fields, "install": preseeded(made, "hold")}
    assert run()("kvm_domain.installed", **holding)["result"] is True
    wait_for(lambda: says(new, "half installed"), "half of an installation")
    virsh("managedsave", NAME)
    saved = run()("kvm_domain.installed", **holding)
    assert saved["changes"] == {"state": {"old": "off", "new": "running"}}
    assert rests(run, **holding).startswith("Installing since")
    virsh("destroy", NAME)
    done = run()("kvm_domain.installed", **{**holding, "install": preseeded(made, "poweroff")})
    assert done["changes"]["install"] == {"old": "installing", "new": "installing"}
    wait_for(off, "the end of the installer")
    # Started by hand and destroyed: what is installed is not taken for half an installation.
    virsh("start", NAME)
    virsh("destroy", NAME)
    done = run()("kvm_domain.installed", **holding)
    assert done["changes"]["install"] == {"old": "installing", "new": "installed"}
    anew = {**holding, "install": preseeded(made, "poweroff", reinstall="a", wait="poweroff")}
    dry = run(test=True)("kvm_domain.installed", **anew)
    real = run()("kvm_domain.installed", **anew)
    assert real["result"] is True, real["comment"]
    assert dry["changes"] == real["changes"]
    assert real["changes"]["install"] == {"old": "installed", "new": "installed"}
    assert new.log.read_text().count("the installer is up") == 3
    rests(run, **anew)


def test_absent_in_the_middle_leaves_nothing(run, new, made):
    fields = {**new.fields, "install": preseeded(made, "hold")}
    run()("kvm_domain.installed", **fields)
    told = run()("kvm_domain.absent", name=NAME, force=True, timeout=1, disks="delete")
    assert told["result"] is True, told["comment"]
    assert not (BOOT / NAME).exists()
    assert not Path(new.disk).exists()


def test_what_may_hold_data_is_left_alone(run, new, made, folder):
    """The disk that is booted from decides; a blank one beside one with data is refused."""
    other = folder / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", other, "8M"], check=True)
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 4M 4k", other]
    subprocess.run(write, check=True, capture_output=True)
    both = [*new.fields["disks"], {"path": str(other), "format": "qcow2"}]
    fields = {**new.fields, "disks": both, "install": preseeded(made, "poweroff")}
    for test in (True, False):
        told = run(test=test)("kvm_domain.installed", **fields)
        assert told["result"] is False
        assert (
            f"{other} of domain {NAME} holds data that an installer may overwrite"
            in told["comment"]
        )
    assert not virsh("list", "--all", "--name").count(NAME)
    told = run()("kvm_domain.installed", **{**fields, "disks": both[::-1]})
    assert told["result"] is True
    assert "No installer was started" in told["comment"]
    assert "<kernel>" not in live()


def test_timeouts_keep_the_screen_and_leave_the_guest(run, new, made):
    wait = {"until": "poweroff", "timeout": 2}
    fields = {**new.fields, "install": preseeded(made, "hold", wait=wait)}
    told = run()("kvm_domain.installed", **fields)
    assert told["result"] is False
    assert "waited 2 s for its power-off in vain" in told["comment"]
    picture = told["comment"].partition("its screen is kept as ")[2].partition(";")[0]
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    Path(picture).unlink()
    assert told["changes"]["install"] == {"old": None, "new": "installing"}
    assert "This stays, and the next run goes on from there: " in told["comment"]
    assert 'phase="installer"' in live()
    del fields["install"]["wait"]
    assert rests(run, **fields).startswith("Installing since")


def test_an_installer_that_writes_nothing_has_not_installed(run, new, made):
    fields = {**new.fields, "install": preseeded(made, "nothing", wait="poweroff")}
    told = run()("kvm_domain.installed", **fields)
    assert told["result"] is False
    assert "has ended and written nothing to its disks" in told["comment"]
    assert off()
    fields["install"] = preseeded(made, "hold")
    assert "started the installer" in run()("kvm_domain.installed", **fields)["comment"]


def test_a_port_is_waited_for_until_it_was_open_once(run, new, made):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wait = {"until": "port", "port": port, "address": "127.0.0.1", "timeout": 2}
        fields = {**new.fields, "install": preseeded(made, "poweroff")}
        assert run()("kvm_domain.installed", **fields)["result"] is True
        wait_for(off, "the end of the installer")
        fields["install"]["wait"] = {**wait, "port": 1}
        told = run()("kvm_domain.installed", **fields)
        assert (told["result"], told["changes"]["install"]["new"]) == (False, "booting")
        assert "waited 2 s for port 1 in vain" in told["comment"]
        assert "its screen is kept as " in told["comment"]
        fields["install"]["wait"] = wait
        dry = run(test=True)("kvm_domain.installed", **fields)
        told = run()("kvm_domain.installed", **fields)
        assert told["result"] is True, told["comment"]
        assert (
            told["changes"] == dry["changes"] == {"install": {"old": "booting", "new": "installed"}}
        )
        rests(run, **fields)


BAD = {
    "missing": ({"cdrom": "{folder}/none.iso"}, "the file {folder}/none.iso is not there"),
    "pipe-cd": ({"cdrom": "{folder}/pipe"}, "{folder}/pipe is a special file, not a file"),
    "pipe": (
        {"install": {"location": "{folder}/pipe"}},
        "{folder}/pipe is a special file, not a file",
    ),
    "no-cd": ({"cdrom": "{folder}/text"}, "{folder}/text is no image of a CD"),
    "no-boot-record": ({"cdrom": "{folder}/data.iso"}, "{folder}/data.iso has no boot record"),
    "no-location": ({"install": {"location": "{folder}/none"}}, "{folder}/none is not there"),
    "no-tree": ({"install": {"location": "{folder}"}}, "{folder} holds no installer"),
    "no-installer": ({"install": {"location": "{folder}/data.iso"}}, "holds no installer"),
    "no-image": ({"install": {"location": "{folder}/text"}}, "{folder}/text can't be read"),
    "no-kernel": (
        {"install": {"location": "{tree}", "kernel": "a/b", "initrd": "c"}},
        "there is no a/b in {tree}",
    ),
    "template": (
        {"install": {"location": "{tree}", "kickstart": "{folder}/template"}},
        "{folder}/template can't be rendered: Jinja variable 'nothing' is undefined",
    ),
    "no-template": (
        {"install": {"location": "{tree}", "kickstart": "salt://none.ks"}},
        "salt://none.ks can't be rendered",
    ),
    "two-answers": (
        {"install": {"location": "{tree}", "kickstart": "a\n", "preseed": "b\n"}},
        "an installation takes one answer file",
    ),
    "no-medium": ({}, "state installed needs a 'cdrom'"),
}


def filled(value, names):
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    return value.format(**names)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_and_nothing_is_made(run, new, made, folder, case):
    (folder / "text").write_text("no CD " * 20_000)
    os.mkfifo(folder / "pipe")
    (folder / "data.iso").write_bytes(iso.build("DATA", {"a": b"b"}))
    (folder / "template").write_text("{{ nothing.at.all }}\n")
    names = {"folder": str(folder), "tree": made.tree}
    fields, told = (filled(each, names) for each in BAD[case])
    before = sorted(os.listdir(folder))
    for test in (True, False):
        verdict = run(test=test)("kvm_domain.installed", **new.fields, **fields)
        assert verdict["result"] is False
        assert told in verdict["comment"], verdict["comment"]
        assert verdict["changes"] == {}
    assert sorted(os.listdir(folder)) == before
    assert NAME not in virsh("list", "--all", "--name")
    assert not (BOOT / NAME).exists()


LEAKS = {
    "{{ value | load_json }}": "TemplateRuntimeError, line 2",
    "{{ {}[value] }}": "UndefinedError, line 2",
    "{{ {}.missing }}": "Jinja variable 'dict object' has no attribute 'missing', line 2",
    "{{ salt['test.exception'](value) }}": "Exception, line 2",
    "{{ value | int | none }}": "No filter named 'none', line 2",
    "{{ value }}{% if %}": "Jinja syntax error: Expected an expression, got 'end of",
    "{{ value }}": None,
}


@pytest.mark.parametrize("line", LEAKS)
def test_no_value_of_a_template_is_told_or_logged(run, new, made, folder, caplog, line):
    """Neither by what fails in it, nor by the level at which Salt logs what it has rendered."""
    (folder / "value").write_text(SECRET)
    template = folder / "template"
    template.write_text(
        f"{{%- set value = salt['cp.get_file_str']('{folder}/value') %}}\n{line}\nhold\n"
    )
    install = {"location": made.tree, "preseed": str(template)}
    for test in (True, False):
        with caplog.at_level(1):
            told = run(test=test)("kvm_domain.installed", **new.fields, install=install)
        assert SECRET not in str(told) + caplog.text
        if LEAKS[line] is not None:
            assert LEAKS[line] in told["comment"]
            assert told["result"] is False
        else:
            assert told["result"] is (None if test else True)


def root_of(daemon):
    """Return its files as it sees them."""
    return f"/proc/{daemon.holder.pid}/root"


def test_where_libvirtd_forgets_its_log_tells(run, new, made, monkeypatch):
    """Done, and lost with the host; where nobody tells, nothing is started."""
    root = Path(f"/var/tmp/{PREFIX}daemon")
    root.mkdir()
    root.chmod(0o755)
    daemon = Daemon(root)
    try:
        daemon.start()
        logs = f"{root_of(daemon)}/var/log/libvirt/qemu"
        monkeypatch.setattr(guest_log, "FOLDER", logs)
        fields = {**new.fields, "connection": daemon.uri, "install": preseeded(made, "hold")}
        assert run()("kvm_domain.installed", **fields)["result"] is True
        wait_for(lambda: says(new, "half installed"), "half of an installation")
        guest = daemon.guest(NAME)
        # The guest alone, and then with its host.
        daemon.kill()
        os.kill(guest, signal.SIGKILL)
        daemon.start()
        again = run()("kvm_domain.installed", **fields)
        assert again["changes"]["install"] == {"old": "installing", "new": "installing"}
        wait_for(lambda: new.log.read_text().count("half installed") > 1, "half an installation")
        guest = daemon.guest(NAME)
        daemon.kill()
        os.kill(guest, signal.SIGKILL)
        for path in Path(f"{root_of(daemon)}/run/libvirt/qemu").glob("*.xml"):
            path.unlink()
        daemon.start()
        with monkeypatch.context() as patch:
            patch.setattr(guest_log, "FOLDER", "/nowhere")
            unknown = run()("kvm_domain.installed", **fields)
        assert unknown["result"] is False
        assert "has ended is not known (perhaps unknown)" in unknown["comment"]
        fields["install"] = preseeded(made, "poweroff")
        anew = run()("kvm_domain.installed", **fields)
        assert anew["changes"]["install"] == {"old": "installing", "new": "installing"}
        wait_for(lambda: daemon.names().get(NAME) == "shut off", "the end of the installer")
        daemon.restart()
        done = run()("kvm_domain.installed", **fields)
        assert done["changes"]["install"] == {"old": "installing", "new": "installed"}, done
    finally:
        daemon.close()
        shutil.rmtree(root)
