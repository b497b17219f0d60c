"""The parts of tools/converge that read and write data: pillar, progress, summary."""

from __future__ import annotations

import json
import re
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

BEGIN = re.compile(r"INFO Executing state (\S+) for \[(.*)\]$")
END = re.compile(r"INFO Completed state \[.*\(duration_in_ms=([\d.]+)\)$")
CHANGED = ("Made the following changes:", "File changed:", "{")
NOISE = ("INFO Loading fresh modules", "INFO Executing command")
DRY = re.compile(r"test=(true|yes|on|1)", re.IGNORECASE)
DUE = "Waits for "
TITLES = {True: "Made:", None: "Dry run, nothing was changed:", False: "Failed:"}
TITLES |= {DUE: "Not in effect yet:"}
SCREEN_SECONDS = 20


def pillar(source: Path, target: Path, stand_in: tuple[str, str] | None) -> list[str]:
    """Lay the pillar for Salt, and say which ISOs are replaced by the stand-in.

    :param source: the user's pillar file
    :param target: the directory that Salt's ``pillar_roots`` names
    :param stand_in: a package and the ISO in it, for domains whose own ISO is not there
    """
    text = source.read_text(encoding="utf-8")
    parts = {"kvm": text}
    missing = _missing_isos(text) if stand_in else {}
    if stand_in and missing:
        package, iso = stand_in
        domains = {name: {"cdrom": iso} for name in missing}
        overlay = {"kvm": {"host": {"extra_packages": [package]}, "domains": domains}}
        parts["stand_in"] = json.dumps(overlay)
    for stale in target.glob("*.sls"):
        stale.unlink()
    for name, content in {**parts, "top": json.dumps({"base": {"*": list(parts)}})}.items():
        (target / f"{name}.sls").write_text(content, encoding="utf-8")
    return [
        f"{path} is not there: {name} boots {iso} instead. Put yours there and run this again."
        for name, path in missing.items()
    ]


def _missing_isos(text: str) -> dict[str, str]:
    try:
        section = (yaml.safe_load(text) or {}).get("kvm") or {}
        domains = (section.get("domains") or {}).items()
        isos = {name: spec.get("cdrom") for name, spec in domains if isinstance(spec, dict)}
    except (AttributeError, yaml.YAMLError):
        # Salt, and then the states, say what is wrong with it.
        return {}
    return {
        name: iso for name, iso in isos.items() if isinstance(iso, str) and not Path(iso).exists()
    }


def progress(lines: Iterable[str]) -> Iterator[str]:
    """Turn salt-call's log into one line for each state, in pieces as they become known."""
    last = ""
    for line in map(str.rstrip, lines):
        if match := BEGIN.match(line):
            yield f"  {match[1]} {match[2]} ..."
        elif match := END.match(line):
            seconds = float(match[1]) / 1000
            yield f" {_outcome(last)}{f', {seconds:.0f} s' if seconds >= 1 else ''}\n"
        elif line.startswith(("INFO ", "ERROR ")) and not line.startswith(NOISE):
            last = line


def _outcome(last: str) -> str:
    level, _, message = last.partition(" ")
    if level == "ERROR":
        return "failed"
    return "changes" if message.startswith(CHANGED) else "checked"


def summary(run: Path, *, dry: bool) -> int:
    """Print what was made, or failed, and where the guests are seen; return the exit code."""
    returned = _returned(run)
    if not isinstance(returned, dict):
        print(TITLES[False], *returned, sep="\n  ")
        return 1
    runs = sorted(returned.items(), key=lambda item: item[1]["__run_num__"])
    told: dict[bool | str | None, list[str]] = {result: [] for result in TITLES}
    for key, state in runs:
        if state["changes"] or state["result"] is not True:
            told[state["result"]].append(_sentence(key, state))
        elif DUE in state["comment"]:
            told[DUE].append(_sentence(key, state))
    for result, sentences in told.items():
        if sentences:
            print(TITLES[result], *sentences, sep="\n  ")
    if not any(told.values()):
        print("Nothing changed: this machine is as declared.")
    domains = [key.split("_|-")[2] for key, _ in runs if key.startswith("kvm_domain_|-")]
    if domains and not dry and not told[False]:
        _consoles(run, domains)
    return 1 if told[False] else 0


def _returned(run: Path) -> Any:
    """Return what each state returned, or a list of sentences that say why there is nothing."""
    log = run / "console.log"
    try:
        returned = json.loads((run / "result.json").read_text(encoding="utf-8"))["local"]
    except (OSError, ValueError, KeyError):
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        returned = ["salt-call gave no result", *said.splitlines()[-3:]]
    return returned if isinstance(returned, dict) else [*returned, f"The whole log is {log}."]


def _sentence(key: str, state: dict[str, Any]) -> str:
    comment = " ".join(str(state["comment"]).split())
    module, _, name = key.split("_|-")[:3]
    return comment if name in comment else f"{module} {name}: {comment}"


def _consoles(run: Path, names: list[str]) -> None:
    import salt.client
    import salt.config

    caller = salt.client.Caller(mopts=salt.config.minion_config(str(run / "etc/minion")))
    states = caller.cmd("kvm_domain.list")
    for name in names:
        if "running" in str(states.get(name)):
            console = caller.cmd("kvm_domain.vnc", name)
            if console:
                print(f"VNC of {name}: {console['listen']}:{console['port']}")
                print(f"Screenshot of {name}: {_screenshot(caller, name)}")


def _screenshot(caller: Any, name: str) -> str:
    """Take a picture of the screen, waiting for a guest that has just begun to show something."""
    deadline = time.monotonic() + SCREEN_SECONDS
    while True:
        path = str(caller.cmd("kvm_domain.screenshot", name))
        if not _black(Path(path).read_bytes()) or time.monotonic() > deadline:
            return path
        time.sleep(1)


def _black(png: bytes) -> bool:
    """True for a PNG whose pixels are all zero; each row's filters leave zeros alone."""
    packed, at = b"", 8
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        packed += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    width, depth = int.from_bytes(png[16:20], "big"), 3 if png[25] == 2 else 4
    pixels, row = zlib.decompress(packed), width * depth + 1
    return not any(any(pixels[at + 1 : at + row]) for at in range(0, len(pixels), row))


def main(command: str, *arguments: str) -> int:
    if command == "pillar":
        source, target, *spare = arguments
        for line in pillar(Path(source), Path(target), (spare[0], spare[1]) if spare else None):
            print(line)
    elif command == "progress":
        for piece in progress(sys.stdin):
            print(piece, end="", flush=True)
    else:
        return summary(Path(arguments[0]), dry=any(map(DRY.fullmatch, arguments[1:])))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
