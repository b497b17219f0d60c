"""Counts what a Python process asks of libvirt's binding, and which programs it starts.

Python imports this file by itself when its directory is on ``PYTHONPATH``. At exit it writes
``$BENCH_COUNTS/<pid>.json``. Never loaded in a timed run.
"""

import atexit
import collections
import json
import os
import sys

CALLS = collections.Counter()
PROGRAMS = collections.Counter()


def counted(name, function):
    def call(*arguments, **named):
        CALLS[name] += 1
        return function(*arguments, **named)

    return call


def count_calls():
    try:
        import libvirtmod
    except ImportError:
        return
    for name, function in list(vars(libvirtmod).items()):
        if name.startswith("vir") and callable(function):
            setattr(libvirtmod, name, counted(name, function))


def count_programs(event, arguments):
    if event in ("subprocess.Popen", "os.posix_spawn"):
        PROGRAMS[os.path.basename(os.fsdecode(arguments[0]))] += 1
    elif event == "os.system":
        PROGRAMS[os.fsdecode(arguments[0]).split()[0]] += 1


def write():
    path = os.path.join(os.environ["BENCH_COUNTS"], f"{os.getpid()}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"calls": CALLS, "programs": PROGRAMS}, file)


if "BENCH_COUNTS" in os.environ:
    count_calls()
    sys.addaudithook(count_programs)
    atexit.register(write)
