"""The golden cases, for the tests that compare them and for those that show them to libvirt."""

import typing
from pathlib import Path

import yaml

from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.network import Network
from salt_kvm.spec.pool import Pool
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.spec.types import Spec
from salt_kvm.spec.volume import StorageVolume
from salt_kvm.xml import domain, network, pool, secret, volume
from salt_kvm.xml.merge import merge

GOLDEN = Path(__file__).parent / "golden"
FACTS = Facts(arch="x86_64", kvm=False)


def cases(noun):
    """Return the cases of a noun: the path of each YAML file and the fields that it holds."""
    return [(p, yaml.safe_load(p.read_text())) for p in sorted((GOLDEN / noun).glob("*.yaml"))]


def document(noun, name, fields):
    """Return the document of a new object."""
    if noun == "domain":
        want = convert(Domain, fields, name)
        merged = merge(domain.blank(name, want, FACTS), domain.intent(name, want, FACTS))
        return domain.complete(merged.xml, merged.added)
    if noun == "secret":
        want = convert(StoredSecret, fields, name)
        return merge(secret.blank(f"{want.usage}/{name}"), secret.intent(want)).xml
    if noun == "volume":
        return volume.new(name, convert(StorageVolume, fields, name), sparse=True)
    if noun == "pool":
        want = convert(Pool, fields, name)
        return merge(pool.blank(name, want), pool.intent(name, want)).xml
    return merge(network.blank(name), network.intent(name, convert(Network, fields, name))).xml


def nested(kind):
    """Return every spec in a type, the type itself among them."""
    found = {kind} if isinstance(kind, type) and issubclass(kind, Spec) else set()
    inner = typing.get_type_hints(kind).values() if found else typing.get_args(kind)
    return found.union(*map(nested, inner))
