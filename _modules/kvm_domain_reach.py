"""
Seeing and reaching guests
==========================

The functions of ``kvm_domain`` that read a guest's console, press its keys and find its addresses.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__virtualname__ = "kvm_domain"
_run = face.command("reach", CommandExecutionError)


def __virtual__():
    return __virtualname__


def console_log(name, lines=100, serial=0, connection=None):
    """
    Return the last lines that a guest printed on a serial port which is written to a log.

    The port needs ``log`` in its declaration: ``serial: [{log: true}]``. The files that the log was
    rotated to are read too. What moves cursors and changes colours is taken out.

    :param str name: name of the domain, running or not
    :param int lines: how many lines, 1 to 100000; default 100. Of lines of more than 4 MiB the last
        are returned
    :param int serial: number of the serial port; default 0
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the lines as one text
    :raises CommandExecutionError: when there is no such domain or port, it has no log, or the log
        can't be read

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.console_log web1 lines=20
    """
    return _run(
        "console_log", globals(), connection=connection, name=name, lines=lines, serial=serial
    )


def send_key(name, keys, holdtime=None, codeset="linux", connection=None):
    """
    Press keys on the keyboard of a running guest.

    :param str name: name of the domain
    :param keys: keys that are down at the same time, 16 at most, by their names in Linux's
        ``input-event-codes.h`` or their numbers: ``ctrl-alt-delete``, ``alt-f2``, ``esc``; several
        combinations, with spaces between or as a list, are pressed one after another
    :param int holdtime: milliseconds that each key is held, 1 to 60000; default 100
    :param str codeset: what numbers mean: ``linux`` (default), ``xt``, ``atset1``, ``atset2``,
        ``atset3``, ``osx``, ``xt_kbd``, ``usb``, ``win32``, ``qnum``
        (https://libvirt.org/manpages/virsh.html#send-key); only those of ``linux`` have names
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when the guest is off, or there is no such key

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.send_key web1 ctrl-alt-delete
        salt '*' kvm_domain.send_key web1 'tab tab enter'
    """
    return _run(
        "send_key",
        globals(),
        connection=connection,
        name=name,
        keys=keys,
        holdtime=holdtime,
        codeset=codeset,
    )


def type_text(name, text, holdtime=None, connection=None):
    r"""
    Type a text on the keyboard of a running guest, as on a US keyboard.

    :param str name: name of the domain
    :param str text: ASCII, 4096 characters at most; a newline presses Enter, a tab Tab. A secret is
        named by where it is kept, ``sdb://profile/key`` or ``pillar://name`` (of ``kvm:secrets``)
    :param int holdtime: milliseconds that each key is held, 1 to 60000; default 20
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: the number of characters
    :raises CommandExecutionError: when the guest is off, or a character can't be typed; nothing is
        typed then

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.type_text web1 $'root\n'
    """
    return _run(
        "type_text",
        globals(),
        connection=connection,
        name=name,
        text=text,
        holdtime=holdtime,
        reveal=face.revealer(globals()),
    )


def set_graphics_password(name, password, kind=None, expires=None, connection=None):
    """
    Change the password of the VNC and SPICE consoles of a running guest until it is stopped.

    The definition keeps its own password. A console that was started without one can't get one.

    :param str name: name of the domain
    :param str password: where it is kept, ``sdb://profile/key`` or ``pillar://name`` (of
        ``kvm:secrets``); the password itself would stand in the shell's history and in Salt's job
        cache. VNC takes 8 characters, SPICE 60
    :param str kind: only the consoles of this type, ``vnc`` or ``spice``; default all that have a
        password
    :param expires: seconds from now on, a time in UTC (``2027-01-31T12:00:00``), or ``never``
        (default); who is connected then stays so
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``consoles``, the types of those that got it, and ``valid_to``
    :raises CommandExecutionError: when the guest is off, has no such console, or one without a
        password

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.set_graphics_password web1 sdb://vault/web1-vnc expires=600
    """
    return _run(
        "set_graphics_password",
        globals(),
        connection=connection,
        name=name,
        password=password,
        kind=kind,
        expires=expires,
        reveal=face.revealer(globals()),
    )


def addresses(name=None, source="auto", connection=None):
    """
    Return the addresses at which a guest can be reached, and who says so.

    :param str name: name of the domain; without it all running guests are asked at a time, and
        those that have no agent are not waited for
    :param str source: ``agent``, what the guest's agent says; ``lease``, what libvirt's DHCP
        servers gave it; ``arp``, what the host has heard from its network cards lately; ``auto``
        (default) is all that answer
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings with ``address``, ``prefix`` (null where no source knows it),
        ``mac``, ``interface`` (the guest's name of it by its agent, else the host's) and
        ``sources``; those that are only good on a link come last. Of all guests a mapping of names
        to these, or to the sentence that says why there is none
    :raises CommandExecutionError: when the named guest is off, or the only source fails

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.addresses web1
        salt '*' kvm_domain.addresses source=lease
    """
    return _run("addresses", globals(), connection=connection, name=name, source=source)


def wait_for(
    name,
    condition,
    timeout=300,
    port=None,
    address=None,
    pattern=None,
    serial=0,
    lines=1,
    connection=None,
):
    """
    Wait until something is so of a guest.

    How much of the time is over is told on the terminal of ``salt-call`` and on the master's event
    bus. A guest that goes off ends the wait for anything that it would have to do.

    :param str name: name of the domain
    :param str condition: ``poweroff``; ``running``; ``agent``, that it answers; ``address``, that
        the guest has one which reaches beyond its link; ``port``, that a TCP connection to it
        opens; ``console``, that a pattern is printed on a serial port with a log
    :param int timeout: seconds, 1 to 86400; default 300
    :param int port: which port; needed for ``port``
    :param str address: where the port is; default the guest's addresses, as they are found
    :param str pattern: a regular expression of Python's, in which ``^`` and ``$`` are the ends of a
        line; needed for ``console``
    :param int serial: number of the serial port; default 0
    :param int lines: how many of the lines that were printed before count; default 1, so that a
        prompt which stands there is found
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: ``condition``, ``seconds`` that it took, and what was found: ``address``, ``port``,
        ``line``
    :raises CommandExecutionError: when it is not so in time, with the path of a screenshot; when
        there is no such domain, or it is off

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_domain.wait_for web1 port port=22
        salt '*' kvm_domain.wait_for web1 console pattern='login: $' timeout=600
    """
    return _run(
        "wait_for",
        globals(),
        connection=connection,
        name=name,
        condition=condition,
        timeout=timeout,
        given={
            "port": port,
            "address": address,
            "pattern": pattern,
            "serial": serial,
            "lines": lines,
        },
    )
