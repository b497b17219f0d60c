"""
Domains
=======

Domains (guests) through libvirt.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"list_": "list"}
_run = face.command("domain", CommandExecutionError)


def list_(connection=None):
    """
    Return every domain with its state.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping of names to ``running``, ``paused`` or ``off``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.list
    """
    return _run("list_", globals(), connection=connection)


def info(name, connection=None):
    """
    Return state, sizes (memory in bytes), disks, interfaces and consoles of a domain.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.info web1
    """
    return _run("info", globals(), connection=connection, name=name)


def xml(name, live=False, connection=None):
    """
    Return libvirt's document of a domain; secrets in it are hidden.

    :param str name: name of the domain
    :param bool live: the running object's document, not the persistent one; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the XML as a string
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.xml web1
    """
    return _run("xml", globals(), connection=connection, name=name, live=live)


def start(name, connection=None):
    """
    Start a domain that is off.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was off
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.start web1
    """
    return _run("start", globals(), connection=connection, name=name)


def destroy(name, connection=None):
    """
    Take a domain down at once. A guest loses what it had not written.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was on
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.destroy web1
    """
    return _run("destroy", globals(), connection=connection, name=name)


def shutdown(name, timeout=None, force=False, connection=None):
    """
    Ask a guest to power off and wait until it is.

    :param str name: name of the domain
    :param int timeout: seconds to wait; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was running
    :raises CommandExecutionError: when it is still running afterwards

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.shutdown web1 timeout=60
    """
    return _run(
        "shutdown", globals(), connection=connection, name=name, timeout=timeout, force=force
    )


def suspend(name, connection=None):
    """
    Make a guest stand still: its CPUs stop, its memory stays, and no state lets it go on by itself.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it ran, false when it was paused or off
    :raises CommandExecutionError: when there is no such domain, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.suspend web1
    """
    return _run("suspend", globals(), connection=connection, name=name)


def resume(name, connection=None):
    """
    Let a guest that is paused go on, also one that QEMU paused as the host had no room left.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was paused
    :raises CommandExecutionError: when there is no such domain, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.resume web1
    """
    return _run("resume", globals(), connection=connection, name=name)


def reboot(name, connection=None):
    """
    Ask a guest to boot anew, and return at once.

    It keeps the devices that it has: what waits for its next start still does, which
    ``restart: true`` of the state brings. One with ``on_reboot: destroy`` goes off.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was asked, false when it is off
    :raises CommandExecutionError: when there is no such domain, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.reboot web1
    """
    return _run("reboot", globals(), connection=connection, name=name)


def reset(name, connection=None):
    """
    Boot a guest anew at once, as a reset button does. It loses what it had not written.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when it was done, false when it is off
    :raises CommandExecutionError: when there is no such domain, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.reset web1
    """
    return _run("reset", globals(), connection=connection, name=name)


def pending(name, connection=None):
    """
    Return what the definition of a running guest has and the guest only gets at its next start.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``old`` and ``new`` by path; empty where nothing waits, or the guest is off
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.pending web1
    """
    return _run("pending", globals(), connection=connection, name=name)


def history(name, connection=None):
    """
    Return the versions of a domain's definition that were replaced or removed on this host.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of versions, oldest first: when each was replaced, in UTC; the last 20 are kept
    :raises CommandExecutionError: when they can't be read

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.history web1
    """
    return _run("history", globals(), connection=connection, name=name)


def revert_definition(name, version, connection=None):
    """
    Define a version that was replaced again; what is defined now is kept in turn.

    A running guest keeps running as it is; the definition counts from its next start.

    :param str name: name of the domain
    :param str version: one of ``kvm_domain.history``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true when the definition changed
    :raises CommandExecutionError: when there is no such version, or libvirt refuses it

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.revert_definition web1 20261124T101112.131415Z
    """
    return _run("revert_definition", globals(), connection=connection, name=name, version=version)


def vnc(name, connection=None):
    """
    Return where the VNC console of a running guest listens.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``listen``, ``port`` (an integer) and ``address`` (``listen:port``), or nothing
    :raises CommandExecutionError: when there is no such domain, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.vnc web1
    """
    return _run("vnc", globals(), connection=connection, name=name)


def screenshot(name, path=None, connection=None):
    """
    Write the screen of a running guest as a PNG file, which only root can read.

    :param str name: name of the domain
    :param str path: where to write it; default a file under ``/var/cache/salt-kvm/screenshots``
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the path of the file
    :raises CommandExecutionError: when the guest is off, or the file can't be written

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.screenshot web1
    """
    return _run("screenshot", globals(), connection=connection, name=name, path=path)


def plan(name, connection=None, state="running", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: name of the domain
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``running``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.plan web1 memory=2GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
