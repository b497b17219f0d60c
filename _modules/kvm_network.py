"""
Networks
========

Networks through libvirt.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("network", CommandExecutionError)


def list_(connection=None):
    """
    Return every network with its state.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of names to ``running`` or ``off``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.list
    """
    return _run("list_", globals(), connection=connection)


def info(name, connection=None):
    """
    Return state, forward mode, bridge and addresses of a network.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.info default
    """
    return _run("info", globals(), connection=connection, name=name)


def leases(name, connection=None):
    """
    Return the leases that the network's dnsmasq has handed out.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``ipaddr``, ``mac``, ``hostname``, ``expirytime`` (Unix time)
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.leases default
    """
    return _run("leases", globals(), connection=connection, name=name)


def xml(name, live=False, connection=None):
    """
    Return libvirt's document of a network; secrets in it are hidden.

    :param str name: name of the network
    :param bool live: the running object's document, not the persistent one; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the XML as a string
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.xml default
    """
    return _run("xml", globals(), connection=connection, name=name, live=live)


def start(name, connection=None):
    """
    Start a network that is off.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was off
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.start default
    """
    return _run("start", globals(), connection=connection, name=name)


def destroy(name, connection=None):
    """
    Take a network down at once.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was on
    :raises CommandExecutionError: when there is no such network, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.destroy default
    """
    return _run("destroy", globals(), connection=connection, name=name)


def plan(name, connection=None, state="running", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: name of the network
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``running``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_network.plan default forward=nat ip=192.168.122.1/24
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
