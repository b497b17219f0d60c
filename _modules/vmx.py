"""
Machines' files on VMware hosts
===============================

Keys of ``.vmx`` files, of Workstation and Fusion here and of ESXi hosts by SSH.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__virtualname__ = "vmx"
__func_alias__ = {"set_": "set"}
_run = face.command("vmx", CommandExecutionError)


def __virtual__():
    return __virtualname__


def find(directories=None, depth=4, host=None, volumes=False):
    """
    Return the machines of a VMware host.

    :param list directories: where to look on this host; default: where Workstation and Fusion put
        machines
    :param int depth: how many directories deep to look; default 4
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param bool volumes: look through the datastores of an ESXi host too, for what is not registered
    :returns: a list of mappings: ``path``, ``name``, ``powered_on``, and of a registered machine of
        an ESXi host its ``number``, ``guest`` and ``version``
    :raises CommandExecutionError: when the host can't be reached

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.find
        salt 'node1' vmx.find host=root@esxi1.example volumes=true
    """
    return _run("find", globals(), directories=directories, depth=depth, host=host, volumes=volumes)


def get(path, key, host=None):
    """
    Return the value of a key; null where it is not there.

    :param str path: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str key: the key; the case of its letters is all one
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :raises CommandExecutionError: when the file can't be read, or has the key twice

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.get '[datastore1] centos7/centos7.vmx' vhv.enable host=root@esxi1
    """
    return _run("get", globals(), path=path, key=key, host=host)


def info(path, host=None):
    """
    Return what a file holds, without passwords, and whether its machine is on.

    :param str path: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :returns: a mapping: ``options`` by key, ``encoding``, ``line_ends``, ``twice``: keys that stand
        twice, so that VMware does not open the file, ``malformed``: lines that are none,
        ``powered_on``, ``machines``: the numbers on an ESXi host, and ``waiting``: what keys were
        until they were written under the running machine
    :raises CommandExecutionError: when the file is not there, or can't be reached

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.info /home/admin/vmware/centos7/centos7.vmx
    """
    return _run("info", globals(), path=path, host=host)


def set_(path, key, value, host=None, powered_on=None, backup=None):
    """
    Set a key; the rest of the text stays byte for byte.

    :param str path: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str key: the key; the case of its letters is all one
    :param value: its value; true is ``TRUE``; ``sdb://profile/key`` is looked up, and shown nowhere
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name
    :returns: true; false where it had that value
    :raises CommandExecutionError: when it can't be done

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.set '[datastore1] centos7/centos7.vmx' vhv.enable true host=root@esxi1
    """
    fields = {
        "host": host,
        "powered_on": powered_on,
        "backup": backup,
        "reveal": face.revealer(globals()),
    }
    return _run("set_", globals(), path=path, key=key, value=value, **fields)


def remove(path, key, host=None, powered_on=None, backup=None):
    """
    Remove a key; the rest of the text stays byte for byte.

    :param str path: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str key: the key; the case of its letters is all one
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name
    :returns: true; false where it was not there
    :raises CommandExecutionError: when it can't be done

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.remove /home/admin/vmware/centos7/centos7.vmx floppy0.present
    """
    fields = {"host": host, "powered_on": powered_on, "backup": backup}
    return _run("remove", globals(), path=path, key=key, **fields)


def plan(name, state="managed", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: the path of the ``.vmx`` file
    :param str state: the state function; default ``managed``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next power cycle will bring
    :raises CommandExecutionError: when the fields are not valid, or the file can't be had

    CLI Example:

    .. code-block:: bash

        salt 'node1' vmx.plan /home/admin/vmware/centos7/centos7.vmx nested=true
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan",
        globals(),
        name=name,
        fields={**wanted, "state": state},
        reveal=face.revealer(globals()),
    )
