"""
Storage pools
=============

A pool is a directory whose files libvirt knows as volumes. Its data is never removed.
"""

from salt_kvm import face


def present(name, type=None, path=None, autostart=None, xml=None, connection=None, **unknown):
    """
    Make sure that a pool is defined as declared; whether it is active is left alone.

    :param str name: name of the pool
    :param str type: ``dir``, the default of a new pool
    :param str path: absolute path of its directory, which is made; needed to make the pool
    :param bool autostart: start it with the host; undeclared is left alone
    :param str xml: libvirt XML (what stands inside ``<pool>``) to merge in:
        https://libvirt.org/formatstorage.html
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        default:
          kvm_pool.present:
            - type: dir
            - path: /var/lib/libvirt/images
    """
    return face.state("pool", "present", globals(), locals())


def running(name, type=None, path=None, autostart=None, xml=None, connection=None, **unknown):
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


def stopped(name, type=None, path=None, autostart=None, xml=None, connection=None, **unknown):
    """
    Make sure that a pool is defined as declared and not active; arguments as in :func:`present`.

    .. code-block:: yaml

        archive:
          kvm_pool.stopped:
            - path: /srv/archive
    """
    return face.state("pool", "stopped", globals(), locals())


def absent(name, connection=None, **unknown):
    """
    Make sure that a pool is neither active nor defined; its directory and files stay.

    :param str name: name of the pool
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_pool.absent
    """
    return face.state("pool", "absent", globals(), locals())
