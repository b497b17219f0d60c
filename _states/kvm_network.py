"""
Networks
========

A libvirt network: a bridge of the host, with the DHCP and DNS of libvirt's dnsmasq behind it.
DHCP ranges and hosts, DNS hosts, TXT and SRV records, portgroups and the devices of a forward mode
are changed on the active network at once, and no guest is cut off. What libvirt can't change there
is written to the definition, and said to wait in the comment of every run until the network is
restarted: by hand, or by ``restart: true``, which plugs the running guests in again.

Told ``pillar: kvm:networks``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    forward=None,
    devices=None,
    pf=None,
    addresses=None,
    managed=None,
    nat=None,
    bridge=None,
    stp=None,
    delay=None,
    mac_table_manager=None,
    zone=None,
    virtualport=None,
    vlan=None,
    port_isolation=None,
    ip=None,
    dhcp=None,
    ips=None,
    dns=None,
    domain=None,
    mtu=None,
    bandwidth=None,
    portgroups=None,
    routes=None,
    autostart=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a network is defined as declared; whether it is active is left alone.

    :param str name: name of the network
    :param str forward: ``nat``, ``route``, ``open`` or ``isolated`` (a bridge that libvirt makes);
        ``bridge`` (a bridge of the host, or macvtap where ``devices`` are given), ``private``,
        ``vepa`` or ``passthrough`` (macvtap), ``hostdev`` (PCI devices handed to guests)
    :param list devices: the host's network devices that the traffic leaves by
    :param str pf: for ``hostdev``: the device whose virtual functions the guests get
    :param list addresses: for ``hostdev``: PCI addresses such as ``0000:03:10.0``
    :param bool managed: for ``hostdev``: libvirt takes the device from its host driver
    :param dict nat: ``addresses`` and ``ports``, each ``first-last``, that hide the guests, and
        ``ipv6``, true to hide IPv6 too
    :param str bridge: name of the host's bridge, 15 characters at most; libvirt chooses one
    :param bool stp: spanning tree protocol of the bridge
    :param int delay: seconds that the bridge waits before it forwards
    :param str mac_table_manager: ``kernel`` or ``libvirt``
    :param str zone: firewalld's zone of the bridge
    :param str virtualport: ``openvswitch`` for a bridge of Open vSwitch, ``802.1Qbg``, ``802.1Qbh``
    :param dict vlan: a VLAN tag, or ``tags``, ``trunk`` and ``native`` (the tag that is sent
        untagged); for Open vSwitch, ``passthrough`` and ``hostdev``
    :param bool port_isolation: guests can't reach one another, only what is beyond the bridge
    :param str ip: the host's own address with its prefix: ``192.168.122.1/24``
    :param dict dhcp: ``ranges``, a list of ``first-last``; ``lease``, how long they are given:
        ``90m``, ``2h``, ``infinite``; ``hosts``, a list of static leases with ``mac``, ``ip``,
        ``name``, ``lease`` (IPv6: ``id`` instead of ``mac``); ``bootp`` with ``file`` and
        ``server``; each list is declared in full
    :param list ips: several addresses in place of ``ip`` and ``dhcp``, declared in full: mappings
        with ``address``, ``dhcp``, ``local_ptr`` and ``tftp``, a directory
    :param list dns: the names that the network's DNS knows, mappings with ``ip`` and ``names``; or
        a mapping with ``enable``, ``forward_plain_names``, ``forwarders`` (each ``address``,
        ``domain``), ``hosts``, ``txt`` (each ``name``, ``value``) and ``srv`` (each ``service``,
        ``protocol``, ``domain``, ``target``, ``port``, ``priority``, ``weight``)
    :param str domain: DNS domain of the guests; or a mapping with ``name`` and ``local_only``, true
        to keep its names from other servers
    :param int mtu: largest packet in bytes, 68 to 65535
    :param dict bandwidth: ``inbound`` and ``outbound``, each ``average`` and ``peak`` in kilobytes
        per second and ``burst`` in kilobytes
    :param list portgroups: settings that a guest's card takes over by name, declared in full:
        mappings with ``name``, ``default``, ``vlan``, ``bandwidth`` and ``virtualport``
    :param list routes: routes of the host, declared in full: mappings with ``to``, ``gateway`` and
        ``metric``
    :param bool autostart: start it with the host; undeclared is left alone
    :param bool restart: restart the active network where a change waits for its start, and plug the
        running guests in again
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
            - dns:
                hosts: [{ip: 192.168.122.10, names: [web1]}]
                txt: [{name: about, value: a laboratory}]
    """
    return face.state("network", "present", globals(), locals())


@face.state_function
def running(
    name,
    forward=None,
    devices=None,
    pf=None,
    addresses=None,
    managed=None,
    nat=None,
    bridge=None,
    stp=None,
    delay=None,
    mac_table_manager=None,
    zone=None,
    virtualport=None,
    vlan=None,
    port_isolation=None,
    ip=None,
    dhcp=None,
    ips=None,
    dns=None,
    domain=None,
    mtu=None,
    bandwidth=None,
    portgroups=None,
    routes=None,
    autostart=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
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


@face.state_function
def stopped(
    name,
    forward=None,
    devices=None,
    pf=None,
    addresses=None,
    managed=None,
    nat=None,
    bridge=None,
    stp=None,
    delay=None,
    mac_table_manager=None,
    zone=None,
    virtualport=None,
    vlan=None,
    port_isolation=None,
    ip=None,
    dhcp=None,
    ips=None,
    dns=None,
    domain=None,
    mtu=None,
    bandwidth=None,
    portgroups=None,
    routes=None,
    autostart=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
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


@face.state_function
def absent(name, connection=None, **unknown):
    """
    Make sure that a network is neither active nor defined.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_network.absent
    """
    return face.state("network", "absent", globals(), locals())


@face.state_function
def mod_watch(name, sfun=None, connection=None, **unknown):
    """
    Restart an active network because something that its state watches has changed, where its
    ``restart`` is true; the running guests are plugged in again. Salt calls this; it is not meant
    to be declared.

    :param str name: name of the network
    :param str sfun: the state function that watches; only ``running`` restarts anything
    :param str connection: libvirt URI; default ``qemu:///system``
    :param unknown: the other arguments of that state function

    .. code-block:: yaml

        default:
          kvm_network.running:
            - ip: 192.168.122.1/24
            - restart: true
            - watch:
                - file: /etc/dnsmasq.d/lab.conf
        # kvm_network.mod_watch restarts it when the file changed
    """
    return face.state("network", sfun, globals(), locals(), restart=True)
