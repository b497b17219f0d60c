"""Print, as JSON, the seconds of kvm_host.plan for N domains and of the raw read, in turns.

Arguments: a minion's configuration, N, the folder of the domains' disks, rounds.
"""

import json
import sys
import time

import cases
import libvirt
import salt.config
import salt.loader
from fixture import URI, names


def read():
    connection = libvirt.open(URI)
    flag = libvirt.VIR_DOMAIN_XML_INACTIVE
    documents = [domain.XMLDesc(flag) for domain in connection.listAllDomains(0)]
    connection.close()
    return documents


def main() -> None:
    config, count, folder, rounds = sys.argv[1:]
    opts = salt.config.minion_config(config)
    opts["grains"] = {}
    domains = {name: cases.ours(name, f"{folder}/{{}}.qcow2".format) for name in names(int(count))}
    opts["pillar"] = {"kvm": {"domains": domains}}
    seconds: dict[str, list[float]] = {"read": [], "plan": []}
    for number in range(int(rounds) + 1):
        plan = salt.loader.minion_mods(opts, context={})["kvm_host.plan"]
        start = time.perf_counter()
        read()
        between = time.perf_counter()
        rows = plan()
        end = time.perf_counter()
        if rows:
            raise SystemExit(f"not as declared: {rows[0]}")
        # The first round imports the engine.
        if number:
            seconds["read"].append(between - start)
            seconds["plan"].append(end - between)
    print(json.dumps(seconds))


main()
