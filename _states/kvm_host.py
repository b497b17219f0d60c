"""What a host must be, before anything is made on it."""

from salt.exceptions import CommandExecutionError

from salt_kvm import bootstrap, face


@face.state_function
def libraries(name, packages=None):
    """The Python that runs Salt has the libraries that this pack needs.

    Runs pip only where one is missing. Give it ``reload_modules: true``, so that what follows in
    the same run can use them. libvirt-python is compiled: see the SLS ``kvm.python``.

    :param str name: any text; it only names the state
    :param list packages: requirements as pip takes them (of versions only ``==`` is looked at);
        default: msgspec, pycdlib, libvirt-python

    .. code-block:: yaml

        libraries for kvm:
          kvm_host.libraries:
            - packages: [msgspec, pycdlib, libvirt-python==12.8.0]
            - reload_modules: true
    """
    return bootstrap.libraries(globals(), CommandExecutionError, name, packages)


@face.state_function
def virtualisation(name, required=None):
    """This host can run guests in hardware (KVM); where it can't, the comment says how to cure it.

    :param str name: any text; it only names the state
    :param bool required: true: fail where KVM can't be used; false: never fail; default: fail only
        if a domain of the pillar's ``kvm:domains`` has ``virt_type: kvm``

    .. code-block:: yaml

        this host can virtualise:
          kvm_host.virtualisation:
            - required: true
    """
    section = __pillar__.get("kvm")
    return face.check("host", "virtualisation", globals(), name, required=required, pillar=section)


@face.state_function
def nested(name, enabled=True, **unknown):
    """Guests of this host may be hypervisors themselves, or may not.

    Sets the option ``nested`` of kvm_intel or kvm_amd, by the CPU that is there, in
    ``/etc/modprobe.d/salt-kvm.conf``, and loads the module anew where nothing has /dev/kvm open.
    Otherwise that waits, and each run's comment tells for whom. A guest is never stopped for it.

    :param str name: any text; it only names the state
    :param bool enabled: false: guests may not; default true

    Source: Documentation/virt/kvm/x86/running-nested-guests.rst of the Linux kernel.

    .. code-block:: yaml

        guests may be hypervisors:
          kvm_host.nested:
            - enabled: true
    """
    return face.state("nested", "nested", globals(), locals())


@face.state_function
def valid(name):
    """The pillar's ``kvm`` section is valid; the comment lists every fault with its path.

    :param str name: any text; it only names the state

    .. code-block:: yaml

        the kvm pillar is valid:
          kvm_host.valid:
            - failhard: true
    """
    return face.check("host", "validate", globals(), name, pillar=__pillar__.get("kvm"))


@face.state_function
def config(name, files=None, paths=None, restart=True, **unknown):
    """Keys of libvirt's configuration files have these values; all else in the files stays.

    A key takes its place below the comment that shows it. The daemons that read a changed file and
    run are restarted, virtlogd and virtlockd told to begin anew: guests go on. What does not come
    up again gets its file back. The file that was is kept (``/var/lib/salt-kvm/history``).

    :param str name: any text; it only names the state
    :param dict files: by file (``qemu.conf``, ``libvirtd.conf``, ``virtqemud.conf``,
        ``network.conf``, ``libvirt-guests``, ...) a mapping of its keys to text, number, truth
        value, list, or null, which takes the key out; ``sdb://profile/key`` is looked up; default:
        ``kvm:host:config`` of the pillar, so that no password stands in an SLS
    :param dict paths: where a file lies that does not lie in ``/etc/libvirt``
    :param bool restart: false: daemons keep what they have read, and each run says so; default true

    Source: https://libvirt.org/daemons.html#configuration-files

    .. code-block:: yaml

        consoles for all the world:
          kvm_host.config:
            - files:
                qemu.conf: {vnc_listen: 0.0.0.0, security_driver: [apparmor]}
    """
    return face.state("config", "config", globals(), locals())


@face.state_function
def kernel(
    name,
    hugepages=None,
    ksm=None,
    transparent_hugepages=None,
    bridge_netfilter=None,
    **unknown,
):
    """The kernel is told this now and at each boot (``/etc/tmpfiles.d``, ``/etc/sysctl.d``).

    :param str name: any text; it only names the state
    :param dict hugepages: how many pages to set aside, by their size: ``{2MiB: 512, 1GiB: 4}``
    :param ksm: whether pages that are the same are kept once: a truth value, or a mapping with
        ``run``, ``pages_to_scan``, ``sleep_millisecs`` (milliseconds), ``merge_across_nodes``
    :param str transparent_hugepages: ``always``, ``madvise`` or ``never``
    :param bool bridge_netfilter: whether what passes a bridge passes the host's packet filter

    Where there are too few pages free in one piece the state fails; after a boot there are more.
    Sources: https://docs.kernel.org/admin-guide/mm/ksm.html, .../hugetlbpage.html,
    .../transhuge.html, https://docs.kernel.org/networking/bridge.html

    .. code-block:: yaml

        memory for guests:
          kvm_host.kernel:
            - hugepages: {1GiB: 4}
            - ksm: false
    """
    return face.state("kernel", "kernel", globals(), locals())


@face.state_function
def kernel_arguments(name, arguments=None, iommu=None, file=None, key=None, apply=None, **unknown):
    """The kernel is booted with these arguments; until it was, each run says what waits for that.

    :param str name: any text; it only names the state
    :param list arguments: words as they stand on the kernel's command line; one that is there with
        another value is replaced
    :param bool iommu: true: those that switch the CPU's IOMMU on
    :param str file: the boot loader's file; default ``/etc/default/grub``
    :param str key: the file's key; default ``GRUB_CMDLINE_LINUX``
    :param list apply: the command that makes the boot loader read the file, ``ARGUMENTS`` in it is
        replaced; default: none

    .. code-block:: yaml

        devices for guests:
          kvm_host.kernel_arguments:
            - iommu: true
            - apply: [update-grub]
    """
    return face.state("kernel_arguments", "kernel_arguments", globals(), locals())


@face.state_function
def sasl_user(name, password=None, **unknown):
    """A user may log in to libvirt by SASL, with this password.

    The database is the one that libvirt's daemon reads: ``sasldb_path`` of
    ``/etc/sasl2/libvirt.conf``. It keeps passwords in clear text, for root only. The realm is the
    host's name. What the password is now is asked of SASL itself.

    :param str name: the user: letters, digits, ``.``, ``_``, ``-``
    :param str password: one line; ``sdb://profile/key`` is looked up; default: that of
        ``kvm:host:sasl:users`` of the pillar, so that no password stands in an SLS; where there is
        none either, a user that is there is left alone

    Source: https://libvirt.org/auth.html#username-password-auth

    .. code-block:: yaml

        alice:
          kvm_host.sasl_user:
            - password: sdb://vault/alice
    """
    return face.state("sasl_user", "sasl_user", globals(), locals())


@face.state_function
def sasl_user_absent(name, **unknown):
    """A user may not log in to libvirt by SASL.

    :param str name: the user

    .. code-block:: yaml

        bob:
          kvm_host.sasl_user_absent
    """
    return face.state("sasl_user", "sasl_user_absent", globals(), locals())


@face.state_function
def daemon(name):
    """A libvirt daemon runs, on a host without a service manager: a container, a rescue system.

    Where systemd runs, use ``service.running``.

    :param str name: the daemon: ``libvirtd``, ``virtlogd``, ``virtqemud``, ...

    .. code-block:: yaml

        libvirtd:
          kvm_host.daemon
    """
    return bootstrap.daemon(globals(), name)


@face.state_function
def mod_watch(name, sfun=None, **unknown):
    """
    Restart a daemon because something that its state watches has changed; guests go on. Salt calls
    this; it is not meant to be declared.

    :param str name: the daemon
    :param str sfun: the state function that watches; only ``daemon`` restarts anything
    :param unknown: the other arguments of that state function

    .. code-block:: yaml

        libvirtd:
          kvm_host.daemon:
            - watch:
                - file: /etc/sasl2/libvirt.conf
        # kvm_host.mod_watch restarts it when the file changed
    """
    if sfun != "daemon":
        return face.verdict(name, True, "Only kvm_host.daemon restarts what it watches for.")
    return bootstrap.daemon(globals(), name, anew=True)
