"""Debian's guest agent in a guest that runs, and guests that have none."""

import base64
import subprocess
import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from salt_kvm.backend.virt.hypervisor import Hypervisor
from waiting import wait_for

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}talks"
AGENTLESS = f"{PREFIX}agentless"


@pytest.fixture
def agent(modules):
    """Return what calls a function of the agent's."""
    return lambda function, *given, **more: modules[f"kvm_domain.agent_{function}"](
        NAME, *given, **more
    )


@pytest.fixture
def boot(run, talks):
    """Return what starts the guest with more words on its kernel's command line."""

    def start(words="", **more):
        system = {**talks["os"], "cmdline": f"{talks['os']['cmdline']} {words}"}
        made = run()("kvm_domain.running", **{**talks, "os": system, **more})
        assert made["result"] is True, made["comment"]
        log = Path(talks["serial"][0]["log"])
        wait_for(lambda: "guest up" in log.read_text(), "the guest")
        if words != "silent":
            wait_for(lambda: "state='connected'" in virsh("dumpxml", NAME), "the agent")

    return start


@pytest.fixture
def fails(agent):
    """Return what expects a function to fail, and with which words."""

    def refused(told, function, *given, **more):
        with pytest.raises(CommandExecutionError) as failure:
            agent(function, *given, **more)
        assert told in str(failure.value)
        assert "\n" not in str(failure.value)
        return str(failure.value)

    return refused


def sh(command):
    return {"command": "/bin/sh", "args": ["-c", command]}


def test_the_agent_runs_programs_and_moves_files(agent, boot, fails):
    boot()
    assert agent("ping") is True
    assert "guest-exec" in agent("info")["commands"]
    assert agent("os_info")["pretty_name"] == "Debian for tests"
    names = {card["name"]: card for card in agent("interfaces")}
    assert names["eth0"]["mac"] in virsh("domiflist", NAME)

    ran = agent("exec", **sh("echo out; echo err >&2; cat; echo $WORD $0; exit 3"), stdin="in\n")
    assert ran == {
        "exit_code": 3, "signal": None, "stdout": "out\nin\n/bin/sh\n", "stderr": "err\n",
        "truncated": False,
    }  # fmt: skip
    assert agent("exec", "env", env={"WORD": "a b", "N": 1})["stdout"] == "WORD=a b\nN=1\n"
    assert agent("exec", "echo", args="one 'argument'")["stdout"] == "one 'argument'\n"
    assert agent("exec", **sh("kill -9 $$"))["signal"] == 9
    assert agent("exec", **sh(r"printf 'a\377\000b'"))["stdout"] == "a\ufffd\0b"
    big = agent("exec", **sh("yes | head -c 2000000"))["stdout"]
    assert len(big) == 2_000_000
    assert agent("exec", "wc", args=["-c"], stdin="a" * 65536)["stdout"] == "65536\n"
    fails("too long for the agent", "exec", "wc", stdin="a" * 75_000)
    fails("no/such", "exec", "/no/such")
    fails("still runs in the guest of domain", "exec", "sleep", args=["20"], timeout=1)
    fails("let what prints more than 2 MiB write to a file", "exec", **sh("yes | head -c 5000000"))
    fails("timeout: 0 is no number from 1 to", "exec", "ls", timeout=0)
    fails("env: 'a' is no mapping", "exec", "ls", env="a")
    fails("args: {} is no list", "exec", "ls", args={})

    data = bytes(range(256)) * 3000
    text = base64.b64encode(data).decode()
    assert agent("file_write", "/root/a", text, base64=True) == len(data)
    assert agent("file_read", "/root/a", base64=True) == text
    assert agent("exec", "md5sum", args=["/root/a"])["exit_code"] == 0
    fails("/root/a in the guest of domain", "file_read", "/root/a")
    fails("is larger than 1000B; raise limit", "file_read", "/root/a", limit=1000)
    assert agent("file_write", "/root/b", "Gr\u00fc\u00dfe\n") == 8
    assert agent("file_write", "/root/b", "more", append=True) == 4
    assert agent("file_read", "/root/b") == "Gr\u00fc\u00dfe\nmore"
    assert agent("file_write", "/root/b", "") == 0
    assert agent("file_read", "/root/b") == ""
    fails("is larger than 1MiB", "file_read", "/dev/zero", limit="1MiB")
    fails("No such file or directory", "file_read", "/no/such")
    fails("No such file or directory", "file_write", "/no/such", "a")
    told = fails("was not written whole; 1 of 1 bytes were sent", "file_write", "/dev/full", "a")
    assert "No space left on device" in told
    fails("limit: 16MiB can be read at most", "file_read", "/root/b", limit="1GiB")
    fails("content: that is no base64", "file_write", "/root/b", "?", base64=True)


def test_the_agent_sets_passwords_and_clocks(agent, boot, fails, opts, modules, caplog):
    boot()
    assert agent("set_password", "root", "s3cret w0rd") is True
    assert agent("set_password", "root", "$6$a$b", crypted=True) is True
    modules.pack["__pillar__"] = {"kvm": {"secrets": {"root": {"value": "fr0m p1llar"}}}}
    try:
        assert agent("set_password", "root", "pillar://root") is True
    finally:
        modules.pack["__pillar__"] = {}
    assert agent("file_read", "/root/passwords").splitlines() == [
        "chpasswd : root:s3cret w0rd", "chpasswd -e: root:$6$a$b", "chpasswd : root:fr0m p1llar",
    ]  # fmt: skip
    fails("sdb://no/such gives no value", "set_password", "root", "sdb://no/such")
    assert "12345" not in fails("password: a secret's value is text", "set_password", "r", 12345)
    told = fails("", "set_password", "no\nsuch:user", "s3cret w0rd")
    assert not any("s3cret" in each for each in (told, caplog.text))

    agent("exec", "date", args=["-s", "2001-01-01 00:00:00"])
    synced = agent("time_sync")
    assert synced["before"] < -10_000_000
    assert abs(synced["after"]) < 30
    assert agent("exec", "date", args=["+%Y"])["stdout"].strip() == time.strftime("%Y")


def test_frozen_file_systems_thaw(agent, boot, fails, folder):
    disk = folder / "data.raw"
    with disk.open("wb") as file:
        file.truncate(16 * 1024**2)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    boot(disks=[{"path": str(disk)}])
    assert agent("fsfreeze_status") == "thawed"
    assert agent("fsfreeze") == 1
    assert agent("fsfreeze_status") == "frozen"
    fails("are frozen; thaw them: agent_fsthaw", "exec", "ls")
    assert agent("fsthaw") == 1
    assert agent("fsfreeze_status") == "thawed"
    assert agent("fsthaw") == 0
    assert agent("fsfreeze", mountpoints=["/data"]) == 1
    # The agent refuses to freeze what is frozen, and that leaves nothing frozen.
    fails("frozen", "fsfreeze")
    assert agent("fsfreeze_status") == "thawed"
    assert agent("exec", **sh("echo a >/data/a; sync"))["exit_code"] == 0
    assert agent("fsfreeze", mountpoints=["/nowhere"]) == 0
    agent("fsthaw")


def test_what_a_guest_forbids_its_agent_is_told(agent, boot, fails):
    boot("restricted")
    assert "guest-exec" not in agent("info")["commands"]
    told = "is forbidden guest-exec; allow it in the guest's configuration of qemu-ga"
    fails(told, "exec", "ls")
    fails("is forbidden guest-file-open", "file_read", "/etc/passwd")


@pytest.fixture
def asked(monkeypatch):
    """Which agents are asked, and for how many seconds libvirt waits for each."""
    orders = []
    ask = Hypervisor.ask_agent

    def noted(hypervisor, name, order, seconds):
        orders.append((name, seconds))
        return ask(hypervisor, name, order, seconds)

    monkeypatch.setattr(Hypervisor, "ask_agent", noted)
    return orders


ASKS = [
    ("ping", []), ("info", []), ("os_info", []), ("interfaces", []), ("exec", ["ls"]),
    ("file_read", ["/a"]), ("file_write", ["/a", "a"]), ("fsfreeze", []), ("fsthaw", []),
    ("fsfreeze_status", []), ("set_password", ["root", "a"]), ("time_sync", []),
]  # fmt: skip


def test_a_guest_without_an_agent_is_not_asked(run, guest, modules, asked, fails, boot):
    def all_fail(told):
        for function, given in ASKS:
            fails(told, function, *given)
        assert asked == []

    all_fail(f"there is no domain '{NAME}'")
    run()("kvm_domain.running", **{**guest, "name": AGENTLESS, "agent": False})
    run()("kvm_domain.present", **{**guest, "name": NAME, "disks": []})
    all_fail(f"domain {NAME} is off; start it")
    virsh("undefine", NAME)
    boot("silent")
    all_fail(f"no guest agent runs in the guest of domain {NAME}; install and start")
    everybody = modules["kvm_domain.agent_ping"]()
    assert "no guest agent runs" in everybody[NAME]
    assert f"domain {AGENTLESS} has no channel for a guest agent" in everybody[AGENTLESS]
    assert not {NAME, AGENTLESS} & {name for name, _seconds in asked}


def test_an_agent_that_hangs_costs_five_seconds(agent, boot, fails, modules, asked):
    boot()
    agent("exec", **sh("(sleep 10; kill -STOP $(pidof qemu-ga)) >/dev/null 2>&1 </dev/null &"))
    wait_for(lambda: not pings(agent), "an agent that hangs")
    before = len(asked)
    fails("does not answer: Guest agent is not responding", "exec", "ls")
    assert "does not answer" in modules["kvm_domain.agent_ping"]()[NAME]
    assert [order for order in asked[before:] if order[0] == NAME] == [(NAME, 5), (NAME, 5)]


def test_an_agent_that_greets_and_hangs_costs_five_seconds(boot, fails, asked):
    """Which libvirt itself would wait for without end."""
    boot("greets")
    fails("does not answer: Guest agent is not responding", "os_info")
    assert asked[-1] == (NAME, 5)


def pings(agent):
    try:
        return agent("ping")
    except CommandExecutionError:
        return False
