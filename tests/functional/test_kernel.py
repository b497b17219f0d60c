"""What the kernel is told: at once, at each boot, and by its command line.

A directory stands in for the kernel's /proc and /sys: what is set here is all of a machine's.
"""

import pytest

from salt_kvm import converge as engine
from salt_kvm.backend import history
from salt_kvm.backend.hosts import daemons
from salt_kvm.backend.hosts.kernel import Kernel
from salt_kvm.backend.world import World
from salt_kvm.errors import UnmetError

SMALL = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
HUGE = "sys/kernel/mm/transparent_hugepage/enabled"
BRIDGE = "proc/sys/net/bridge/bridge-nf-call-iptables"
TREE = {
    SMALL: "0\n",
    HUGE: "always [madvise] never\n",
    "sys/kernel/mm/ksm/run": "0\n",
    "sys/kernel/mm/ksm/sleep_millisecs": "20\n",
    "proc/cpuinfo": "processor : 0\nvendor_id : GenuineIntel\nflags : vmx\n",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n",
    "etc/default/grub": '# a comment\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="quiet iommu=soft"\n',
}


class Tree:
    def __init__(self, root):
        self.root = root
        for name, text in TREE.items():
            self.put(name, text)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, name):
        path = self.root / name
        return path.read_text() if path.exists() else None

    def run(self, noun, *, test=False, **fields):
        world = World("qemu:///system", kernel=Kernel(str(self.root)))
        return engine.run(world, noun, "x", fields, engine.Mode(test=test))

    def converge(self, noun, **fields):
        """Dry, for real and again; return the outcome of the real run."""
        dry = self.run(noun, test=True, **fields)
        real = self.run(noun, **fields)
        assert real.failure is None, real
        assert dry.changes == real.changes
        for test in (True, False):
            assert self.run(noun, test=test, **fields).changes == {}
        return real


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(daemons, "DUE", tmp_path / "due")
    monkeypatch.setattr(history, "FOLDER", str(tmp_path / "history"))
    return Tree(tmp_path / "root")


def test_memory_is_told_now_and_at_each_boot(tree):
    told = tree.converge("kernel", hugepages={"2MiB": 16}, ksm={"run": True, "sleep_millisecs": 50})
    assert told.changes[f"{tree.root}/{SMALL}"] == {"old": "0", "new": "16"}
    assert tree.text(SMALL) == "16"
    assert tree.text("sys/kernel/mm/ksm/run") == "1"
    assert tree.text("sys/kernel/mm/ksm/sleep_millisecs") == "50"
    boot = tree.text("etc/tmpfiles.d/salt-kvm.conf").splitlines()[1:]
    assert boot == [
        f"w /{SMALL} - - - - 16",
        "w /sys/kernel/mm/ksm/run - - - - 1",
        "w /sys/kernel/mm/ksm/sleep_millisecs - - - - 50",
    ]


def test_of_a_choice_the_one_in_brackets_counts(tree):
    assert tree.run("kernel", test=True, transparent_hugepages="madvise").changes.keys() == {
        f"{tree.root}/etc/tmpfiles.d/salt-kvm.conf"
    }
    changes = tree.run("kernel", test=True, transparent_hugepages="never").changes
    assert changes[f"{tree.root}/{HUGE}"] == {"old": "madvise", "new": "never"}


def test_a_bridge_that_is_not_there_yet_is_told_when_its_module_comes(tree):
    tree.converge("kernel", bridge_netfilter=False)
    text = "".join(
        f"net/bridge/bridge-nf-call-{name} = 0\n" for name in ("iptables", "ip6tables", "arptables")
    )
    assert tree.text("etc/sysctl.d/60-salt-kvm.conf").endswith(text)
    tree.put(BRIDGE, "1\n")
    assert tree.converge("kernel", bridge_netfilter=False).changes == {
        f"{tree.root}/{BRIDGE}": {"old": "1", "new": "0"}
    }
    # Nothing declared any more: no boot is told of it.
    tree.converge("kernel")
    assert tree.text("etc/sysctl.d/60-salt-kvm.conf") is None


def test_what_this_kernel_has_not_is_named_before_the_first_change(tree):
    with pytest.raises(UnmetError, match="hugepages-1048576kB"):
        tree.run("kernel", hugepages={"2MiB": 1, "1GiB": 1})
    assert tree.text(SMALL) == "0\n"
    assert tree.text("etc/tmpfiles.d/salt-kvm.conf") is None


def arguments(tree, *more, **fields):
    loader = {"file": f"{tree.root}/etc/default/grub"}
    loader["apply"] = ["sh", "-c", f"echo ARGUMENTS >>{tree.root}/applied"]
    return {"arguments": list(more), **loader, **fields}


def test_arguments_of_one_name_stay_together_in_their_order(tree):
    several = ["console=tty0", "console=ttyS0,115200", "hugepagesz=1G", "hugepages=4"]
    several += ["hugepagesz=2M", "hugepages=9"]
    tree.put("etc/default/grub", 'GRUB_CMDLINE_LINUX="a console=ttyS0,115200 b hugepages=1"\n')
    tree.converge("kernel_arguments", **arguments(tree, *several))
    said = f'GRUB_CMDLINE_LINUX="a {" ".join(several)} b"\n'
    assert tree.text("etc/default/grub") == said


def test_none_of_several_arguments_of_one_name_is_lost(tree):
    several = "rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap iommu=soft iommu=off"
    tree.put("etc/default/grub", f'GRUB_CMDLINE_LINUX="{several} a=1"\n')
    tree.converge("kernel_arguments", **arguments(tree, "rd.lvm.lv=rhel/data", "iommu=pt", "a=2"))
    said = f'GRUB_CMDLINE_LINUX="{several} a=2 rd.lvm.lv=rhel/data iommu=pt"\n'
    assert tree.text("etc/default/grub") == said


def test_the_file_of_debian_s_boot_loader_is_a_shell_script(tree):
    first = "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
    tree.put("etc/default/grub", f'{first}GRUB_CMDLINE_LINUX=""\n')
    tree.converge("kernel_arguments", **arguments(tree, iommu=True))
    said = f'{first}GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"\n'
    assert tree.text("etc/default/grub") == said


def test_the_boot_loader_is_told_and_every_run_says_what_waits_for_the_boot(tree):
    fields = arguments(tree, "quiet", "hugepages=4", iommu=True)
    told = tree.converge("kernel_arguments", **fields)
    assert tree.text("etc/default/grub") == (
        "# a comment\nGRUB_TIMEOUT=5\n"
        'GRUB_CMDLINE_LINUX="quiet iommu=pt intel_iommu=on hugepages=4"\n'
    )
    assert tree.text("applied") == "intel_iommu=on iommu=pt quiet hugepages=4\n"
    for said in (told, *(tree.run("kernel_arguments", test=t, **fields) for t in (True, False))):
        assert "Waits for the host's next boot: /proc/cmdline None" in said.comment
        assert "'intel_iommu=on'" in said.comment
        assert "'quiet'" not in said.comment
    tree.put("proc/cmdline", "root=/dev/sda1 quiet intel_iommu=on iommu=pt hugepages=4\n")
    assert tree.run("kernel_arguments", **fields).comment == "As declared."


def test_a_boot_loader_that_fails_gets_its_file_back(tree):
    before = tree.text("etc/default/grub")
    fields = arguments(tree, iommu=True, apply=["sh", "-c", "echo no room >&2; exit 1"])
    told = tree.run("kernel_arguments", **fields)
    assert "no room" in told.failure
    assert tree.text("etc/default/grub") == before


def test_a_killed_run_leaves_the_boot_loader_to_the_next(tree):
    fields = arguments(tree, iommu=True)
    tree.run("kernel_arguments", **{**fields, "apply": []})
    assert tree.text("applied") is None
    tree.converge("kernel_arguments", **fields)
    assert tree.text("applied") == "intel_iommu=on iommu=pt\n"


def test_a_host_with_another_boot_loader_is_told_what_to_do(tree):
    (tree.root / "etc/default/grub").unlink()
    fields = arguments(tree, iommu=True)
    with pytest.raises(UnmetError, match="the arguments intel_iommu=on iommu=pt"):
        tree.run("kernel_arguments", **fields)
    tree.put("proc/cmdline", "intel_iommu=on iommu=pt\n")
    assert tree.run("kernel_arguments", **fields).comment == "As declared."


def test_an_unknown_cpu_is_named(tree):
    tree.put("proc/cpuinfo", "processor : 0\n")
    with pytest.raises(UnmetError, match="kernel_arguments"):
        tree.run("kernel_arguments", **arguments(tree, iommu=True))
