"""Compiles requirements.lock from pyproject.toml: one file with hashes, in sections that name no registry.

    # ==== default ====         what every set-up installs: the project and its tests
    # ==== extra: gpu ====      what this extra adds

For each stack (`bootstrap.STACKS`) everything is resolved together first, so all extras are compatible; each
section is then resolved again under those versions. The markers of a pin name its stack. Run by
`make lock`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bert_pipeline.setup import bootstrap, setup_uv

_HEADER = """\
# Compiled from pyproject.toml by `make lock`; do not edit. Installed by `make setup`.
"""
# A pin with its hashes: "name==version ; marker \\" and indented lines.
_ENTRY = re.compile(r"^(?P<name>[a-z0-9][^=\s]*)==.*(?:\n[ ]+.*)*", re.MULTILINE)


def main() -> int:
    """Writes requirements.lock; `--upgrade` ignores its current versions."""
    root = Path(__file__).resolve().parents[2]
    lock = root / bootstrap.LOCK_FILE
    uv = setup_uv.find_uv(root)
    pins = lock.read_text(encoding="utf-8") if lock.is_file() and "--upgrade" not in sys.argv else ""
    default: list[str] = []
    sections: dict[str, list[str]] = {extra: [] for extra in bootstrap.EXTRAS}
    for stack in bootstrap.STACKS:
        compiler = _Compiler(root, uv=uv, stack=stack)
        everything = compiler.compile(("test", *bootstrap.EXTRAS), preferred=of_stack(pins, stack))
        default.append(compiler.compile(("test",), preferred=everything))
        for extra, texts in sections.items():
            texts.append(compiler.compile(("test", extra), preferred=everything))
    lock.write_text(lock_text(default, sections), encoding="utf-8")
    lock_airflow(root, uv=uv)
    for stack, text in zip(bootstrap.STACKS, default, strict=True):
        print(f"{lock.name}: {len(entries(text))} packages in the default set-up of {stack}")
    return 0


def lock_airflow(root: Path, *, uv: Path) -> None:
    """Writes the lock of Airflow's environment; `--upgrade` forgets the versions that it holds now."""
    print("resolving for Airflow", flush=True)
    place = root / "bert_pipeline/places/airflow"
    lock = place / "requirements.lock"
    with tempfile.TemporaryDirectory() as folder:  # elsewhere, uv would keep to the stacks of pyproject.toml
        output = Path(folder) / lock.name
        if lock.is_file() and "--upgrade" not in sys.argv:
            output.write_text(lock.read_text(encoding="utf-8"), encoding="utf-8")
        command = [str(uv), "pip", "compile", str(place / "requirements.in"), "--quiet", "--universal"]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--output-file", output.name]
        command += ["--python-version", bootstrap.STACKS[-1].pythons[-1]]
        subprocess.run(command, cwd=folder, env=setup_uv.uv_environment(root), check=True)
        pins = "\n".join(entries(output.read_text(encoding="utf-8")))
    header = "# Compiled from requirements.in by `make lock`; do not edit. Installed by `make airflow`.\n"
    lock.write_text(f"{header}{pins}\n", encoding="utf-8")


def lock_text(default: list[str], extras: dict[str, list[str]]) -> str:
    """Builds the lock file from compiled requirements per stack, of the default set-up and of it plus each extra.

    An extra's section has the entries that the default lacks, or has for fewer platforms.
    """
    common = [entry for text in default for entry in entries(text)]
    parts = [_HEADER, bootstrap.section_line("default"), *sorted(common, key=_name)]
    for extra, texts in extras.items():
        parts.append(bootstrap.section_line("extra: " + extra))
        added = [entry for text in texts for entry in entries(text) if entry not in common]
        parts.extend(sorted(added, key=_name))
    return "".join(part.rstrip("\n") + "\n" for part in parts)


def entries(text: str) -> list[str]:
    """The pins of a compiled requirements file with their hashes; a package has several if its markers differ."""
    return [match[0].rstrip("\n") for match in _ENTRY.finditer(text)]


def of_stack(text: str, stack: bootstrap.Stack) -> str:
    """The pins of one stack."""
    return "".join(entry + "\n" for entry in entries(text) if bootstrap.stack_of(entry) == stack)


def _name(entry: str) -> str:
    return entry.split("==")[0]


class _Compiler:
    """Resolves sets of extras of pyproject.toml for one stack.

    Each stack is resolved alone: together, uv chooses one version for both if possible, which would limit the newest
    stack to what the oldest one allows.
    """

    def __init__(self, root: Path, *, uv: Path, stack: bootstrap.Stack) -> None:
        self._uv = uv
        self._stack = stack
        self._environment = setup_uv.uv_environment(root)
        self._project = project_of_stack((root / "pyproject.toml").read_text(encoding="utf-8"), stack)

    def compile(self, extras: tuple[str, ...], *, preferred: str) -> str:
        """Requirements with hashes for the project with `extras`; prefers the versions in `preferred`."""
        print(f"resolving for {self._stack}: {', '.join(extras)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "pyproject.toml").write_text(self._project, encoding="utf-8")
            output = Path(folder) / "requirements.txt"
            if preferred:  # uv keeps the versions of an existing output file
                output.write_text(preferred, encoding="utf-8")
            command = [str(self._uv), "pip", "compile", "pyproject.toml", "--quiet", "--universal"]
            command += ["--generate-hashes", "--no-annotate", "--no-header", "--output-file", output.name]
            # The oldest of all stacks: uv omits markers that this implies.
            command += ["--python-version", bootstrap.STACKS[-1].pythons[-1]]
            command += [f"--extra={extra}" for extra in extras]
            subprocess.run(command, cwd=folder, env=self._environment, check=True)
            return shorten(output.read_text(encoding="utf-8"), self._stack)


def shorten(text: str, stack: bootstrap.Stack) -> str:
    """Replaces the list of all environments in compiled requirements by the stack's marker.

    Every unconditional pin, such as TFX's, has that list: three hundred times 250 characters.
    """
    whole = re.search(r"^tfx==\S+ ; (.*) \\$", text, flags=re.MULTILINE)
    return text.replace(f"; {whole[1]} \\", f"; {stack.marker} \\") if whole else text


def project_of_stack(text: str, stack: bootstrap.Stack) -> str:
    """pyproject.toml with the environments of only one stack.

    Raises:
        ValueError: no environment begins with the stack's marker.
    """
    others = [other.marker for other in bootstrap.STACKS if other != stack]
    lines = [
        line for line in text.splitlines() if not line.startswith(tuple(f'  "{marker}' for marker in others))
    ]
    if not any(line.startswith(f'  "{stack.marker}') for line in lines):
        raise ValueError(f"tool.uv.environments in pyproject.toml has none that begins with {stack.marker}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
