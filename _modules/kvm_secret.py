"""
Secrets
=======

The secrets that libvirt keeps; no function returns a value.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("secret", CommandExecutionError)


def list_(connection=None):
    """
    Return every secret.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of UUIDs to ``usage/name``; to null where a secret has no usage
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_secret.list
    """
    return _run("list_", globals(), connection=connection)


def info(name, usage, connection=None):
    """
    Return what libvirt keeps of a secret, but for its value.

    :param str name: what its usage names: a target, a client, the path of a volume
    :param str usage: ``ceph``, ``iscsi``, ``volume``, ``vtpm``, ``tls``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping; ``has_value`` is null where libvirt does not tell
    :raises CommandExecutionError: when there is no such secret, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_secret.info client.libvirt ceph
    """
    return _run("info", globals(), connection=connection, name=name, usage=usage)


def plan(name, connection=None, state="present", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: what its usage names
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``present``
    :param fields: the other arguments of the state function; a ``value`` that is typed here stands
        in the shell's history and in Salt's job cache, a ``value_file`` does not
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_secret.plan client.libvirt usage=ceph value_file=/root/ceph.key
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
