"""Compiles requirements.lock from pyproject.toml: one file with hashes, in sections that name no registry.

    # ==== default ====         what every set-up installs: the project and its tests
    # ==== extra: kfp ====      what this extra adds

Everything is resolved together first, so that any extra fits any other; each section is then resolved again
under those versions. Run by `make lock`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bert_pipeline import bootstrap

_HEADER = """\
# Compiled from pyproject.toml by `make lock`; do not edit. Installed by `make setup`.
"""
# A pin with its hashes: "name==version ; marker \\" and indented lines.
_ENTRY = re.compile(r"^(?P<name>[a-z0-9][^=\s]*)==.*(?:\n[ ]+.*)*", re.MULTILINE)


def main() -> int:
    """Writes requirements.lock; `--upgrade` forgets the versions that it holds now."""
    root = Path(__file__).resolve().parent.parent
    lock = root / bootstrap.LOCK_FILE
    compiler = _Compiler(root, uv=bootstrap.find_uv(root))
    pins = lock.read_text(encoding="utf-8") if lock.is_file() and "--upgrade" not in sys.argv else ""
    everything = compiler.compile(("test", *bootstrap.EXTRAS), preferred=pins)
    sections = {extra: compiler.compile(("test", extra), preferred=everything) for extra in bootstrap.EXTRAS}
    default = compiler.compile(("test",), preferred=everything)
    lock.write_text(lock_text(default, sections), encoding="utf-8")
    print(f"{lock.name}: {len(entries(everything))} packages, {len(entries(default))} in the default set-up")
    return 0


def lock_text(default: str, extras: dict[str, str]) -> str:
    """The lock file from the compiled requirements of the default set-up and of it with one extra.

    An extra's section holds the entries that the default has not, or has for fewer platforms.
    """
    common = entries(default)
    parts = [_HEADER, bootstrap.section_line("default"), *common.values()]
    for extra, text in extras.items():
        parts.append(bootstrap.section_line("extra: " + extra))
        parts.extend(entry for name, entry in entries(text).items() if common.get(name) != entry)
    return "".join(part.rstrip("\n") + "\n" for part in parts)


def entries(text: str) -> dict[str, str]:
    """The pins of a compiled requirements file by package name, in the order of the file."""
    return {match["name"]: match[0] for match in _ENTRY.finditer(text)}


class _Compiler:
    """Resolves sets of extras of one pyproject.toml."""

    def __init__(self, root: Path, *, uv: Path) -> None:
        self._root = root
        self._uv = uv
        self._environment = bootstrap.uv_environment(root)
        version = bootstrap.python_version(root)
        self._python = bootstrap.find_python(root, uv=uv, version=version, environment=self._environment)

    def compile(self, extras: tuple[str, ...], *, preferred: str) -> str:
        """Requirements with hashes for the project with `extras`; keeps to the versions in `preferred`."""
        print(f"resolving: {', '.join(extras)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "requirements.txt"
            if preferred:  # uv keeps to the versions of an output file that is already there
                output.write_text(preferred, encoding="utf-8")
            command = [str(self._uv), "pip", "compile", "pyproject.toml", "--quiet", "--universal"]
            command += ["--generate-hashes", "--no-annotate", "--no-header", "--python", str(self._python)]
            command += [
                "--python-version",
                bootstrap.python_version(self._root),
                "--output-file",
                str(output),
            ]
            command += [f"--extra={extra}" for extra in extras]
            subprocess.run(command, cwd=self._root, env=self._environment, check=True)
            return output.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
