"""What a pillar says of ESXi hosts that are Salt resources."""

import pytest

from salt_kvm import face
from salt_kvm.errors import SpecError


@pytest.mark.parametrize(
    "tree", [None, {}, {"esxi": None}, {"esxi": {}}, {"esxi": {"hosts": None}}, {"ssh": ["x"]}]
)
def test_no_host_is_declared(tree):
    assert face.esxi_hosts({"pillar": {"resources": tree}}) == {}


@pytest.mark.parametrize("tree", [["esxi"], {"esxi": ["a"]}, {"esxi": {"hosts": ["esxi1"]}}, "x"])
def test_hosts_are_a_mapping(tree):
    with pytest.raises(SpecError, match="resources:esxi:hosts: Expected 'mapping'"):
        face.esxi_hosts({"pillar": {"resources": tree}})
