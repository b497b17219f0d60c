"""The mapping from distribution to packages, units and build tools: one row, one test.

Salt's own Jinja renders the shipped SLS files with the grains of each distribution.
"""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path
from typing import Any

import pytest
import salt.loader
import salt.state
import yaml
from salt.config import DEFAULT_MINION_OPTS
from salt.utils.templates import JINJA

from pillars import problems
from salt_kvm import settings
from salt_kvm.spec.host import Host

STATES = Path(__file__).parents[2] / "states"

DEBIAN = ["qemu-utils", "libvirt-daemon-system", "libvirt-clients", "dnsmasq-base", "iptables"]
DEBIAN_X86 = [*DEBIAN, "qemu-system-x86"]
STORAGE = ("disk", "iscsi", "logical", "mpath", "scsi")
DRIVERS = [f"libvirt-daemon-driver-storage-{kind}" for kind in STORAGE]
SPLIT = [*DEBIAN[:2], *DRIVERS, *DEBIAN[2:]]
SPLIT_X86 = [*SPLIT, "qemu-system-x86"]
EL = ["qemu-kvm", "qemu-img", "libvirt"]
FEDORA = [*EL[:2], "libvirt-daemon-kvm", "libvirt-daemon-config-network", "libvirt-client"]
SUSE = [
    *("qemu-tools", "libvirt-daemon-qemu", "libvirt-daemon-config-network", "libvirt-client"),
    *("dnsmasq", "iptables"),
]
ARCH = ["qemu-base", "libvirt", "dnsmasq", "iptables"]
MONOLITHIC = ["virtlogd.socket", "libvirtd.socket"]
MODULAR = [
    f"{daemon}.socket"
    for daemon in (
        *("virtlogd", "virtsecretd", "virtnodedevd", "virtnwfilterd", "virtnetworkd"),
        *("virtstoraged", "virtqemud", "virtproxyd"),
    )
]
CENTOS7 = ["virtlogd.socket", "libvirtd.service"]
CRB = {"enablerepo": "crb"}
RHEL = {"enablerepo": "codeready-builder-for-rhel-*-rpms"}
ORACLE = {"enablerepo": "ol*_codeready_builder"}
LEAN = {"install_recommends": False}

# family, os, release, architecture: packages, units that run, options of the build packages
ROWS = [
    (
        "RedHat",
        "CentOS",
        "7.9.2009",
        "x86_64",
        ["qemu-kvm", "qemu-kvm-tools", "libvirt"],
        CENTOS7,
        {},
    ),
    ("RedHat", "RedHat", "7.9", "x86_64", ["qemu-kvm", "qemu-kvm-tools", "libvirt"], CENTOS7, {}),
    ("RedHat", "OEL", "7.9", "x86_64", ["qemu-kvm", "qemu-kvm-tools", "libvirt"], CENTOS7, {}),
    ("RedHat", "RedHat", "8.10", "x86_64", EL, MONOLITHIC, RHEL),
    ("RedHat", "Rocky", "8.10", "x86_64", EL, MONOLITHIC, {"enablerepo": "powertools"}),
    ("RedHat", "AlmaLinux", "8.10", "x86_64", EL, MONOLITHIC, {"enablerepo": "powertools"}),
    ("RedHat", "CentOS Stream", "8", "x86_64", EL, MONOLITHIC, {"enablerepo": "powertools"}),
    ("RedHat", "OEL", "8.10", "x86_64", EL, MONOLITHIC, ORACLE),
    ("RedHat", "RedHat", "9.5", "x86_64", EL, MODULAR, RHEL),
    ("RedHat", "Rocky", "9.5", "x86_64", EL, MODULAR, CRB),
    ("RedHat", "AlmaLinux", "9.5", "aarch64", EL, MODULAR, CRB),
    ("RedHat", "CentOS Stream", "9", "x86_64", EL, MODULAR, CRB),
    ("RedHat", "OEL", "9.5", "x86_64", EL, MODULAR, ORACLE),
    ("RedHat", "RedHat", "10.0", "x86_64", EL, MODULAR, RHEL),
    ("RedHat", "Rocky", "10.0", "x86_64", EL, MODULAR, CRB),
    ("RedHat", "AlmaLinux", "10.0", "x86_64", EL, MODULAR, CRB),
    ("RedHat", "CentOS Stream", "10", "x86_64", EL, MODULAR, CRB),
    ("RedHat", "OEL", "10.0", "x86_64", EL, MODULAR, ORACLE),
    ("RedHat", "Fedora", "41", "x86_64", FEDORA, MODULAR, {}),
    ("RedHat", "Fedora", "44", "x86_64", FEDORA, MODULAR, {}),
    ("Debian", "Debian", "11", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Debian", "12", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Debian", "13", "x86_64", SPLIT_X86, MONOLITHIC, LEAN),
    ("Debian", "Debian", "14", "x86_64", SPLIT_X86, MONOLITHIC, LEAN),
    ("Debian", "Debian", "12", "s390x", [*DEBIAN, "qemu-system-misc"], MONOLITHIC, LEAN),
    ("Debian", "Debian", "13", "s390x", [*SPLIT, "qemu-system-s390x"], MONOLITHIC, LEAN),
    (
        *("Debian", "Debian", "12", "aarch64"),
        [*DEBIAN, "qemu-system-arm", "qemu-efi-aarch64"],
        MONOLITHIC,
        LEAN,
    ),
    ("Debian", "Ubuntu", "20.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "22.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "24.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "24.04", "s390x", [*DEBIAN, "qemu-system-s390x"], MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "25.10", "x86_64", SPLIT_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "26.04", "x86_64", SPLIT_X86, MONOLITHIC, LEAN),
    ("Suse", "SUSE", "15.3", "x86_64", [*SUSE, "qemu-x86"], MONOLITHIC, {}),
    ("Suse", "SUSE", "15.4", "x86_64", [*SUSE, "qemu-x86"], MONOLITHIC, {}),
    ("Suse", "SUSE", "15.5", "x86_64", [*SUSE, "qemu-x86"], MONOLITHIC, {}),
    ("Suse", "SUSE", "15.6", "x86_64", [*SUSE, "qemu-x86"], MODULAR, {}),
    ("Suse", "SUSE", "15.7", "aarch64", [*SUSE, "qemu-arm"], MODULAR, {}),
    ("Suse", "SLES", "16.0", "x86_64", [*SUSE, "qemu-x86"], MODULAR, {}),
    ("Suse", "openSUSE Leap", "15.6", "x86_64", [*SUSE, "qemu-x86"], MODULAR, {}),
    ("Suse", "openSUSE Leap", "16.0", "x86_64", [*SUSE, "qemu-x86"], MODULAR, {}),
    ("Suse", "openSUSE Tumbleweed", "20261120", "x86_64", [*SUSE, "qemu-x86"], MODULAR, {}),
    ("Arch", "Arch", None, "x86_64", ARCH, MONOLITHIC, {}),
]
COMPILERS = {
    "Debian": ["gcc", "libc6-dev", "pkg-config", "libvirt-dev"],
    "RedHat": ["gcc", "pkgconf-pkg-config", "libvirt-devel"],
    "RedHat-7": ["gcc", "pkgconfig", "libvirt-devel"],
    "Suse": ["gcc", "pkg-config", "libvirt-devel"],
    "Arch": ["gcc", "pkgconf", "libvirt"],
}
HEADERS = {"Debian": ["python3-dev"], "RedHat": ["python3-devel"], "Suse": ["python3-devel"]}


class Renderer:
    """Salt's Jinja with its execution modules, loaded once; grains and pillar by call."""

    def __init__(self, cache: Path) -> None:
        self.opts = {
            **DEFAULT_MINION_OPTS.copy(),
            "cachedir": str(cache),
            "extension_modules": str(cache / "extmods"),
            "file_client": "local",
            "file_roots": {"base": [str(STATES)]},
            "grains": {},
            "pillar": {},
        }
        self.opts["optimization_order"] = [0, 1, 2]
        self.functions = salt.loader.minion_mods(self.opts)

    def __call__(
        self, sls: str, grains: dict[str, Any], pillar: dict[str, Any] | None = None
    ) -> dict[str, dict[str, list[dict[str, Any]]]]:
        self.opts["pillar"].clear()
        self.opts["pillar"].update(pillar or {})
        functions = salt.loader.minion_mods(self.opts) if pillar else self.functions
        rendered = JINJA(
            str(STATES / "kvm" / f"{sls}.sls"),
            to_str=True,
            salt=functions,
            opts=self.opts,
            grains=grains,
            pillar=pillar or {},
            saltenv="base",
            sls=f"kvm.{sls}",
            context={},
        )
        assert rendered["result"], rendered["data"]
        return yaml.safe_load(rendered["data"])


@pytest.fixture(autouse=True)
def leave_nothing_behind() -> None:
    """Rendering makes nothing, and needs no libvirtd."""


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tmp_path_factory.mktemp("cache"))


def grains_of(
    family: str, system: str, release: str | None, architecture: str, **more: Any
) -> dict[str, Any]:
    grains = {
        "os_family": family,
        "os": system,
        "cpuarch": architecture,
        "init": "systemd",
        "pythonexecutable": "/opt/salt/bin/python3",
    }
    if release is not None:
        grains |= {"osrelease": release, "osmajorrelease": int(release.split(".")[0])}
    return {**grains, **more}


def argument(states: Any, identifier: str, function: str, key: str) -> Any:
    return next(item[key] for item in states[identifier][function] if key in item)


def units(states: Any) -> list[str]:
    return [
        argument(states, identifier, "service.running", "name")
        for identifier, body in states.items()
        if "service.running" in body
    ]


def named(row: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in row[1:4] if part)


DEB12 = grains_of("Debian", "Debian", "12", "x86_64")
EL9 = grains_of("RedHat", "Rocky", "9.5", "x86_64")


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_packages_and_units(render: Renderer, row: tuple[Any, ...]) -> None:
    *system, packages, running, _ = row
    states = render("host", grains_of(*system))
    assert argument(states, "kvm-host-packages", "pkg.installed", "pkgs") == packages
    assert units(states) == running


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_what_compiles_libvirt_python(render: Renderer, row: tuple[Any, ...]) -> None:
    family, _, release, *_, options = row
    compilers = COMPILERS.get(f"{family}-{str(release).split('.')[0]}", COMPILERS[family])
    (arguments,) = render("python", grains_of(*row[:4]))["kvm-python-build"].values()
    build = {key: value for item in arguments for key, value in item.items()}
    assert build["pkgs"] == compilers + HEADERS.get(family, [])
    given = {key: build[key] for key in ("enablerepo", "install_recommends") if key in build}
    assert given == options


def test_salts_own_bundle_brings_its_headers(render: Renderer) -> None:
    bundle = "/opt/saltstack/salt/bin/python3.14"
    states = render("python", {**DEB12, "pythonexecutable": bundle})
    packages = argument(states, "kvm-python-build", "pkg.installed", "pkgs")
    assert packages == COMPILERS["Debian"]


@pytest.mark.parametrize(
    ("grains", "daemons", "first"),
    [(DEB12, "modular", MODULAR), (EL9, "monolithic", MONOLITHIC), (EL9, None, MODULAR)],
)
def test_what_the_host_already_has_wins_over_its_default(
    render: Renderer, grains: dict[str, Any], daemons: str | None, first: list[str]
) -> None:
    assert units(render("host", {**grains, "kvm": {"daemons": daemons}})) == first


def test_a_grain_of_the_administrator_may_have_its_name(render: Renderer) -> None:
    for grain in (True, ["node"], None, {}):
        assert render("host", {**DEB12, "kvm": grain}) == render("host", DEB12)


@pytest.mark.parametrize(
    ("grains", "boot"),
    [
        (DEB12, ["libvirtd.service"]),
        (grains_of("RedHat", "CentOS", "7.9.2009", "x86_64"), []),
        (EL9, ["virtnetworkd.service", "virtstoraged.service", "virtqemud.service"]),
    ],
)
def test_what_starts_guests_and_networks_at_boot(
    render: Renderer, grains: dict[str, Any], boot: list[str]
) -> None:
    states = render("host", grains)
    enabled = [
        argument(states, name, "service.enabled", "name")
        for name, body in states.items()
        if "service.enabled" in body
    ]
    assert enabled == boot


@pytest.mark.parametrize(
    ("grains", "daemons"),
    [(DEB12, ["virtlogd", "libvirtd"]), (EL9, [unit.split(".")[0] for unit in MODULAR])],
)
def test_daemons_by_hand_where_there_is_no_systemd(
    render: Renderer, grains: dict[str, Any], daemons: list[str]
) -> None:
    states = render("host", {**grains, "init": "unknown"})
    assert units(states) == []
    assert [
        argument(states, name, "kvm_host.daemon", "name")
        for name, body in states.items()
        if "kvm_host.daemon" in body
    ] == daemons


def test_the_pillar_has_the_last_word(render: Renderer) -> None:
    host = {
        "packages": ["qemu-kvm"],
        "extra_packages": ["ovmf"],
        "services": ["libvirtd.socket"],
        "python_packages": ["libvirt-python==9.0.0"],
    }
    states = render("host", DEB12, {"kvm": {"host": host}})
    pkgs = argument(states, "kvm-host-packages", "pkg.installed", "pkgs")
    assert pkgs == ["qemu-kvm", "ovmf"]
    assert units(states) == ["libvirtd.socket"]
    assert not any("service.enabled" in body for body in states.values())
    states = render("python", DEB12, {"kvm": {"host": host}})
    libraries = argument(states, "kvm-python-libraries", "kvm_host.libraries", "packages")
    assert libraries == ["libvirt-python==9.0.0"]


def test_nothing_comes_before_the_check_of_the_pillar(render: Renderer) -> None:
    assert {"failhard": True} in render("valid", DEB12)["kvm-valid"]["kvm_host.valid"]
    for sls in ("host", "python"):
        assert render(sls, DEB12)["include"][0] == "kvm.valid"


NOTHING = ({}, {"kvm": {"host": None}}, {"kvm": None})
MALFORMED = [
    {"kvm": []},
    {"kvm": {"host": "x", **dict.fromkeys(["secrets", "networks", "vmx"])}},
    {"kvm": {"host": ["x"], **{key: ["x"] for key in ("secrets", "networks", "vmx")}}},
    *(
        {"kvm": {"host": host}}
        for host in (
            dict.fromkeys(["packages", "extra_packages", "services", "python_packages", "tls"]),
            {"packages": "x", "extra_packages": "x", "services": 5, "python_packages": "x"},
            {"services": ["a", "a", "b: c"], "users": ["a"], "groups": ["a", "a", "b: #c"]},
            {"users": "a", "groups": None, "guests": ["a"], "config": ["a"]},
            {"tls": {"ca": None, "cert": 5, "x509": None}, "sasl": "x", "polkit": "x"},
            {"tls": {"x509": ["a"]}, "sasl": {"users": {"a": "b"}}, "polkit": {}},
            {"tls": {"x509": {"a: b": 1}}, "sasl": {"mechanisms": ["a"], "users": ["x"]}},
            {"sasl": {"mechanisms": 5}, "polkit": {"users": None}, "iommu": ["x"]},
            {"sasl": {"mechanisms": ["a"], "users": {"b: #c": "d"}}, "tuned": "a: b"},
            {"daemons": "x", "build": None, "boot_loader": None, "tls_files": None},
            {"kernel_arguments": "x", "hugepages": 5, "ksm": [], "emulators": 5},
        )
    ),
]


@pytest.mark.parametrize("pillar", MALFORMED, ids=str)
def test_what_is_malformed_is_left_to_the_check(render: Renderer, pillar: dict[str, Any]) -> None:
    """A text that can't be rendered shows a traceback in place of the fault and its path."""
    parts = ("host", "python", "config", "remote", "kernel", "secret", "network", "domain", "vmx")
    for sls in parts:
        assert render(sls, DEB12, pillar)["include"][0] == "kvm.valid"
    assert "kvm-valid" in render("valid", DEB12, pillar)


@pytest.mark.parametrize("pillar", NOTHING, ids=str)
@pytest.mark.parametrize("sls", ["host", "python", "config", "remote", "kernel", "network", "vmx"])
def test_a_section_that_is_null_declares_nothing(
    render: Renderer, sls: str, pillar: dict[str, Any]
) -> None:
    assert render(sls, DEB12, pillar) == render(sls, DEB12)


def test_a_key_of_guests_that_is_null_is_left_alone(render: Renderer) -> None:
    """To ``kvm_host.config`` null is a key that is to go."""
    host = {"guests": {"on_shutdown": "shutdown", "on_boot": None}}
    states = render("config", DEB12, {"kvm": {"host": host}})
    files = argument(states, "kvm-config-guests", "kvm_host.config", "files")
    assert files == {"libvirt-guests": {"ON_SHUTDOWN": "shutdown"}}
    ((_noun, _name, fields),) = settings.of(host, dict)
    assert fields == {"files": files}


def test_what_salt_heeds_itself_is_left_to_the_check(render: Renderer) -> None:
    """An order before that of the check, a requisite that Salt can't read."""
    keys = {"names", *salt.state.STATE_INTERNAL_KEYWORDS} - {"state"}
    own = {key for key in keys if not key.startswith("__")}
    pillar = {"kvm": {"domains": {"web1": dict.fromkeys(own, "x") | {"memory": "1GiB"}}}}
    (arguments,) = render("domain", DEB12, pillar)["kvm-domain-web1"].values()
    assert arguments == [{"name": "web1"}, {"pillar": "kvm:domains"}]
    told = problems(pillar["kvm"])
    assert {f"kvm:domains:web1: unknown key {key!r}" for key in own} == {
        each.partition(";")[0] for each in told
    }


def test_a_value_that_json_has_no_word_for_is_its_text(render: Renderer) -> None:
    """Of YAML Salt makes no date; a pillar in Python may have one, and the check takes its text."""
    prune = {"domains": {"timeout": datetime.date(2026, 1, 1), "order": 1}}
    states = render("domain", DEB12, {"kvm": {"domains": {"web1": {}}, "prune": prune}})
    assert argument(states, "kvm-prune-domain", "kvm_domain.only", "timeout") == "2026-01-01"
    assert "order" not in str(states)


@pytest.mark.parametrize("text", ["mech_list: gssapi", "mech_list: gssapi\n", "", None])
def test_no_line_is_written_behind_one_that_has_no_end(
    render: Renderer, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "libvirt.conf"
    if text is not None:
        path.write_text(text)
    states = render("remote", DEB12, {"kvm": {"host": {"sasl": {"mechanisms": ["digest-md5"]}}}})
    (said,) = states["kvm-remote-sasl-ended"].values()
    command = {key: value for each in said for key, value in each.items()}
    for key in ("onlyif", "name"):
        line = command[key].replace("/etc/sasl2/libvirt.conf", str(path))
        if subprocess.run(line, shell=True).returncode:
            break
    assert (path.read_text() if path.exists() else None) == (text and text.rstrip("\n") + "\n")
    required = argument(states, "kvm-remote-sasl-mechanisms", "file.keyvalue", "require")
    assert required == [{"cmd": "kvm-remote-sasl-ended"}]


def test_the_maps_know_what_a_pillar_may_declare() -> None:
    declared = yaml.safe_load((STATES / "kvm" / "defaults.yaml").read_text())["declared"]
    assert {key for keys in declared.values() for key in keys} == set(Host.__struct_fields__)


GRUBBY = ["grubby", "--update-kernel=ALL", "--args=ARGUMENTS"]
# family: file of libvirt-guests, groups that may use libvirt, what the boot loader is told by
FAMILIES = {
    "Debian": ("/etc/default/libvirt-guests", ["libvirt", "kvm"], ["update-grub"]),
    "RedHat": ("/etc/sysconfig/libvirt-guests", ["libvirt"], GRUBBY),
    "Suse": (
        *("/etc/sysconfig/libvirt-guests", ["libvirt"]),
        ["grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"],
    ),
    "Arch": (
        *("/etc/conf.d/libvirt-guests", ["libvirt"]),
        ["grub-mkconfig", "-o", "/boot/grub/grub.cfg"],
    ),
}
BESIDE = {"guests": {"on_shutdown": "shutdown"}, "users": ["operator1"], "iommu": True}


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_files_groups_and_boot_loader(render: Renderer, row: tuple[Any, ...]) -> None:
    guests, groups, command = FAMILIES[row[0]]
    pillar = {"kvm": {"host": BESIDE}}
    config = render("config", grains_of(*row[:4]), pillar)
    paths = argument(config, "kvm-config-guests", "kvm_host.config", "paths")
    assert paths == {"libvirt-guests": guests}
    files = argument(config, "kvm-config-guests", "kvm_host.config", "files")
    assert files == {"libvirt-guests": {"ON_SHUTDOWN": "shutdown"}}
    assert units(config) == ["libvirt-guests"]
    members = {
        argument(config, name, "group.present", "name")
        for name, body in config.items()
        if "group.present" in body
    }
    assert members == set(groups)
    kernel = render("kernel", grains_of(*row[:4]), pillar)
    assert argument(kernel, "kvm-kernel-arguments", "kvm_host.kernel_arguments", "apply") == command


SASL = ["cyrus-sasl", "cyrus-sasl-scram", "cyrus-sasl-gssapi"]
SASL_PACKAGES = {
    "Debian": ["libsasl2-modules", "sasl2-bin"],
    "RedHat": SASL,
    "Suse": SASL,
    "Arch": ["cyrus-sasl"],
}
RULES = "/etc/polkit-1/rules.d/50-salt-kvm.rules"
PKLA = "/etc/polkit-1/localauthority/50-local.d/salt-kvm.pkla"
OLD_POLKIT = (("Debian", "11"), ("Ubuntu", "20.04"), ("Ubuntu", "22.04"))
REMOTE = {
    "tls": {"ca": "salt://ca.pem", "cert": "-----BEGIN C", "key": "-----BEGIN K X-secret-X"},
    "sasl": {"mechanisms": ["scram-sha-256", "gssapi"]},
    "polkit": {"users": ["viewer1", "o'name"]},
}


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_remote_access(render: Renderer, row: tuple[Any, ...]) -> None:
    family, system, release, *_ = row
    states = render("remote", grains_of(*row[:4]), {"kvm": {"host": REMOTE}})
    modular, sasl = row[5] == MODULAR, "kvm-remote-sasl"
    packages = argument(states, f"{sasl}-packages", "pkg.installed", "pkgs")
    assert packages == SASL_PACKAGES[family]
    mechanisms = argument(states, f"{sasl}-mechanisms", "file.keyvalue", "key_values")
    assert mechanisms == {"mech_list": "scram-sha-256 gssapi"}
    file = "virtproxyd.conf" if modular else "libvirtd.conf"
    assert argument(states, sasl, "kvm_host.config", "files") == {file: {"auth_tls": "sasl"}}
    if row[5] == CENTOS7:
        assert "test.fail_without_changes" in states["kvm-remote-socket"]
    else:
        socket = "virtproxyd-tls.socket" if modular else "libvirtd-tls.socket"
        assert units(states) == [socket]
    rules = argument(states, "kvm-remote-polkit", "file.managed", "name")
    assert rules == (PKLA if (system, release) in OLD_POLKIT else RULES)
    text = argument(states, "kvm-remote-polkit", "file.managed", "contents")
    assert "org.libvirt.unix.manage" in text
    assert (
        "Identity=unix-user:viewer1;unix-user:o'name\nAction=org.libvirt.unix.manage\n"
        if rules == PKLA
        else '["viewer1", "o\'name"].indexOf(subject.user) >= 0) {\n    return polkit.Result.YES'
    ) in text


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_guests_are_stopped_while_there_is_a_daemon(render: Renderer, row: tuple[Any, ...]) -> None:
    """The unit as shipped is ordered after the sockets only."""
    pillar = {"kvm": {"host": {"guests": {"on_shutdown": "suspend"}}}}
    states = render("config", grains_of(*row[:4]), pillar)
    text = argument(states, "kvm-config-guests-order", "file.managed", "contents")
    assert text.endswith("[Unit]\nAfter=libvirtd.service virtqemud.service\n")


def test_sasl_users_and_what_makes_the_daemon_read_anew(render: Renderer) -> None:
    users = {"alice": "X-secret-X", "bob": None}
    host = {"sasl": {"mechanisms": ["scram-sha-256"], "users": users}}
    states = render("remote", DEB12, {"kvm": {"host": host}})
    assert "X-secret-X" not in str(states)
    assert "kvm_host.sasl_user" in states["kvm-remote-sasl-user-alice"]
    assert "kvm_host.sasl_user_absent" in states["kvm-remote-sasl-user-bob"]
    database = states["kvm-remote-sasl-database"]["file.keyvalue"]
    assert {"key_values": {"sasldb_path": "/etc/libvirt/passwd.db"}} in database
    assert any("unless" in item for item in database), "the administrator's own is kept"
    read_anew = {"onchanges_in": [{"cmd": "kvm-remote-read-anew"}]}
    for name in ("mechanisms", "database"):
        written = states[f"kvm-remote-sasl-{name}"]["file.keyvalue"]
        assert read_anew in written
        assert {"create_if_missing": True} in written, "a dry run comes before libvirt's own file"
    assert "kvm-remote-read-anew" in states
    bare = render("remote", {**DEB12, "init": "unknown"}, {"kvm": {"host": host}})
    assert {"name": "libvirtd"} in bare["kvm-remote-read-anew"]["kvm_host.daemon"]
    read_anew = {"watch_in": [{"kvm_host": "kvm-remote-read-anew"}]}
    for name in ("mechanisms", "database"):
        assert read_anew in bare[f"kvm-remote-sasl-{name}"]["file.keyvalue"]
    assert "systemctl" not in str(bare)


def test_no_socket_listens_where_there_is_no_systemd(render: Renderer) -> None:
    states = render("remote", {**DEB12, "init": "unknown"}, {"kvm": {"host": REMOTE}})
    (told,) = states["kvm-remote-socket"]["test.show_notification"]
    assert "--listen" in told["text"]


def test_polkit_knows_users_by_their_names() -> None:
    (told,) = problems({"host": {"polkit": {"users": ["ann", 1000]}}})
    assert "write that of 1000" in told


def test_no_key_with_words_before_it_stands_in_the_rendered_states(render: Renderer) -> None:
    key = "Bag Attributes\n  friendlyName: x\n-----BEGIN PRIVATE KEY-----\nMIIE\n"
    states = render("remote", DEB12, {"kvm": {"host": {"tls": {"ca": "/c", "key": key}}}})
    assert argument(states, "kvm-remote-key", "file.managed", "contents_pillar")
    assert "MIIE" not in str(states)


def test_no_key_stands_in_the_rendered_states(render: Renderer) -> None:
    states = render("remote", DEB12, {"kvm": {"host": REMOTE}})
    assert "X-secret-X" not in str(states)
    key = states["kvm-remote-key"]["file.managed"]
    assert {"contents_pillar": "kvm:host:tls:key"} in key
    assert {"mode": "0600"} in key
    assert {"show_changes": False} in key
    assert {"source": "salt://ca.pem"} in states["kvm-remote-ca"]["file.managed"]


def test_nothing_of_it_unless_it_is_declared(render: Renderer) -> None:
    for sls in ("config", "kernel", "remote"):
        assert set(render(sls, DEB12)) == {"include", f"kvm-{sls}-none"}


def test_what_the_kernel_is_told(render: Renderer) -> None:
    host = {"nested": False, "ksm": False, "hugepages": {"2MiB": 4}, "bridge_netfilter": False}
    host |= {"vhost_net": True, "tuned": "virtual-host"}
    states = render("kernel", DEB12, {"kvm": {"host": host}})
    assert "kvm-kernel-none" not in states
    assert argument(states, "kvm-kernel-nested", "kvm_host.nested", "enabled") is False
    (told,) = states["kvm-kernel-told"].values()
    assert [item for item in told if "require" not in item] == [
        {"hugepages": {"2MiB": 4}},
        {"ksm": False},
        {"bridge_netfilter": False},
    ]
    assert argument(states, "kvm-kernel-vhost-net", "kmod.present", "persist") is True
    profile = argument(states, "kvm-kernel-tuned-profile", "cmd.run", "name")
    assert profile == "tuned-adm profile virtual-host"


def test_no_value_of_a_file_stands_in_the_rendered_states(render: Renderer) -> None:
    pillar = {"kvm": {"host": {"config": {"qemu.conf": {"vnc_password": "X-secret-X"}}}}}
    states = render("config", DEB12, pillar)
    assert "kvm-config-files" in states
    assert "X-secret-X" not in str(states)
