"""The golden cases, for the tests that compare them and for those that show them to libvirt."""

import typing
from pathlib import Path
from xml.etree import ElementTree as ET

import yaml

from salt_kvm.backend.guests import boot_files
from salt_kvm.plan import seed
from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.install import Install
from salt_kvm.spec.network import Network
from salt_kvm.spec.pool import Pool
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import Spec
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import domain, network, pool, secret, volume
from salt_kvm.xml.install import installer
from salt_kvm.xml.merge import merge

GOLDEN = Path(__file__).parent / "golden"
SINCE = "2026-07-01 10:00:00.000+0000"
FACTS = Facts(arch="x86_64", kvm=False)


def cases(noun):
    """Return the cases of a noun: the path of each YAML file and the fields that it holds."""
    return [(p, yaml.safe_load(p.read_text())) for p in sorted((GOLDEN / noun).glob("*.yaml"))]


def document(noun, name, fields):
    """Return the document of a new object."""
    if noun == "domain":
        want = convert(Domain, fields, name)
        places, _gone = seed.placed(name, want, None)
        intent = domain.intent(name, want, FACTS, places)
        merged = merge(domain.blank(name, want, FACTS), intent)
        return domain.complete(merged.xml, merged.added)
    if noun == "installer":
        want = convert(Domain, fields, name)
        install = want.install or Install()
        cdrom = want.cdrom if install.location is None else None
        root = document("domain", name, final(fields))
        media = boot_files.media(name, install, cdrom)
        return ET.fromstring(installer(ET.tostring(root, encoding="unicode"), media, SINCE))
    if noun == "secret":
        want = convert(StoredSecret, fields, name)
        return merge(secret.blank(f"{want.usage}/{name}"), secret.intent(want)).xml
    if noun == "volume":
        return volume.new(name, convert(StorageVolume, fields, name), sparse=True)
    if noun == "pool":
        want = convert(Pool, fields, name)
        return merge(pool.blank(name, want), pool.intent(name, want)).xml
    return merge(network.blank(name), network.intent(name, convert(Network, fields, name))).xml


def final(fields):
    """Return the fields of a domain as its definition has them: a medium to install from is out."""
    located = "location" in fields.get("install", {})
    return {**fields, "state": "running", **({} if located else {"cdrom": ""})}


def nested(kind):
    """Return every spec in a type, the type itself among them."""
    found = {kind} if isinstance(kind, type) and issubclass(kind, Spec) else set()
    inner = typing.get_type_hints(kind).values() if found else typing.get_args(kind)
    return found.union(*map(nested, inner))
