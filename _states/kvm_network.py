"""
Networks
========

A libvirt network: a bridge of the host, with the DHCP and DNS of libvirt's dnsmasq behind it.
A network that guests use is never restarted for a change; what waits for its next start is said
in the comment of every run.
"""

from salt_kvm import face


def present(
    name,
    forward=None,
    bridge=None,
    ip=None,
    dhcp=None,
    dns=None,
    domain=None,
    mtu=None,
    autostart=None,
    xml=None,
    connection=None,
):
    """
    Make sure that a network is defined as declared; whether it is active is left alone.

    :param str name: name of the network
    :param str forward: ``nat``, ``route``, ``open``, ``bridge`` or ``isolated``
    :param str bridge: name of the host's bridge, 15 characters at most; libvirt chooses one
    :param str ip: the host's own address with its prefix: ``192.168.122.1/24``
    :param dict dhcp: ``ranges``, a list of ``first-last``, and ``hosts``, a list of static leases
        with ``mac``, ``ip`` and ``name``; each list is declared in full
    :param list dns: names that the network's DNS knows: mappings with ``ip`` and ``names``
    :param str domain: DNS domain of the guests
    :param int mtu: largest packet in bytes, 68 to 65535
    :param bool autostart: start it with the host; undeclared is left alone
    :param str xml: libvirt XML (what stands inside ``<network>``) to merge in:
        https://libvirt.org/formatnetwork.html
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        default:
          kvm_network.present:
            - forward: nat
            - bridge: virbr0
            - ip: 192.168.122.1/24
            - dhcp:
                ranges: [192.168.122.2-192.168.122.254]
    """
    return face.state("network", "present", globals(), locals())


def running(
    name,
    forward=None,
    bridge=None,
    ip=None,
    dhcp=None,
    dns=None,
    domain=None,
    mtu=None,
    autostart=None,
    xml=None,
    connection=None,
):
    """
    Make sure that a network is defined as declared and active; arguments as in :func:`present`.

    .. code-block:: yaml

        default:
          kvm_network.running:
            - forward: nat
            - ip: 192.168.122.1/24
            - autostart: true
    """
    return face.state("network", "running", globals(), locals())


def stopped(
    name,
    forward=None,
    bridge=None,
    ip=None,
    dhcp=None,
    dns=None,
    domain=None,
    mtu=None,
    autostart=None,
    xml=None,
    connection=None,
):
    """
    Make sure that a network is defined as declared and not active; arguments as in
    :func:`present`. Guests that are plugged into it lose their connection.

    .. code-block:: yaml

        lab:
          kvm_network.stopped:
            - forward: isolated
    """
    return face.state("network", "stopped", globals(), locals())


def absent(name, connection=None):
    """
    Make sure that a network is neither active nor defined.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_network.absent
    """
    return face.state("network", "absent", globals(), locals())
