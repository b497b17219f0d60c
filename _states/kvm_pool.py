"""
Storage pools
=============

A pool is a directory, a file system, a disk, a volume group or a server's storage whose parts
libvirt knows as volumes. What it holds is never removed or overwritten unless that is declared.

Told ``pillar: kvm:pools``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    type=None,
    path=None,
    source=None,
    permissions=None,
    features=None,
    mount_options=None,
    rbd_options=None,
    volume_allocation=None,
    autostart=None,
    overwrite=None,
    restart=None,
    data=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a pool is defined as declared; whether it is active is left alone.

    :param str name: name of the pool
    :param str type: ``dir`` (the default of a new pool), ``fs``, ``netfs``, ``logical``, ``disk``,
        ``iscsi``, ``iscsi-direct``, ``scsi``, ``mpath``, ``gluster``, ``rbd``, ``zfs``,
        ``vstorage``
    :param str path: absolute path of its directory, which is made, or where its devices appear
    :param dict source: where the data is: ``device``, ``devices``, ``hosts``, ``dir``, ``name``,
        ``format``, ``adapter``, ``initiator``, ``auth``, ...
    :param dict permissions: ``owner``, ``group``, ``mode``, ``label`` of its directory
    :param dict features: ``cow: false`` switches copy-on-write off for new volumes on Btrfs
    :param list mount_options: options of ``mount`` for ``fs`` and ``netfs``
    :param dict rbd_options: options of Ceph's client
    :param str volume_allocation: for ``rbd``; ``capacity`` spares a slow look at each volume
    :param bool autostart: start it with the host; undeclared is left alone
    :param bool overwrite: build the pool also where its device holds something else, which is lost
    :param bool restart: restart an active pool that no running guest uses, where a change waits
    :param str data: for :func:`absent` only
    :param str xml: libvirt XML (what stands inside ``<pool>``) to merge in:
        https://libvirt.org/formatstorage.html
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        guests:
          kvm_pool.present:
            - type: fs
            - path: /srv/guests
            - source: {device: /dev/sdb1, format: xfs}
    """
    return face.state("pool", "present", globals(), locals())


@face.state_function
def running(
    name,
    type=None,
    path=None,
    source=None,
    permissions=None,
    features=None,
    mount_options=None,
    rbd_options=None,
    volume_allocation=None,
    autostart=None,
    overwrite=None,
    restart=None,
    data=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a pool is defined as declared and active; arguments as in :func:`present`.

    .. code-block:: yaml

        default:
          kvm_pool.running:
            - type: dir
            - path: /var/lib/libvirt/images
            - autostart: true
    """
    return face.state("pool", "running", globals(), locals())


@face.state_function
def stopped(
    name,
    type=None,
    path=None,
    source=None,
    permissions=None,
    features=None,
    mount_options=None,
    rbd_options=None,
    volume_allocation=None,
    autostart=None,
    overwrite=None,
    restart=None,
    data=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a pool is defined as declared and not active; arguments as in :func:`present`.

    It fails while a running guest uses the pool.

    .. code-block:: yaml

        archive:
          kvm_pool.stopped:
            - path: /srv/archive
    """
    return face.state("pool", "stopped", globals(), locals())


@face.state_function
def absent(name, data=None, connection=None, **unknown):
    """
    Make sure that a pool is neither active nor defined; what it holds stays.

    It fails while a running guest uses the pool.

    :param str name: name of the pool
    :param str data: ``keep`` (the default); ``delete_empty``: its directory or volume group goes
        too, if it holds no volume; ``delete``: with all volumes, if no guest uses one
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_pool.absent
    """
    return face.state("pool", "absent", globals(), locals())


@face.state_function
def mod_watch(name, sfun=None, connection=None, **unknown):
    """
    Have libvirt look anew at what an active pool holds because something that its state watches
    has changed; where its ``restart`` is true and no running guest uses it, stop and start it. Salt
    calls this; it is not meant to be declared.

    :param str name: name of the pool
    :param str sfun: the state function that watches; only ``running`` looks at anything
    :param str connection: libvirt URI; default ``qemu:///system``
    :param unknown: the other arguments of that state function

    .. code-block:: yaml

        default:
          kvm_pool.running:
            - path: /var/lib/libvirt/images
            - watch:
                - file: /var/lib/libvirt/images/base.qcow2
        # kvm_pool.mod_watch refreshes it when the file changed
    """
    return face.state("pool", sfun, globals(), locals(), restart=True)
