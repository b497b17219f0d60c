"""Any pillar, shown to libvirt: what it makes of it is no drift, and any edit keeps the rest.

What libvirt refuses as a whole is no case. The examples are the same in each run.
"""

import os
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from salt_kvm import converge
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, NotFoundError, SpecError
from salt_kvm.plan.domain import DomainSeen
from salt_kvm.plan.pool import PoolSeen
from salt_kvm.plan.steps import CreateImage, Define, SetAutostart
from salt_kvm.xml import domain as domain_xml
from salt_kvm.xml import network as network_xml
from salt_kvm.xml import pool as pool_xml
from salt_kvm.xml.intent import ABSENT
from unit.golden_cases import FACTS
from unit.strategies import DOMAINS, NETWORKS, POOLS, Files

from .daemon import Daemon
from .test_golden import NoDevices, directory

NAME = "any"
EXAMPLES = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
ANY = {"domain": DOMAINS, "network": NETWORKS, "pool": POOLS}
PAIRS = st.one_of(
    *(st.tuples(st.just(noun), some, some) for noun, some in ANY.items() for _ in range(2))
)
# What no pillar says.
UNDECLARED = "<metadata><owner xmlns='urn:example:owner'>someone &amp; else</owner></metadata>"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A libvirtd apart: a generated document may be one that it does not survive."""
    root = tmp_path_factory.mktemp("libvirtd")
    os.chmod(root, 0o755)
    daemon = Daemon(root)
    try:
        daemon.start()
        yield Hypervisor(daemon.uri)
    finally:
        daemon.close()


def seen_as(noun, there, fields):
    """Return what the noun's planner wants to see; a pool's directory is as declared."""
    if noun == "domain":
        return DomainSeen(there, Files(there=False), FACTS)
    if noun == "pool":
        return PoolSeen(there, directory(fields), NoDevices())
    return there


class Object:
    """One domain or network, brought from pillar to pillar while it is off."""

    def __init__(self, hypervisor, noun):
        self.hypervisor, self.noun = hypervisor, noun

    def read(self):
        return self.hypervisor.read(self.noun, NAME)

    def plan(self, fields):
        known = {"memory": "64MiB"} if self.noun == "domain" else {}
        wanted = {**known, **fields, "state": "present"}
        seen = seen_as(self.noun, self.read(), fields)
        try:
            return converge.aim(self.noun, NAME, wanted).plan(seen).steps
        except SpecError:
            # It does not go with what is there.
            assume(False)

    def apply(self, fields):
        for step in self.plan(fields):
            if isinstance(step, Define):
                self.define(step.xml)
            elif isinstance(step, SetAutostart):
                self.hypervisor.set_autostart(self.noun, NAME, step.autostart)
            else:
                assert isinstance(step, CreateImage), step

    def define(self, text):
        try:
            self.hypervisor.define(self.noun, text)
        except ApplyError:
            # libvirt refuses it.
            assume(False)

    def left(self, fields):
        return converge.changes(self.plan(fields))

    def clean(self):
        with suppress(NotFoundError):
            self.hypervisor.undefine(self.noun, NAME)


def check_rest(hypervisor, noun, fields):
    some = Object(hypervisor, noun)
    some.clean()
    some.apply(fields)
    assert some.left(fields) == {}


@EXAMPLES
@given(DOMAINS)
def test_any_domain_is_at_rest(own, fields):
    check_rest(own, "domain", fields)


@EXAMPLES
@given(NETWORKS)
def test_any_network_is_at_rest(own, fields):
    check_rest(own, "network", fields)


@EXAMPLES
@given(POOLS)
def test_any_pool_is_at_rest(own, fields):
    check_rest(own, "pool", fields)


INTENTS = {
    "domain": lambda want: domain_xml.intent(NAME, want, FACTS),
    "network": lambda want: network_xml.intent(NAME, want),
    "pool": lambda want: pool_xml.intent(NAME, want),
}


def as_fragment(noun, fields):
    """Return what typed fields declare as the fragment of XML that declares the same."""
    try:
        root = INTENTS[noun](converge.aim(noun, NAME, fields).want).xml
    except SpecError:
        assume(False)
    # A fragment can't say what must not be there.
    for parent in list(root.iter()):
        for child in [each for each in parent if ABSENT in (*each.attrib, *each.attrib.values())]:
            parent.remove(child)
    root.remove(root.find("name"))
    return ET.tostring(root, encoding="unicode")


@EXAMPLES
@given(PAIRS)
def test_any_fragment_is_at_rest(own, pair):
    """What ``xml`` declares is compared like a typed field, alone and beside those."""
    noun, first, second = pair
    text = as_fragment(noun, first)
    for beside in ({}, second) if noun != "pool" else (first,):
        check_rest(own, noun, {**beside, "xml": text})


@EXAMPLES
@given(PAIRS)
def test_any_edit_ends_at_rest_and_keeps_the_rest(own, pair):
    noun, first, second = pair
    some = Object(own, noun)
    some.clean()
    some.apply(first)
    root = ET.fromstring(some.read().xml)
    if noun != "pool" and root.find("metadata") is None:
        root.append(ET.fromstring(UNDECLARED))
    some.define(ET.tostring(root, encoding="unicode"))
    before = ET.fromstring(some.read().xml)
    some.apply(second)
    assert some.left(second) == {}
    check_kept(before, ET.fromstring(some.read().xml), second)


def check_kept(before, after, fields):
    for tag in ("uuid", "metadata"):
        assert plain(before.find(tag)) == plain(after.find(tag))
    if before.tag == "domain":
        check_devices(before, after, fields)
    elif fields.get("forward") in ("nat", "route", "open", "isolated"):
        kept = [root.find("mac") for root in (before, after)]
        assert kept[0] is None or plain(kept[0]) == plain(kept[1])


# The field of each device; a tag without one here is of several fields.
FIELDS = {
    "disk": ("disks", "cdrom"),
    "interface": ("interfaces",),
    "serial": ("serial",),
    "channel": ("channels", "agent"),
    "rng": ("rng",),
    "tpm": ("tpm",),
    "sound": ("sounds",),
    "input": ("inputs",),
    "graphics": ("graphics",),
    "filesystem": ("filesystems",),
    "hostdev": ("hostdevs",),
    "redirdev": ("redirdevs",),
    "watchdog": ("watchdog",),
    "memballoon": ("memballoon",),
    "panic": ("panic",),
    "vsock": ("vsock",),
    "iommu": ("iommu",),
}


def check_devices(before, after, fields):
    """A device of an undeclared field is the same to the last byte; a declared one stays itself."""
    for tag, names in FIELDS.items():
        if not set(names) & fields.keys():
            kept = [[plain(d) for d in root.iterfind(f"devices/{tag}")] for root in (before, after)]
            assert kept[0] == kept[1], tag
    # A disk stays in its slot while it stays on its bus; a card that is declared keeps its MAC.
    places = [{target(d): place(d) for d in r.iterfind("devices/disk")} for r in (before, after)]
    for key in places[0].keys() & places[1].keys():
        assert places[0][key] == places[1][key]
    cards = [list(root.iterfind("devices/interface")) for root in (before, after)]
    declared = [card for card in fields.get("interfaces", []) if "mac" in card]
    macs = [{card.find("mac").get("address") for card in some} for some in cards]
    if "interfaces" in fields and not declared:
        assert len(macs[0] & macs[1]) == min(map(len, cards))
    slots = [{card.find("mac").get("address"): place(card) for card in some} for some in cards]
    for mac in slots[0].keys() & slots[1].keys():
        assert slots[0][mac] == slots[1][mac]


def target(disk):
    return tuple(sorted(disk.find("target").attrib.items()))


def place(device):
    return plain(device.find("address"))


def plain(element):
    return None if element is None else ET.canonicalize(ET.tostring(element), strip_text=True)
