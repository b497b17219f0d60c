"""The files of a seed: a pure function of what is declared, so that the same data are no change.

A mapping is written as JSON, which is YAML too and has one spelling. Nothing that goes wrong shows
a value: a message names the place.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from salt_kvm.errors import SpecError
from salt_kvm.seen import Hidden
from salt_kvm.spec.cloud_init import CloudInit, Ignition, Nic, is_file
from salt_kvm.spec.types import Size

Texts = Mapping[str, bytes]
Files = dict[str, Hidden]

LIMIT = Size(16 * 1024**2)
CLOUD_CONFIG = "#cloud-config"
TEMPLATE = "## template:"
# https://docs.cloud-init.io/en/latest/explanation/format.html
BEGINNINGS = (
    CLOUD_CONFIG, TEMPLATE, "#!", "#include", "#cloud-boothook", "#part-handler", "#upstart-job",
    "Content-Type:", "MIME-Version:",
)  # fmt: skip
GZIP = b"\x1f\x8b"
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# Line ends of YAML, and what it takes in no text.
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
# So that a data's digest, which a guest's users can read, is a slow way to guess at a password.
COST = {"n": 2**14, "r": 8, "p": 1}


def cidata(name: str, want: CloudInit, texts: Texts, where: str) -> Files:
    """Return the files of a NoCloud seed.

    :param name: the domain's
    :param want: what is declared
    :param texts: the contents of the files that it names, by their names
    :param where: its path in the pillar
    """
    shorts = {"users": want.users, "ssh_authorized_keys": want.ssh_authorized_keys}
    files = {
        "user-data": _cloud_config(want.user_data, shorts, texts, f"{where}:user_data"),
        "vendor-data": None
        if want.vendor_data is None
        else _cloud_config(want.vendor_data, {}, texts, f"{where}:vendor_data"),
        "network-config": _network(want, texts, where),
    }
    told = {path: data for path, data in files.items() if data is not None}
    told["meta-data"] = _meta_data(name, want, told, texts, f"{where}:meta_data")
    return _limited(told, where)


def ignition(want: Ignition, texts: Texts, where: str) -> Files:
    """Return the one file of Ignition."""
    path = f"{where}:config"
    data = _text(want.config, texts, path) if isinstance(want.config, str) else None
    config = want.config if data is None else _json(data, path)
    config = config if isinstance(config, dict) else {}
    if not isinstance(config.get("ignition"), dict) or "version" not in config["ignition"]:
        hint = ", which butane writes of this" if "variant" in config else ""
        raise SpecError([f"{path}: no Ignition configuration; it has ignition:version{hint}"])
    return _limited({"ignition/config.ign": data or _dumped(config, path)}, where)


def combustion(script: str, texts: Texts, where: str) -> Files:
    """Return the one file of Combustion."""
    data = _text(script, texts, where)
    if not data.startswith(b"#!"):
        raise SpecError([f"{where}: no script; its first line is like #!/bin/bash"])
    return _limited({"combustion/script": data}, where)


def _limited(files: Mapping[str, bytes], where: str) -> Files:
    size = sum(len(data) for data in files.values())
    if size > LIMIT:
        cure = "have the guest fetch what is large"
        raise SpecError([f"{where}: {Size(size)} is more than the {LIMIT} of a seed; {cure}"])
    return {path: Hidden(data) for path, data in sorted(files.items())}


def _text(text: str, texts: Texts, where: str) -> bytes:
    """A document, or what its file holds."""
    data = texts[text] if is_file(text) else text.encode(errors="surrogatepass")
    return data if data.endswith(b"\n") or not data or data.startswith(GZIP) else data + b"\n"


def _cloud_config(
    declared: dict[str, Any] | str | None, shorts: Mapping[str, object], texts: Texts, where: str
) -> bytes:
    if not isinstance(declared, str):
        said = {key: value for key, value in shorts.items() if value is not None}
        return cloud_config({**(declared or {}), **said}, where)
    data = _text(declared, texts, where)
    if data.startswith(GZIP):
        return data
    text = _decoded(data, where)
    if not text.startswith(BEGINNINGS):
        raise SpecError(
            [f"{where}: cloud-init knows it by its first line, which is like {CLOUD_CONFIG} or #!"]
        )
    if is_cloud_config(data):
        _mapping(text, where)
    return data


def is_cloud_config(data: bytes) -> bool:
    """Tell a cloud-config from a script, a template, and what else user data can be."""
    return data.partition(b"\n")[0].strip() == CLOUD_CONFIG.encode()


def cloud_config(data: Mapping[str, object], where: str) -> bytes:
    """Return a mapping as a cloud-config."""
    return f"{CLOUD_CONFIG}\n".encode() + _dumped(data, where)


def parsed(data: bytes, where: str) -> dict[str, Any]:
    """Return what a cloud-config says."""
    return _mapping(_decoded(data, where), where)


def _network(want: CloudInit, texts: Texts, where: str) -> bytes | None:
    path, declared = f"{where}:network_config", want.network_config
    if want.network is not None:
        cards = dict(_card(number, card) for number, card in enumerate(want.network))
        return _dumped({"version": 2, "ethernets": cards}, path)
    if declared is None:
        return None
    data = _text(declared, texts, path) if isinstance(declared, str) else None
    config = declared if data is None else _mapping(_decoded(data, path), path)
    inner = config.get("network") or config if isinstance(config, dict) else {}
    if not isinstance(inner, dict) or not _tells_network(inner):
        raise SpecError([f"{path}: no network configuration; it has version: 2"])
    return data or _dumped(config, path)


def _tells_network(config: Mapping[str, object]) -> bool:
    """``config: disabled`` leaves the cards to the image itself."""
    return config.get("version") in (1, 2) or config.get("config") == "disabled"


def _card(number: int, card: Nic) -> tuple[str, dict[str, object]]:
    """One known by its MAC address gets its name, as not each system takes the one for the other.

    A guest's own names for its cards (``enp1s0``) come of where they are plugged in.
    """
    name = card.name or f"eth{number}"
    said: dict[str, object] = {}
    if card.mac is not None:
        said = {"match": {"macaddress": str(card.mac)}, "set-name": name}
    dhcp = not card.addresses if card.dhcp is None else card.dhcp
    said |= {"dhcp4": dhcp, "addresses": card.addresses or [], "mtu": card.mtu}
    everywhere = {False: "0.0.0.0/0", True: "::/0"}
    said["routes"] = [{"to": everywhere[":" in via], "via": via} for via in card.gateways]
    said["nameservers"] = {
        key: value
        for key, value in {"addresses": card.nameservers, "search": card.search}.items()
        if value
    }
    return name, {key: value for key, value in said.items() if value not in (None, [], {})}


def _meta_data(
    name: str, want: CloudInit, others: Mapping[str, bytes], texts: Texts, where: str
) -> bytes:
    if isinstance(want.meta_data, str):
        data = _text(want.meta_data, texts, where)
        _mapping(_decoded(data, where), where)
        return data
    said = {"instance-id": _instance_id(name, want, others, where)}
    hostname = want.hostname or (name if HOSTNAME.fullmatch(name) else None)
    if hostname is not None:
        said["local-hostname"] = hostname
    return _dumped({**said, **(want.meta_data or {})}, where)


def _instance_id(name: str, want: CloudInit, others: Mapping[str, bytes], where: str) -> str:
    """cloud-init does what is for a first boot anew where this is another one."""
    if want.instance_id == "content":
        own = _dumped({"hostname": want.hostname, "meta_data": want.meta_data}, where)
        parts = [*(part for each in sorted(others.items()) for part in each), own]
        whole = b"".join(
            f"{len(part)}:".encode() + (part if isinstance(part, bytes) else part.encode())
            for part in parts
        )
        return f"{name}-{hashlib.scrypt(whole, salt=name.encode(), **COST).hex()[:16]}"
    return name if want.instance_id in (None, "stable") else want.instance_id


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SpecError([f"{where}: no text in UTF-8"]) from None


def _mapping(text: str, where: str) -> dict[str, Any]:
    """Return what YAML says; an error of the parser's quotes it, and is not passed on."""
    import yaml

    try:
        said = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f": line {mark.line + 1}, column {mark.column + 1}"
        raise SpecError([f"{where}: no valid YAML{place}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise SpecError([f"{where}: no valid YAML"]) from None
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise SpecError([f"{where}: a mapping is needed, not a {type(said).__name__}"])
    return said


def _json(data: bytes, where: str) -> object:
    try:
        return json.loads(_decoded(data, where))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise SpecError([f"{where}: no valid JSON: {place}"]) from None
    except RecursionError:
        raise SpecError([f"{where}: no valid JSON"]) from None


def _dumped(data: object, where: str) -> bytes:
    def unknown(value: object) -> str:
        if isinstance(value, (datetime.date, datetime.datetime)):
            return value.isoformat()
        _refuse(value, where)

    try:
        _check_keys(data, where)
        text = json.dumps(
            data, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1, default=unknown
        )
    except (ValueError, RecursionError):
        raise SpecError([f"{where}: a number or a nesting without end can't be written"]) from None
    return (ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n").encode()


def _check_keys(data: object, where: str) -> None:
    """JSON would make texts of other keys."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str):
                raise SpecError([f"{where}: the key {key!r} is no text; write it in quotes"])
            _check_keys(value, f"{where}:{key}")
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            _check_keys(value, f"{where}[{index}]")


def _refuse(value: object, where: str) -> NoReturn:
    raise SpecError([f"{where}: a value of the type {type(value).__name__} can't be written"])
