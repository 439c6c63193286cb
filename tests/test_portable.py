"""No Linux-only assumption that reading the sources can find: both stacks run on macOS too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("bert_pipeline", "modules", "serving", "notebooks", "tests")
# What Python has on Linux and not on macOS, after typeshed's `sys.platform != "darwin"`; and fork, which neither
# TensorFlow nor macOS' own libraries survive.
LINUX_ONLY = {
    "os": """sched_getaffinity sched_setaffinity sched_getparam sched_setscheduler getresuid setresuid getresgid
        setresgid posix_fadvise posix_fallocate memfd_create eventfd pidfd_open getxattr setxattr listxattr removexattr
        getrandom copy_file_range splice unshare setns fdatasync pipe2 sendfile fork forkpty O_DIRECT O_TMPFILE O_PATH
        O_NOATIME RTLD_DEEPBIND""",
    "signal": "sigwaitinfo sigtimedwait SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT SIGPOLL pidfd_send_signal",
    "select": "epoll EPOLLIN EPOLLOUT",
    "socket": """AF_NETLINK AF_PACKET AF_VSOCK SO_BINDTODEVICE SO_PEERCRED SO_INCOMING_CPU SOCK_CLOEXEC SOCK_NONBLOCK
        TCP_QUICKACK TCP_USER_TIMEOUT TCP_DEFER_ACCEPT""",
    "time": "CLOCK_BOOTTIME CLOCK_TAI CLOCK_MONOTONIC_COARSE",
    "resource": "prlimit RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_SIGPENDING RLIMIT_MSGQUEUE",
    "fcntl": "F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_OFD_SETLK",
}
NAMES = {f"{module}.{name}" for module, names in LINUX_ONLY.items() for name in names.split()}
PATHS = ("/proc/", "/sys/", "/dev/shm", "/etc/os-release", "/run/")
COMMANDS = {
    "unshare",
    "chroot",
    "nproc",
    "free",
    "taskset",
    "prlimit",
    "setsid",
    "sha256sum",
    "systemctl",
    "ss",
    "ip",
}
_LINUX_ERRNO = re.compile(r"\[Errno (3[5-9]|[4-9]\d|1\d\d)\]")  # from 35 on, macOS has other numbers
GUARDS = {
    "hasattr",
    "getattr",
    "exists",
    "is_file",
    "is_dir",
    "which",
    "platform",
    "system",
    "skipif",
    "skip",
}
# Files whose business a Linux machine is.
EXCEPTIONS = {
    "bert_pipeline/running/warm.py": "refuses macOS; its forked children begin before TensorFlow has run anything",
    "tests/bert_pipeline/places/airflows.py": "the processes of a test's Airflow are looked for on Linux",
    "tests/benchmarks/load/usage.py": "the server under load is measured on Linux",
    "tests/bert_pipeline/past.py": "its forked child, killed at a write, runs no TensorFlow",
    "tests/bert_pipeline/settings/test_unwritable.py": "where there is no /proc, / cannot be written either",
    "tests/mutate.py": "its forked children run numpy and pytest, no TensorFlow",
    "tests/test_portable.py": "names them",
}


def linux_only(source: str) -> list[str]:
    """What of a source only Linux has, where nothing around it looks first; `line: what`."""
    tree = ast.parse(source)
    return [f"{node.lineno}: {what}" for node, what, around in _uses(tree, []) if not _is_guarded(around)]


def _uses(node: ast.AST, around: list[ast.AST]) -> Iterator[tuple[ast.expr, str, list[ast.AST]]]:
    if isinstance(node, ast.Attribute):
        if (name := ast.unparse(node)) in NAMES:
            yield node, name, around
        elif node.attr == "ru_maxrss":
            yield node, "ru_maxrss (KiB on Linux, bytes on macOS)", around
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if node.value.startswith(PATHS) or _LINUX_ERRNO.search(node.value):
            yield node, node.value, around
    elif isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant):
        if node.elts[0].value in COMMANDS and isinstance(around[-1], (ast.Call, ast.Assign)):
            yield node, f"command {node.elts[0].value}", around
    elif isinstance(node, ast.Call) and _starts_by_fork(node):
        yield node, "start method fork", around
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, [*around, node])


def _starts_by_fork(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    words = [word.value for word in call.args if isinstance(word, ast.Constant)]
    return name in ("get_context", "set_start_method") and words in (["fork"], ["forkserver"])


def _is_guarded(around: list[ast.AST]) -> bool:
    """Whether it is tried, or the statement or function around it asks whether it is there."""
    if any(isinstance(node, ast.Try) and node.handlers for node in around):
        return True
    functions = [n for n in around if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in functions[-1:] or around[1:2]:
        for inner in ast.walk(node):
            name = inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", "")
            if name in GUARDS:
                return True
    return False


FILES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_what_only_linux_has_is_asked_for_before_it_is_used(file: str) -> None:
    found = linux_only((ROOT / file).read_text(encoding="utf-8"))
    assert found == [] or file in EXCEPTIONS, (
        f"{file}: {found}; ask first (hasattr, exists, try), or do without"
    )


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("n = len(os.sched_getaffinity(0))", ["1: os.sched_getaffinity"]),
        ("def f():\n    return open('/proc/cpuinfo').read()", ["2: /proc/cpuinfo"]),
        ("subprocess.run(['nproc'])", ["1: command nproc"]),
        ("multiprocessing.get_context('fork')", ["1: start method fork"]),
        ("mb = usage.ru_maxrss // 1024", ["1: ru_maxrss (KiB on Linux, bytes on macOS)"]),
        ("assert '[Errno 111] refused' in text", ["1: [Errno 111] refused"]),
        ("assert '[Errno 28] No space left' in text", []),
        ("n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1", []),
        ("def f(path=Path('/proc/cpuinfo')):\n    return path.exists() and path.read_text()", []),
        ("try:\n    os.posix_fadvise(f, 0, 0, 0)\nexcept AttributeError:\n    pass", []),
        ("text = 'see /proc/cpuinfo'", []),
    ],
)
def test_what_is_found(source: str, found: list[str]) -> None:
    assert linux_only(source) == found


def test_each_exception_is_still_one() -> None:
    assert [file for file in EXCEPTIONS if not linux_only((ROOT / file).read_text(encoding="utf-8"))] == []
