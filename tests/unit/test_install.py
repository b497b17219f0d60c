"""An installation by its phases: what is planned, and what never is."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from golden_cases import FACTS, document
from strategies import Files

from salt_kvm import cpio
from salt_kvm.backend.guests import guest_log
from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import install
from salt_kvm.plan import steps as common
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.plan.install_steps import (
    AwaitGuest,
    AwaitInstall,
    BeginInstall,
    MarkInstall,
    RemoveBoot,
    WriteBoot,
)
from salt_kvm.plan.steps import Define, SetAutostart, Shutdown, Start
from salt_kvm.seen import Mark, Observed
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.install import LAYOUTS
from salt_kvm.xml.install import Media, installer, mark, marked

FIELDS = {
    "memory": "1GiB",
    "disks": [{"path": "/srv/a.raw"}, {"path": "/srv/b.raw"}],
    "install": {"location": "/srv/i.iso", "kickstart": "secret\n"},
}


class Found:
    """What is known of an installation; ``filled`` are the disks that hold something."""

    wanted = True

    def __init__(self, end="unknown", filled=(), *, files=False):
        self.how, self.filled, self.there = end, filled, files

    def files(self):
        return self.there

    def blank(self, disk, /):
        return disk.find("source").get("file") not in self.filled

    def end(self, since, /):
        return self.how


def domain(phase=None, *, live=None, **more):
    """Return the domain as it is defined, with a mark, and maybe at work."""
    plain = {key: each for key, each in FIELDS.items() if key != "install"}
    text = ET.tostring(document("domain", "a", plain), encoding="unicode")
    text = text if phase is None else marked(text, Mark(phase, **more))
    running = {None: None, "installer": installer(text, Media(), "then"), "itself": text}[live]
    return Observed("domain", "a", text, running)


def planned(there, found, more=None, **changed):
    fields = {"state": "installed", **FIELDS, **changed}
    fields["install"] = {**fields["install"], **(more or {})}
    seen = DomainSeen(there, Files(there=True), FACTS, None, (), found)
    made = install.plan("a", convert(Domain, fields, "x"), seen)
    return [each for each in made if isinstance(each, common.Step)]


def kinds(made):
    return [type(step) for step in made]


BEGUN = [WriteBoot, MarkInstall, BeginInstall]
FULL = ("/srv/a.raw", "/srv/b.raw")
PHASES = {
    "new": (None, Found(), [Define, *BEGUN]),
    "defined": (domain(), Found(), BEGUN),
    "at work": (domain("installing", live="installer"), Found(files=True), []),
    "off by itself": (
        domain("installing"),
        Found("shutdown", FULL, files=True),
        [MarkInstall, Start, RemoveBoot],
    ),
    "off, nothing written": (domain("installing"), Found("shutdown"), BEGUN),
    "destroyed": (domain("installing"), Found("destroyed", FULL), BEGUN),
    "crashed": (domain("installing"), Found("crashed", FULL), BEGUN),
    "lost": (domain("installing"), Found("lost", FULL), BEGUN),
    "not known, nothing written": (domain("installing"), Found("unknown"), BEGUN),
    "started again since": (domain("installing"), Found("start", FULL), [MarkInstall, Start]),
    "saved": (domain("installing"), Found("saved", FULL), [MarkInstall, Start]),
    "started by hand": (domain("installing", live="itself"), Found("", FULL), [MarkInstall]),
    "installed, on": (domain("installed", live="itself"), Found("", FULL), []),
    "installed, off": (domain("installed"), Found("destroyed", FULL), [Start]),
    "installed, disks lost": (domain("installed"), Found("destroyed"), [Start]),
    "no mark, data": (domain(), Found("", FULL), [Start]),
    "no domain, data": (None, Found("", FULL), [Define, Start]),
    "no mark, on": (domain(live="itself"), Found(), []),
    "stale boot files": (domain("installed", live="itself"), Found(files=True), [RemoveBoot]),
}


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_has_its_steps(phase):
    there, found, expected = PHASES[phase]
    assert kinds(planned(there, found)) == expected


@pytest.mark.parametrize("how", ["unknown", "migrated", "from snapshot"])
def test_what_is_not_known_is_told(how):
    with pytest.raises(UnmetError, match="has ended is not known"):
        planned(domain("installing"), Found(how, FULL))


def test_a_blank_disk_beside_data_is_refused():
    with pytest.raises(UnmetError, match=r"/srv/b\.raw of domain a holds data"):
        planned(None, Found("", FULL[1:]))


def test_the_disk_that_is_booted_from_decides():
    disks = [{"path": "/srv/a.raw"}, {"path": "/srv/b.raw", "boot_order": 1}]
    made = planned(None, Found("", FULL[1:]), disks=disks)
    assert kinds(made) == [Define, Start]


def test_with_wait_one_run_does_it_all():
    made = planned(None, Found(), {"wait": {"until": "port", "port": 22}}, autostart=True)
    rest = [AwaitInstall, MarkInstall, SetAutostart, Start, RemoveBoot, AwaitGuest, MarkInstall]
    assert kinds(made) == [Define, *BEGUN, *rest]
    assert [step.mark.phase for step in made if type(step) is MarkInstall] == [
        "installing", "booting", "installed",
    ]  # fmt: skip


def test_a_guest_is_reinstalled_once_for_each_value():
    done = domain("installed", live="itself", reinstall="a")
    assert kinds(planned(done, Found("", FULL), {"reinstall": "a"})) == []
    assert kinds(planned(done, Found("", FULL))) == []
    again = planned(done, Found("", FULL), {"reinstall": "b"})
    assert kinds(again) == [Shutdown, *BEGUN]
    assert again[2].mark == Mark("installing", reinstall="b")
    told = {path: entry for step in again for path, entry in step.changes.items()}
    assert told == {"install": {"old": "installed", "new": "installing"}}
    assert kinds(planned(done, Found("", FULL), {"reinstall": False})) == []


def test_true_asks_once_more_when_it_was_away():
    done = domain("installed", live="itself", reinstall="true")
    assert kinds(planned(done, Found("", FULL), {"reinstall": True})) == []
    (forgot,) = planned(done, Found("", FULL))
    assert forgot.mark == Mark("installed")
    assert forgot.changes == {"reinstall": {"old": True, "new": None}}


def test_the_host_starts_no_guest_that_is_half_installed():
    there = replace(domain(), autostart=True)
    made = planned(there, Found(), autostart=True)
    assert kinds(made) == [SetAutostart, *BEGUN]
    assert made[0].autostart is False
    assert made[2].mark.autostart == "yes"
    ended = domain("installing", autostart="yes")
    made = planned(ended, Found("shutdown", FULL))
    assert kinds(made) == [SetAutostart, MarkInstall, Start]
    assert made[0].autostart is True


def test_no_step_shows_the_answers():
    for step in planned(None, Found(), {"wait": "agent"}):
        assert "secret" not in repr(step)
        assert "secret" not in step.sentence(done=True) + str(step.changes)


def test_the_mark_is_read_as_it_is_written():
    wanted = Mark("installing", "2026-07-01 10:00:00.000+0000", 'a "<b>"', "yes")
    there = domain()
    assert mark(marked(there.xml, wanted)) == wanted
    assert mark(there.xml) is None
    assert mark(marked(marked(there.xml, wanted), Mark("installed"))) == Mark("installed")


BAD = {
    "'kernel' goes with 'location'": {"kernel": "a", "initrd": "b", "kickstart": "x\n"},
    "declare both 'kernel' and 'initrd'": {"location": "/a", "kernel": "a"},
    "takes one answer file": {"location": "/a", "preseed": "a", "kickstart": "b"},
    "no installer looks for 'preseed' in its volume": {
        "location": "/a", "preseed": "a", "deliver": "volume",
    },
    "'autounattend' goes with 'cdrom'": {"location": "/a", "autounattend": "a"},
    "'deliver' goes with an answer file": {"location": "/a", "deliver": "initrd"},
    "'preseed' in an initrd goes with 'location'": {"preseed": "a"},
    "'kernel_args' is one line": {"location": "/a", "kernel_args": "a\nb"},
    "until: port needs it": {"location": "/a", "wait": {"until": "port"}},
    "'location_hash' is needed": {"location": "https://a.example/b.ISO"},
    "'location_hash' goes with": {"location": "https://a.example/b/", "location_hash": "a" * 64},
    "x:install:location": {"location": "a.iso"},
    "x:install:kernel": {"location": "/a", "kernel": "../../etc/shadow", "initrd": "b"},
}  # fmt: skip


@pytest.mark.parametrize("told", BAD)
def test_a_fault_is_told(told):
    with pytest.raises(SpecError) as caught:
        convert(Domain, {"install": BAD[told], "cdrom": "/c"}, "x")
    assert told in str(caught.value)


def test_layouts_are_paths_within_a_tree():
    for each in LAYOUTS:
        assert not each.kernel.startswith("/")
        assert each.kernel.rpartition("/")[0] == each.initrd.rpartition("/")[0]


def test_an_archive_is_what_the_kernel_unpacks():
    """The members of the format, one after the other, each at a multiple of four bytes."""
    data = cpio.archive({"ks.cfg": b"rootpw x\n", "b": b""})
    assert len(data) % 4 == 0
    found, at = {}, 0
    while True:
        assert (data[at : at + 6], at % 4) == (b"070701", 0)
        numbers = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, length, size = numbers[1], numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + size - 1].decode()
        start = at + 110 + size + (-(110 + size) % 4)
        if name == "TRAILER!!!":
            break
        found[name] = (mode, data[start : start + length])
        at = start + length + (-length % 4)
    assert found == {"ks.cfg": (0o100600, b"rootpw x\n"), "b": (0o100600, b"")}


LOG = """\
2027-01-31 12:00:00.000+0000: starting up libvirt version: 9.0.0
2027-01-31 12:01:00.000+0000: shutting down, reason=destroyed
2027-01-31 12:02:00.000+0000: starting up libvirt version: 9.0.0
2027-01-31 12:03:00.000+0000: shutting down, reason=saved
2027-01-31 12:04:00.000+0000: starting up libvirt version: 9.0.0
char device redirected to /dev/pts/0
2027-01-31 12:05:00.000+0000: shutting down, reason=shutdown
2027-01-31 12:06:00.000+0000: shutting down, reason=failed
"""


def test_the_log_of_a_guest_is_read_from_a_moment_on(tmp_path, monkeypatch):
    """Going on from saved memory is no other start."""
    monkeypatch.setattr(guest_log, "FOLDER", str(tmp_path))
    (tmp_path / "a.log").write_text(LOG)
    later = ["start", "shutdown", "failed"]
    assert guest_log.events("a", "2027-01-31 12:01:30.000+0000") == later
    assert guest_log.events("a", "2027-01-31 12:00:00.000+0000") == ["start", "destroyed", *later]
    assert guest_log.events("b", "") == []
