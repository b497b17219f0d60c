"""
Domains
=======

A domain is a guest, declared in virt-install's words. Only what is declared is compared, so what
libvirt or an administrator added stays. A running guest is never restarted for a change; what
waits for its next start is said in the comment of every run.
"""

from salt_kvm import face


def present(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    machine=None,
    boot=None,
    cdrom=None,
    disks=None,
    interfaces=None,
    graphics=None,
    serial=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a domain is defined as declared; whether it runs is left alone.

    A list is declared in full: ``[]`` removes all of its kind, undeclared leaves them alone.

    :param str name: name of the domain
    :param str virt_type: ``kvm``, ``qemu``, or ``auto``: ``kvm`` where the host can; a new domain
        starts from ``auto``
    :param str memory: memory with a unit (``2GiB``) or in bytes; needed to make the domain
    :param str max_memory: up to where the running guest's memory can be raised; default ``memory``
    :param int vcpus: number of virtual CPUs; a new domain starts from 1
    :param int max_vcpus: up to where the running guest's CPUs can be raised; default ``vcpus``
    :param str cpu: ``host-passthrough``, ``host-model``, ``maximum`` or the name of a CPU model
    :param str machine: machine type; a new domain on x86 starts from ``q35``
    :param list boot: order of ``hd``, ``cdrom``, ``network``, ``fd``; a new domain boots from its
        disk, and from ``cdrom`` while the disk holds nothing bootable
    :param str cdrom: path of the medium in the CD drive; ``''`` is an empty drive
    :param list disks: mappings with ``path``; ``size`` (makes the image when the disk is new);
        ``format`` (``raw``); ``bus`` (``virtio``); ``target``; ``cache``; ``serial``
    :param list interfaces: mappings with ``network`` or ``bridge``; ``mac``; ``model`` (``virtio``)
    :param list graphics: mappings with ``type`` (``vnc`` or ``spice``); ``listen``, an address
        (``127.0.0.1``); ``port``, 5900 to 65535 or ``auto``; ``password``
    :param list serial: serial ports: mappings with ``type`` (``pty``) and ``log``, a file that
        libvirt writes
    :param bool autostart: start it with the host; undeclared is left alone
    :param int timeout: seconds to wait for a guest that is asked to power off; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param bool restart: restart a running guest (as for ``stopped``) where a change waits for its
        boot; default false
    :param str xml: libvirt XML (what stands inside ``<domain>``) to merge in:
        https://libvirt.org/formatdomain.html
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        web1:
          kvm_domain.present:
            - memory: 2GiB
            - vcpus: 2
            - disks:
                - path: /srv/web1.qcow2
                  format: qcow2
                  size: 20GiB
            - interfaces:
                - network: default
    """
    return face.state("domain", "present", globals(), locals())


def running(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    machine=None,
    boot=None,
    cdrom=None,
    disks=None,
    interfaces=None,
    graphics=None,
    serial=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a domain is defined as declared and runs; arguments as in :func:`present`.

    Returns as soon as the guest is started; the comment says where its console listens.

    .. code-block:: yaml

        CentOS-7-x86_64:
          kvm_domain.running:
            - virt_type: auto
            - memory: 2GiB
            - vcpus: 2
            - cdrom: /opt/CentOS-7-x86_64.iso
            - disks:
                - path: /opt/CentOS-7-x86_64.raw
            - interfaces:
                - network: default
            - graphics:
                - type: vnc
                  listen: 0.0.0.0
    """
    return face.state("domain", "running", globals(), locals())


def stopped(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    machine=None,
    boot=None,
    cdrom=None,
    disks=None,
    interfaces=None,
    graphics=None,
    serial=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a domain is defined as declared and is off; arguments as in :func:`present`.

    A running guest is asked to power off. The state waits ``timeout`` seconds until it is off and
    fails when it is not, or pulls the plug where ``force`` is true.

    .. code-block:: yaml

        web1:
          kvm_domain.stopped:
            - memory: 2GiB
            - timeout: 60
    """
    return face.state("domain", "stopped", globals(), locals())


def absent(name, timeout=None, force=None, connection=None, **unknown):
    """
    Make sure that a domain is neither running nor defined; its images and NVRAM stay.

    :param str name: name of the domain
    :param int timeout: seconds to wait for a guest that is asked to power off; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_domain.absent:
            - force: true
    """
    return face.state("domain", "absent", globals(), locals())


def mod_watch(name, sfun=None, connection=None, **unknown):
    """
    Restart a running guest because something that its state watches has changed: it is asked to
    power off, as for ``stopped``, and started. Salt calls this; it is not meant to be declared.

    :param str name: name of the domain
    :param str sfun: the state function that watches; only ``running`` restarts anything
    :param str connection: libvirt URI; default ``qemu:///system``
    :param unknown: the other arguments of that state function

    .. code-block:: yaml

        web1:
          kvm_domain.running:
            - memory: 2GiB
            - watch:
                - file: /srv/web1/seed.iso
        # kvm_domain.mod_watch restarts web1 when the file changed
    """
    return face.state("domain", sfun, globals(), locals(), restart=True)
