"""The mapping from distribution to packages, units and build tools: one row, one test.

Salt's own Jinja renders the shipped SLS files with the grains of each distribution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

salt_loader = pytest.importorskip("salt.loader")
from salt.config import DEFAULT_MINION_OPTS  # noqa: E402
from salt.utils.templates import JINJA  # noqa: E402

STATES = Path(__file__).parents[2] / "states"

DEBIAN = ["qemu-utils", "libvirt-daemon-system", "libvirt-clients", "dnsmasq-base", "iptables"]
DEBIAN_X86 = [*DEBIAN, "qemu-system-x86"]
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
    ("Debian", "Debian", "13", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    (
        *("Debian", "Debian", "12", "aarch64"),
        [*DEBIAN, "qemu-system-arm", "qemu-efi-aarch64"],
        MONOLITHIC,
        LEAN,
    ),
    ("Debian", "Ubuntu", "20.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "22.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "24.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
    ("Debian", "Ubuntu", "26.04", "x86_64", DEBIAN_X86, MONOLITHIC, LEAN),
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
        self.functions = salt_loader.minion_mods(self.opts)

    def __call__(
        self, sls: str, grains: dict[str, Any], pillar: dict[str, Any] | None = None
    ) -> dict[str, dict[str, list[dict[str, Any]]]]:
        self.opts["pillar"].clear()
        self.opts["pillar"].update(pillar or {})
        functions = salt_loader.minion_mods(self.opts) if pillar else self.functions
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
