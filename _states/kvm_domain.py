"""
Domains
=======

A domain is a guest, declared in virt-install's words. Only what is declared is compared, so what
libvirt or an administrator added stays. A running guest is never restarted for a change; what
waits for its next start is said in the comment of every run.

Told ``pillar: kvm:domains``, a function takes what it is not told from the entry of its name
there, so that none of it stands in an SLS, which Salt logs.
"""

from salt_kvm import face


@face.state_function
def present(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    nested=None,
    machine=None,
    boot=None,
    os=None,
    cdrom=None,
    cloud_init=None,
    ignition=None,
    combustion=None,
    disks=None,
    interfaces=None,
    graphics=None,
    video=None,
    serial=None,
    consoles=None,
    channels=None,
    agent=None,
    features=None,
    clock=None,
    on_poweroff=None,
    on_reboot=None,
    on_crash=None,
    on_lockfailure=None,
    pm=None,
    tpm=None,
    rng=None,
    watchdog=None,
    panic=None,
    vsock=None,
    memballoon=None,
    iommu=None,
    inputs=None,
    sounds=None,
    filesystems=None,
    hostdevs=None,
    redirdevs=None,
    controllers=None,
    memory_devices=None,
    memory_hotplug=None,
    memory_backing=None,
    iothreads=None,
    cputune=None,
    numatune=None,
    memtune=None,
    blkiotune=None,
    sysinfo=None,
    seclabels=None,
    launch_security=None,
    emulator=None,
    title=None,
    description=None,
    metadata=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    overcommit=None,
    install=None,
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
    :param str memory: memory with a unit (``2GiB``) or in bytes; needed to make the domain; NUMA
        cells and memory modules are a part of it
    :param str max_memory: up to where the running guest's memory can be raised; default ``memory``
    :param int vcpus: number of virtual CPUs; a new domain starts from 1
    :param int max_vcpus: up to where the running guest's CPUs can be raised; default ``vcpus``
    :param cpu: text: ``host-passthrough``, ``host-model``, ``maximum`` or the name of a CPU model;
        or a mapping with ``mode``, ``model``, ``fallback``, ``vendor``, ``match``, ``check``,
        ``migratable``, ``topology`` (``sockets``, ``dies``, ``cores``, ``threads``), ``cache``,
        ``features`` (a mapping of names to policies) and ``numa`` (a list of cells)
    :param bool nested: true: the guest may be a hypervisor: its CPU has vmx or svm, and is the
        host's own where ``cpu`` is not declared; needs ``kvm:host:nested``. false: it may not
    :param str machine: machine type; a new domain on x86 starts from ``q35``
    :param list boot: order of ``hd``, ``cdrom``, ``network``, ``fd``; a new domain boots from its
        disk, and from ``cdrom`` while the disk holds nothing bootable; excludes ``boot_order``
    :param dict os: ``firmware`` (``bios``, ``efi``), ``secure_boot``, ``enrolled_keys``;
        ``loader`` and ``nvram``; ``kernel``, ``initrd``, ``cmdline``, ``dtb``; ``bootmenu``,
        ``bootmenu_timeout`` (milliseconds), ``bios_serial``, ``reboot_timeout`` (milliseconds),
        ``smbios``
    :param str cdrom: path of the medium in the CD drive; ``''`` is an empty drive
    :param cloud_init: what cloud-init is told at the first boot: ``true`` (hostname and instance),
        ``false`` (nothing), or a mapping with ``user_data``, ``meta_data``, ``network_config``,
        ``vendor_data`` (each a mapping, a text, or the name of a file: ``/...``, ``salt://...``),
        ``instance_id`` (``stable``, ``content``, or any text), ``hostname``, ``users``,
        ``ssh_authorized_keys``, ``network`` (a list of ``name`` or ``mac``, ``dhcp``,
        ``addresses``, ``gateway``, ``nameservers``, ``search``, ``mtu``) and ``drive`` (``disk`` or
        ``cdrom``): https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html. It is
        written to a file beside the first disk that root and QEMU can read; no value is in
        ``changes``. A running guest gets what has changed at its next start
    :param ignition: ``false``, or a mapping with ``config`` (a mapping, JSON, or a file's name) and
        ``delivery``: ``fw_cfg`` (default) or ``drive``
    :param combustion: a script, the name of its file, or ``false``
    :param list disks: mappings with one of ``path``, ``block``, ``volume``, ``network``, ``nvme``;
        ``size``, ``source``, ``source_hash``, ``source_format``, ``clone``, ``backing``,
        ``backing_format``, ``options`` (make the image when the disk is new, as in
        ``kvm_image.present``); ``format`` (``raw``); ``device`` (``disk``); ``bus`` (``virtio``);
        ``encryption`` (LUKS; ``secret``: the UUID of the libvirt secret with the passphrase, or the
        path that one of usage ``volume`` is known by); ``target``; ``cache``; ``io``; ``discard``;
        ``detect_zeroes``; ``error_policy``; ``iothread``; ``queues``; ``serial``; ``wwn``;
        ``iotune`` (bytes and requests per second); ``readonly``; ``shareable``; ``boot_order``
    :param list interfaces: mappings with one of ``network``, ``bridge``, ``direct``, ``user``,
        ``ethernet``, ``vhostuser``, ``hostdev``; ``mode``; ``portgroup``; ``virtualport``; ``mac``;
        ``model`` (``virtio``); ``driver``; ``queues``; ``rx_queue_size``; ``tx_queue_size``;
        ``mtu`` (bytes); ``vlan``; ``filterref``; ``link`` (``up``, ``down``); ``bandwidth``
        (kilobytes per second); ``target``; ``isolated``; ``trust_guest_rx_filters``; ``managed``;
        ``rom``; ``boot_order``; ``acpi_index``
    :param list graphics: mappings with ``type`` (``vnc`` or ``spice``); ``listen``, an address
        (``127.0.0.1``) or ``none``; ``socket``; ``port``, 5900 to 65535 or ``auto``; ``tls_port``;
        ``websocket``; ``password``; ``password_valid_to``, a time in UTC
        (``2027-01-31T12:00:00``) or ``never``; ``default_mode``; ``keymap``; ``share_policy``;
        ``gl``; ``clipboard``; ``file_transfer``. The comment warns, dry run or not, of one that
        other hosts reach without a password
    :param list video: graphics cards: mappings with ``model``, ``heads``, ``vram``, ``ram``,
        ``vgamem`` (sizes), ``primary``, ``accel3d``, ``resolution``, ``driver``; a new domain with
        a console starts from ``vga``
    :param list serial: serial ports: mappings with ``type`` (``pty``) and what it needs (``path``,
        ``append``, ``mode``, ``host``, ``service``, ``protocol``, ``tls``); ``log``, a file that
        libvirt writes and rotates (true: ``/var/log/libvirt/qemu/NAME-serial0.log``); ``target``;
        ``port``
    :param list consoles: text consoles over virtio, as ``serial``; the one that libvirt makes of
        the first serial port is not a part of the list
    :param list channels: as ``serial``, each with a ``name``; the guest agent's is not a part of
        the list
    :param bool agent: a channel for the guest agent; a new domain has one
    :param dict features: ``acpi``, ``apic``, ``pae``, ``hap``, ``smm``, ``pmu``, ``vmport``,
        ``vmcoreinfo``, ``pvspinlock``, ``ioapic``, ``gic``, ``kvm``, ``hyperv``; what is not
        named is left alone
    :param dict clock: ``offset`` (a new domain starts from ``utc``), ``timezone``, ``basis``,
        ``adjustment`` (seconds), ``timers``
    :param str on_poweroff: ``destroy``, ``restart``, ``preserve`` or ``rename-restart``; libvirt's
        default is ``destroy``
    :param str on_reboot: as ``on_poweroff``; libvirt's default is ``restart``
    :param str on_crash: as ``on_poweroff``, or ``coredump-destroy``, ``coredump-restart``;
        libvirt's default is ``destroy``
    :param str on_lockfailure: ``poweroff``, ``restart``, ``pause`` or ``ignore``
    :param dict pm: ``suspend_to_mem``, ``suspend_to_disk``: whether the firmware offers them
    :param tpm: ``true`` (emulated, version 2.0), ``false`` (none), or a mapping with ``model``,
        ``type`` (``emulator``), ``version``, ``device``, ``encryption``, ``persistent_state``,
        ``active_pcr_banks``
    :param list rng: mappings with ``model`` (``virtio``), ``backend`` (``random``), ``device``,
        ``rate`` (``bytes`` in each ``period`` of milliseconds); a new domain has one
    :param list watchdog: mappings with ``model`` (``i6300esb``) and ``action``
    :param list panic: mappings with ``model`` (``isa``)
    :param vsock: ``true``, ``false`` (none), or a mapping with ``cid`` (``auto``) and ``model``
    :param memballoon: ``true``, ``false`` (none), or a mapping with ``model`` (``virtio``),
        ``autodeflate``, ``free_page_reporting``, ``stats_period`` (seconds); libvirt adds one
    :param dict iommu: ``model``, ``intremap``, ``caching_mode``, ``eim``, ``iotlb``, ``aw_bits``
    :param list inputs: mappings with ``type``, ``bus`` and, for ``passthrough``, ``device``; PS/2
        devices are left alone
    :param list sounds: mappings with ``model`` and ``codecs``
    :param list filesystems: directories of the host: mappings with ``source``, ``target`` (the tag
        to mount), ``driver`` (``virtiofs``, ``path``), ``access_mode``, ``readonly``, ``queue``,
        ``binary``, ``xattr``, ``cache``
    :param list hostdevs: devices of the host: mappings with one of ``pci``, ``usb``, ``mdev``;
        ``model``; ``managed``; ``rom``; ``boot_order``
    :param list redirdevs: USB ports for a SPICE client's devices: mappings with ``type``, ``bus``,
        ``boot_order``
    :param list controllers: mappings with ``type``, ``index`` (0), ``model``, ``queues``,
        ``iothread``, ``ports``; those that devices sit on stay
    :param list memory_devices: memory modules: mappings with ``model`` (``dimm``), ``size``,
        ``node``, ``path``, ``access``, ``block``, ``requested``, ``label``, ``page_size``,
        ``nodemask``
    :param dict memory_hotplug: ``size``, up to which modules can be plugged in, and ``slots``
    :param dict memory_backing: ``hugepages`` (``true`` or a list of ``size`` and ``nodeset``),
        ``source``, ``access``, ``allocation``, ``threads``, ``locked``, ``nosharepages``,
        ``discard``
    :param int iothreads: number of I/O threads
    :param dict cputune: ``shares``; ``period`` and ``quota`` (microseconds), also with
        ``global_``, ``emulator_`` and ``iothread_``; ``vcpupin``, ``emulatorpin``, ``iothreadpin``
    :param dict numatune: ``mode``, ``nodeset``, ``placement``, ``memnode``
    :param dict memtune: ``hard_limit``, ``soft_limit``, ``swap_hard_limit``, ``min_guarantee``:
        sizes
    :param dict blkiotune: ``weight`` (100 to 1000) and ``devices``, with limits per second
    :param dict sysinfo: ``bios``, ``system``, ``baseboard``, ``chassis``: mappings of libvirt's
        names to texts; ``oem_strings``, a list
    :param list seclabels: mappings with ``type``, ``model``, ``relabel``, ``label``, ``baselabel``
    :param dict launch_security: ``type`` (``sev``, ``s390-pv``), ``policy``, ``cbitpos``,
        ``reduced_phys_bits``, ``dh_cert``, ``session``, ``kernel_hashes``
    :param str emulator: path of the QEMU program; default libvirt's choice
    :param str title: a short text
    :param str description: a longer text
    :param str metadata: XML of other programs, each element in a namespace of its own
    :param bool autostart: start it with the host; undeclared is left alone
    :param int timeout: seconds to wait for a guest that is asked to power off; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param bool restart: restart a running guest (as for ``stopped``) where a change waits for its
        boot; default false
    :param bool overcommit: start it even where ``kvm:host:overcommit`` of the pillar does not allow
        the host's memory or CPUs to be promised to it; default false
    :param dict install: how :func:`installed` installs it, and nothing to the others: ``location``,
        the path of an installer's tree or ISO, or its address (``salt://``, ``https://``; an ISO's
        ends in ``.iso``), whose kernel is started; ``location_hash``, the checksum of an ISO that
        is fetched, or the address of a file with it; ``kernel`` and ``initrd`` (paths in it; the
        usual ones are known) and ``kernel_args`` (text or list); one of ``kickstart``, ``preseed``,
        ``autoinstall``, ``autoyast``, ``autounattend``: the text, or ``salt://`` or a path of a
        file that Salt renders with Jinja; ``deliver``, ``initrd`` or ``volume``; ``wait``,
        ``poweroff``, ``agent``, or a mapping with ``until`` (one of these or ``port``), ``port``,
        ``address``, ``timeout`` (seconds; 3600); ``reinstall``, true or any text: install once more
        over what is there, once for each value
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


@face.state_function
def running(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    nested=None,
    machine=None,
    boot=None,
    os=None,
    cdrom=None,
    cloud_init=None,
    ignition=None,
    combustion=None,
    disks=None,
    interfaces=None,
    graphics=None,
    video=None,
    serial=None,
    consoles=None,
    channels=None,
    agent=None,
    features=None,
    clock=None,
    on_poweroff=None,
    on_reboot=None,
    on_crash=None,
    on_lockfailure=None,
    pm=None,
    tpm=None,
    rng=None,
    watchdog=None,
    panic=None,
    vsock=None,
    memballoon=None,
    iommu=None,
    inputs=None,
    sounds=None,
    filesystems=None,
    hostdevs=None,
    redirdevs=None,
    controllers=None,
    memory_devices=None,
    memory_hotplug=None,
    memory_backing=None,
    iothreads=None,
    cputune=None,
    numatune=None,
    memtune=None,
    blkiotune=None,
    sysinfo=None,
    seclabels=None,
    launch_security=None,
    emulator=None,
    title=None,
    description=None,
    metadata=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    overcommit=None,
    install=None,
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


@face.state_function
def installed(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    nested=None,
    machine=None,
    boot=None,
    os=None,
    cdrom=None,
    cloud_init=None,
    ignition=None,
    combustion=None,
    disks=None,
    interfaces=None,
    graphics=None,
    video=None,
    serial=None,
    consoles=None,
    channels=None,
    agent=None,
    features=None,
    clock=None,
    on_poweroff=None,
    on_reboot=None,
    on_crash=None,
    on_lockfailure=None,
    pm=None,
    tpm=None,
    rng=None,
    watchdog=None,
    panic=None,
    vsock=None,
    memballoon=None,
    iommu=None,
    inputs=None,
    sounds=None,
    filesystems=None,
    hostdevs=None,
    redirdevs=None,
    controllers=None,
    memory_devices=None,
    memory_hotplug=None,
    memory_backing=None,
    iothreads=None,
    cputune=None,
    numatune=None,
    memtune=None,
    blkiotune=None,
    sysinfo=None,
    seclabels=None,
    launch_security=None,
    emulator=None,
    title=None,
    description=None,
    metadata=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    overcommit=None,
    install=None,
    xml=None,
    connection=None,
    **unknown,
):
    """
    Make sure that a domain is installed and runs; arguments as in :func:`present`.

    Where its disks hold nothing, its installer is started beside the definition, which is as
    declared from the start: the CD in ``cdrom``, or the kernel of ``install``. The state returns at
    once, with the address of the console in its comment, unless ``install`` says ``wait``. As long
    as the installer runs, each run tells since when, and changes no more than the definition. An
    installer is done when it powers its guest off or reboots it; then the medium of ``cdrom`` is
    out, and the next run (the same one, with ``wait``) starts the guest from its disk.

    What interrupts an installer (a host that goes down, a guest that is destroyed) makes the next
    run start it anew. One that was done is never started again on a disk that holds data, whatever
    became of the definition, unless ``reinstall`` asks for it.

    :result: ``False`` also where an installer or the installed guest does not end or answer in
        time; then all stays as it is, the next run goes on, and the comment names a picture of the
        guest's screen

    .. code-block:: yaml

        CentOS-7-x86_64:
          kvm_domain.installed:
            - memory: 2GiB
            - disks:
                - path: /opt/CentOS-7-x86_64.raw
                  size: 10GiB
            - interfaces:
                - network: default
            - graphics:
                - type: vnc
            - install:
                location: /opt/CentOS-7-x86_64.iso
                kernel_args: net.ifnames=0 biosdevname=0
                kickstart: salt://centos7.ks
                wait: {until: port, port: 22, timeout: 3600}
    """
    return face.state("domain", "installed", globals(), locals())


@face.state_function
def stopped(
    name,
    virt_type=None,
    memory=None,
    max_memory=None,
    vcpus=None,
    max_vcpus=None,
    cpu=None,
    nested=None,
    machine=None,
    boot=None,
    os=None,
    cdrom=None,
    cloud_init=None,
    ignition=None,
    combustion=None,
    disks=None,
    interfaces=None,
    graphics=None,
    video=None,
    serial=None,
    consoles=None,
    channels=None,
    agent=None,
    features=None,
    clock=None,
    on_poweroff=None,
    on_reboot=None,
    on_crash=None,
    on_lockfailure=None,
    pm=None,
    tpm=None,
    rng=None,
    watchdog=None,
    panic=None,
    vsock=None,
    memballoon=None,
    iommu=None,
    inputs=None,
    sounds=None,
    filesystems=None,
    hostdevs=None,
    redirdevs=None,
    controllers=None,
    memory_devices=None,
    memory_hotplug=None,
    memory_backing=None,
    iothreads=None,
    cputune=None,
    numatune=None,
    memtune=None,
    blkiotune=None,
    sysinfo=None,
    seclabels=None,
    launch_security=None,
    emulator=None,
    title=None,
    description=None,
    metadata=None,
    autostart=None,
    timeout=None,
    force=None,
    restart=None,
    overcommit=None,
    install=None,
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


@face.state_function
def absent(name, disks=None, timeout=None, force=None, connection=None, **unknown):
    """
    Make sure that a domain is neither running nor defined; what was written for its first boot
    (``cloud_init``) goes with it, its NVRAM stays, and its images too
    unless ``disks`` says otherwise.

    :param str name: name of the domain
    :param str disks: ``delete`` removes the images that only this domain writes: never a medium,
        a read-only or shareable disk, or what another domain uses or is backed by
    :param int timeout: seconds to wait for a guest that is asked to power off; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        old:
          kvm_domain.absent:
            - disks: delete
    """
    return face.state("domain", "absent", globals(), locals())


@face.state_function
def only(
    name,
    domains=None,
    others=None,
    disks=None,
    timeout=None,
    force=None,
    allow_empty=None,
    connection=None,
    **unknown,
):
    """
    Make sure that of the domains that this pack has made there are only these.

    The others are removed, as by :func:`absent`, each by itself: one that does not power off is
    named and stays, and the rest go. A domain that somebody else made, also one that this pack has
    changed since, is never touched: a new domain gets a mark in its metadata,
    ``<managed xmlns="urn:salt-kvm:managed"/>``, and who takes it out keeps the domain.

    :param str name: any text; it names no domain
    :param list domains: names of the domains that stay, as they are
    :param str others: what the others become: ``absent`` (default), or ``stopped``: shut down, and
        not started with the host
    :param str disks: as for :func:`absent`
    :param int timeout: seconds to wait for a guest that is asked to power off; default 120
    :param bool force: pull the plug when the timeout is over; default false
    :param bool allow_empty: ``domains`` may be empty, so that all go; default false
    :param str connection: libvirt URI; default ``qemu:///system``

    .. code-block:: yaml

        our-guests:
          kvm_domain.only:
            - domains: [web1, web2]
            - others: stopped
    """
    return face.state("domain", "only", globals(), locals())


@face.state_function
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
