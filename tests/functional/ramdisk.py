"""What guests of tests boot from: an initramfs with a kernel's modules."""

import gzip
import shutil
import subprocess
from pathlib import Path

GUEST = Path(__file__).parents[2] / ".cache" / "guest"
# Of a script /init: opens the power button, so that no press is lost from then on, and defines what
# waits for one.
BUTTON = """\
button=$(grep -l "Power Button" /sys/class/input/event*/device/name | head -n 1)
button=${button%/device/name}
exec 3</dev/input/${button##*/}
pressed() { dd bs=24 count=1 <&3 >/dev/null 2>/dev/null; }
"""


def initramfs(root, init, modules):
    """Return an initramfs of busybox, a script ``/init`` and, in their order, kernel modules."""
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    for number, name in enumerate(modules):
        for module in (GUEST / "modules").rglob(f"{name}.ko"):
            shutil.copy(module, root / "modules" / f"{number:02}-{name}.ko")
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    files = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        cwd=root,
        input=files.encode(),
        capture_output=True,
        check=True,
    )
    return gzip.compress(archive.stdout, 1)
