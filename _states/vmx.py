"""
Machines' files on VMware hosts
===============================

Keys of ``.vmx`` files, of Workstation and Fusion here and of ESXi hosts by SSH. A file is edited as
text: what is not declared stays byte for byte. ``changes`` hold the difference of the text.

Told ``pillar: kvm:vmx``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face

__virtualname__ = "vmx"


def __virtual__():
    return __virtualname__


@face.state_function
def managed(
    name,
    path=None,
    host=None,
    options=None,
    absent=None,
    nested=None,
    powered_on=None,
    backup=None,
    **unknown,
):
    """
    Make sure that keys have their values, and that others are not there, in one writing.

    :param str name: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str path: the path, where ``name`` is something else
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param dict options: values by key; true is ``TRUE``; ``sdb://profile/key`` is looked up, and
        shown nowhere
    :param list absent: keys that are not to be there
    :param bool nested: whether the machine can run machines of its own (``vhv.enable``)
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name

    .. code-block:: yaml

        centos7:
          vmx.managed:
            - path: '[datastore1] centos7/centos7.vmx'
            - host: root@esxi1.example
            - nested: true
            - options: {memsize: 4096}
            - absent: [floppy0.present]
    """
    return face.state("vmx", "managed", globals(), locals())


@face.state_function
def option_present(
    name,
    path=None,
    host=None,
    key=None,
    value=None,
    options=None,
    powered_on=None,
    backup=None,
    **unknown,
):
    """
    Make sure that a key has its value.

    :param str name: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str path: the path, where ``name`` is something else
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param str key: the key; the case of its letters is all one
    :param value: its value; true is ``TRUE``; ``sdb://profile/key`` is looked up, and shown nowhere
    :param dict options: more values by key
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name

    .. code-block:: yaml

        /home/admin/vmware/centos7/centos7.vmx:
          vmx.option_present:
            - key: memsize
            - value: 4096
    """
    return face.state("vmx", "option_present", globals(), locals())


@face.state_function
def option_absent(
    name, path=None, host=None, key=None, absent=None, powered_on=None, backup=None, **unknown
):
    """
    Make sure that a key is not there.

    :param str name: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str path: the path, where ``name`` is something else
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param str key: the key; the case of its letters is all one
    :param list absent: more keys
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name

    .. code-block:: yaml

        /home/admin/vmware/centos7/centos7.vmx:
          vmx.option_absent:
            - key: floppy0.present
    """
    return face.state("vmx", "option_absent", globals(), locals())


@face.state_function
def nested_enabled(name, path=None, host=None, powered_on=None, backup=None, **unknown):
    """
    Make sure that a machine gets VT-x or AMD-V, so that it can be a hypervisor itself.

    That is ``vhv.enable = "TRUE"``, which VMware's clients write for *Virtualize Intel VT-x/EPT or
    AMD-V/RVI* and *Expose hardware assisted virtualization*, from virtual hardware 9 on (VMware:
    *Running Nested VMs*); see docs/vmx.md for what is not needed beside it.

    :param str name: the path of the ``.vmx`` file, ``[datastore] folder/name.vmx`` too
    :param str path: the path, where ``name`` is something else
    :param host: an ESXi host by SSH, ``root@esxi1:22``, or a mapping of ``host``, ``user``
        (``root``), ``port``, ``identity_file``, ``known_hosts`` and ``timeout`` (seconds, 10);
        default: this host, which has Workstation or Fusion
    :param str powered_on: ``refuse`` (the default) fails while the machine is on or suspended;
        ``write`` writes, and tells what waits for the next power cycle
    :param bool backup: keep the old text beside the file, with the date in its name

    .. code-block:: yaml

        /vmfs/volumes/datastore1/centos7/centos7.vmx:
          vmx.nested_enabled:
            - host: root@esxi1.example
    """
    return face.state("vmx", "nested_enabled", globals(), locals())
