"""``kvm:host``: what a host is to be, beside its guests."""

import re
from typing import Annotated, Any, Literal

from msgspec import Meta

from salt_kvm.errors import shown
from salt_kvm.spec.types import Path, Spec, Value, matching, parse_size
from salt_kvm.spec.values import Account, Natural, Positive, Word

Ratio = Annotated[float, Meta(gt=0, le=1000)]


class Overcommit(Spec, frozen=True, kw_only=True):
    """How much of the host guests that run may be promised, as a multiple of what is there."""

    memory: Ratio | None = None
    cpu: Ratio | None = None


class Nested(Spec, frozen=True, kw_only=True):
    """``kvm:host:nested``: guests of this host may be hypervisors themselves."""

    state: Literal["nested"] = "nested"
    enabled: bool = True


# libvirt's files, each with the daemons that read it (https://libvirt.org/daemons.html), and how
# a running one is made to: virtlogd and virtlockd hold what guests have open, and are let keep it.
RESTART, RELOAD = "restart", "reload"
_DAEMONS = ("qemu", "network", "storage", "nodedev", "nwfilter", "secret", "interface", "proxy")
READERS: dict[str, tuple[str, ...]] = {
    "libvirtd.conf": ("libvirtd",),
    "qemu.conf": ("libvirtd", "virtqemud"),
    "qemu-lockd.conf": ("libvirtd", "virtqemud"),
    "qemu-sanlock.conf": ("libvirtd", "virtqemud"),
    "network.conf": ("libvirtd", "virtnetworkd"),
    "libxl.conf": ("libvirtd", "virtxend"),
    "lxc.conf": ("libvirtd", "virtlxcd"),
    **{f"virt{name}d.conf": (f"virt{name}d",) for name in _DAEMONS},
    "virtlogd.conf": ("virtlogd",),
    "virtlockd.conf": ("virtlockd",),
    "libvirt.conf": (),
    "libvirt-guests": (),
}
HOW = {"virtlogd": RELOAD, "virtlockd": RELOAD}
LONGEST = 4096
_CONTROL = {chr(number) for number in range(32)}
# A shell reads these.
SHELL_FILES = ("libvirt-guests",)
# Text without limits: msgspec 0.22 crashes over a wrong value for a text with a pattern or a list.
Setting = bool | int | str | list[int | str] | None
File = Literal[
    "libvirtd.conf",
    "qemu.conf",
    "qemu-lockd.conf",
    "qemu-sanlock.conf",
    "network.conf",
    "libxl.conf",
    "lxc.conf",
    "virtqemud.conf",
    "virtnetworkd.conf",
    "virtstoraged.conf",
    "virtnodedevd.conf",
    "virtnwfilterd.conf",
    "virtsecretd.conf",
    "virtinterfaced.conf",
    "virtproxyd.conf",
    "virtlogd.conf",
    "virtlockd.conf",
    "libvirt.conf",
    "libvirt-guests",
]
Argument = Annotated[str, matching(r"[A-Za-z0-9_.:+/,=@%-]{1,255}")]
Key = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]{0,127}")]
Files = dict[File, dict[Key, Setting]]


class Config(Spec, frozen=True, kw_only=True):
    """``kvm:host:config``: by file what its keys are; ``paths`` are of files that lie elsewhere."""

    state: Literal["config"] = "config"
    files: Files
    paths: dict[File, Path] | None = None
    restart: bool = True

    def __post_init__(self) -> None:
        for file, settings in self.files.items():
            _check_settings(file, settings)


def _check_settings(file: str, settings: dict[Key, Setting]) -> None:
    """libvirt's strings have no escapes, and a shell's have no lists."""
    for key, value in settings.items():
        each = value if isinstance(value, list) else [value]
        if any(isinstance(v, str) and (len(v) > LONGEST or _CONTROL & {*v}) for v in each):
            raise ValueError(f"{key!r} of {file} has a control character, or is too long a text")
        if file in SHELL_FILES and isinstance(value, list):
            raise ValueError(f"{key!r} of {file} can't be a list; write its words in one text")
        if file not in SHELL_FILES and any(isinstance(v, str) and {*"\"'"} <= {*v} for v in each):
            raise ValueError(f"{key!r} of {file} has both kinds of quotes; libvirt can't read that")


class Guests(Spec, frozen=True, kw_only=True):
    """What becomes of guests when the host goes down and comes up: ``libvirt-guests``."""

    on_boot: Literal["start", "ignore"] | None = None
    start_delay: Natural | None = None
    on_shutdown: Literal["suspend", "shutdown"] | None = None
    parallel_shutdown: Natural | None = None
    shutdown_timeout: Natural | None = None
    bypass_cache: bool | None = None
    sync_time: bool | None = None


class Ksm(Spec, frozen=True, kw_only=True):
    """Memory pages of guests that are the same are kept once."""

    run: bool = True
    pages_to_scan: Positive | None = None
    sleep_millisecs: Positive | None = None
    merge_across_nodes: bool | None = None


class Kernel(Spec, frozen=True, kw_only=True):
    """What the kernel is told now and at each boot."""

    state: Literal["kernel"] = "kernel"
    hugepages: dict[str, Natural] | None = None
    ksm: Ksm | bool | None = None
    transparent_hugepages: Literal["always", "madvise", "never"] | None = None
    bridge_netfilter: bool | None = None

    def __post_init__(self) -> None:
        """msgspec takes the keys of a dictionary as they are."""
        for size in self.hugepages or {}:
            parse_size(size)


class BootArguments(Spec, frozen=True, kw_only=True):
    """Arguments of the kernel's command line; ``apply`` makes the boot loader read ``file``."""

    state: Literal["kernel_arguments"] = "kernel_arguments"
    arguments: list[Argument] | None = None
    iommu: bool | None = None
    file: Path = Path("/etc/default/grub")
    key: Key = "GRUB_CMDLINE_LINUX"
    apply: list[str] | None = None


class Tls(Spec, frozen=True, kw_only=True):
    """Certificates and keys: the text itself, or where Salt finds the file.

    ``cert`` and ``key`` are a server's, ``client_cert`` and ``client_key`` those of who connects
    from here. ``x509``: arguments of Salt's ``x509.certificate_managed``, which makes them.
    """

    ca: Value
    cert: Value | None = None
    key: Value | None = None
    client_cert: Value | None = None
    client_key: Value | None = None
    x509: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.x509 is not None and any((self.cert, self.client_cert)):
            raise ValueError("'x509' makes the certificates; take the others out")
        for cert, key in (("cert", "key"), ("client_cert", "client_key")):
            if (getattr(self, cert) is None) is not (getattr(self, key) is None):
                raise ValueError(f"{cert!r} and {key!r} go together; declare both")


_LOGIN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
Login = Annotated[str, matching(_LOGIN)]
LONGEST_PASSWORD = 1024


class Sasl(Spec, frozen=True, kw_only=True):
    """How clients that come by TLS log in, beside their certificate; ``None``: a user no more."""

    mechanisms: list[Word]
    users: dict[Login, Value | None] | None = None

    def __post_init__(self) -> None:
        for password in (self.users or {}).values():
            _check_password(password)


class SaslUser(Spec, frozen=True, kw_only=True):
    """One of ``kvm:host:sasl:users``."""

    state: Literal["sasl_user", "sasl_user_absent"] = "sasl_user"
    password: Value | None = None

    def __post_init__(self) -> None:
        _check_password(self.password)


def _check_password(password: Value | None) -> None:
    """saslpasswd2 reads one line; none of it is told."""
    data = None if password is None else password.encode()
    if data is not None and not 0 < len(data) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has 1 to {LONGEST_PASSWORD} bytes")
    if data is not None and any(byte < ord(" ") for byte in data):
        raise ValueError("a password has no control characters")


def parse_login(value: object) -> str:
    """Return the name of a user."""
    if not isinstance(value, str) or not re.fullmatch(_LOGIN, value):
        raise ValueError(f"{shown(value)} is no user's name; write letters, digits, . _ and -")
    return value


class Polkit(Spec, frozen=True, kw_only=True):
    """Users of this host who may do all with libvirt that root may."""

    users: list[Account]

    def __post_init__(self) -> None:
        for user in self.users:
            if isinstance(user, int):
                raise ValueError(f"polkit knows users by their names; write that of {user}")


class Host(Spec, frozen=True, kw_only=True):
    """``kvm:host``; see docs/host.md."""

    packages: list[str] | None = None
    extra_packages: list[str] | None = None
    services: list[str] | None = None
    python_packages: list[str] | None = None
    overcommit: Overcommit | None = None
    nested: bool | None = None
    config: Files | None = None
    guests: Guests | None = None
    users: list[str] | None = None
    groups: list[str] | None = None
    hugepages: dict[str, Natural] | None = None
    ksm: Ksm | bool | None = None
    transparent_hugepages: Literal["always", "madvise", "never"] | None = None
    bridge_netfilter: bool | None = None
    iommu: bool | None = None
    kernel_arguments: list[Argument] | None = None
    vhost_net: bool | None = None
    tls: Tls | None = None
    sasl: Sasl | None = None
    polkit: Polkit | None = None
    tuned: Word | None = None

    def __post_init__(self) -> None:
        for file, settings in (self.config or {}).items():
            _check_settings(file, settings)
        for size in self.hugepages or {}:
            parse_size(size)
