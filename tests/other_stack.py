"""Runs `make test` on the stack that .venv does not have: `make test-other`; standard library only.

Where this machine can run both stacks, in a clone beside this one. Where it is too old for the newest, in a Debian 13
tree that debootstrap makes from this machine's own package mirror, which needs root. Only what is committed is tested.
Where neither works it says so and ends with 0: nothing was tested, and nothing else may depend on that.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bert_pipeline.setup import bootstrap

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = "trixie"  # 13: glibc 2.41, Python 3.13
PACKAGES = "ca-certificates,git,make,python3,python3-venv"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# What a set-up in the tree needs of this machine's environment to reach packages.
PASSED_ON = re.compile(r"(PIP|UV)_.*|(HTTPS?|NO)_PROXY|(https?|no)_proxy|CI")
# Inside a mount namespace of its own: when the command ends, however it ends, the mounts are gone.
ENTER = """\
set -e
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs tmpfs "$0/dev/shm"
exec chroot "$0" "$@"
"""


class NotHereError(Exception):
    """Why the other stack cannot be run on this machine."""


def main() -> int:
    """Runs the tests on the other stack; returns their exit status, or 0 where they cannot be run."""
    other = other_stack(bootstrap.read_record(ROOT).get("stack", ""))
    arguments = "ARGS=" + " ".join(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="other-stack-") as folder:
        try:
            if not bootstrap.what_lacks(other):
                return in_a_clone(Path(folder, "project"), other, arguments)
            return in_debian(Path(folder, "tree"), other, arguments)
        except NotHereError as error:
            line = f"{other} WAS NOT TESTED: {error}"
            print(f"{'!' * len(line)}\n{line}\n{'!' * len(line)}", flush=True)
            return 0


def other_stack(name: str) -> bootstrap.Stack:
    """The newest stack that is not called `name`."""
    return next(stack for stack in bootstrap.STACKS if stack.name != name)


def in_a_clone(project: Path, other: bootstrap.Stack, arguments: str) -> int:
    """Runs the tests in a clone on this machine."""
    _clone(project)
    environment = dict(os.environ, STACK=other.name)
    if subprocess.call(["make", "-C", str(project), "setup", f"STACK={other.name}"], env=environment) != 0:
        raise NotHereError(f"its set-up failed, see above; it needs a Python {' or '.join(other.pythons)}")
    return subprocess.call(["make", "-C", str(project), "test", arguments], env=environment)


def in_debian(tree: Path, other: bootstrap.Stack, arguments: str) -> int:
    """Runs the tests in a Debian tree made for it."""
    if os.geteuid() != 0:
        raise NotHereError(
            f"it needs {bootstrap.what_lacks(other)}; a Debian 13 tree can be made by root alone"
        )
    make_tree(tree)
    _clone(tree / "project")
    for file in ("etc/resolv.conf", "etc/hosts", CERTIFICATES):
        if Path("/", file).is_file():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", file), tree / file)
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    environment.pop("PIP_FIND_LINKS", None)  # a folder of this machine
    environment.update(HOME="/root", PATH="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG="C.UTF-8")
    environment.update(
        {name: f"/{CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ}
    )
    enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, str(tree)]
    if subprocess.call([*enter, "make", "-C", "/project", "setup"], env=environment) != 0:
        raise NotHereError("its set-up in the Debian 13 tree failed, see above")
    return subprocess.call([*enter, "make", "-C", "/project", "test", arguments], env=environment)


def make_tree(tree: Path) -> None:
    """Makes a Debian tree with debootstrap, from the mirror in apt's sources."""
    mirror = apt_mirror(Path("/etc/apt"))
    if not shutil.which("debootstrap"):
        print("test-other: installing debootstrap", flush=True)
        for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "debootstrap"]):
            if not shutil.which("apt-get") or subprocess.call(command, stdout=subprocess.DEVNULL) != 0:
                raise NotHereError("there is no debootstrap, and apt-get could not install it")
    print(f"test-other: making a Debian 13 tree in {tree}", flush=True)
    log = tree.with_suffix(".log")
    command = ["debootstrap", "--variant=minbase", "--include=" + PACKAGES, DEBIAN, str(tree), mirror]
    with open(log, "w", encoding="utf-8") as output:
        if subprocess.call(command, stdout=output, stderr=output) != 0:
            print(*log.read_text(encoding="utf-8").splitlines()[-5:], sep="\n")
            raise NotHereError("debootstrap failed, see above")


def apt_mirror(folder: Path) -> str:
    """The address of the first Debian mirror in apt's sources, of either form.

    Raises:
        NotHereError: there is none.
    """
    one_line = re.compile(r"^deb\s+(?:\[.*?\]\s+)?(https?://\S*debian\S*)", re.MULTILINE)
    deb822 = re.compile(r"^URIs:\s*(https?://\S*debian\S*)", re.MULTILINE)
    for path in sorted(glob.glob(f"{folder}/sources.list*") + glob.glob(f"{folder}/sources.list.d/*")):
        if os.path.isfile(path):
            text = Path(path).read_text(encoding="utf-8", errors="replace")
            found = [url for url in one_line.findall(text) + deb822.findall(text) if "security" not in url]
            if found:
                return str(found[0])
    raise NotHereError(f"apt's sources in {folder} name no Debian mirror to make a tree from")


def _clone(project: Path) -> None:
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(project)]
    if subprocess.call(command) != 0:
        raise NotHereError("git could not clone this folder")


if __name__ == "__main__":
    sys.exit(main())
