"""The shape of the project: settings that are read, files and functions of a readable length, no foreign paths."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from bert_pipeline.settings import sections

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def python_files(*folders: str) -> list[Path]:
    """Python files below folders of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


SOURCES = python_files("bert_pipeline", "modules", "serving")
ALL_SOURCES = [*SOURCES, *python_files("data", "notebooks", "tests")]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
LONG_FUNCTIONS = {("bert_pipeline/pipeline.py", "task_components")}  # the graph is read in one piece

SECTIONS = [cls for name, cls in vars(sections).items() if name.endswith("Config")]
FIELDS = [(cls.__name__, field.name) for cls in SECTIONS for field in dataclasses.fields(cls)]
READ_WHILE_LOADING = {("DataConfig", "path")}  # config.py makes it absolute, or puts DATA= in its place
# The files that load and check settings, which is not reading them.
LOADERS = {
    "bert_task.py",
    "sections.py",
    "config.py",
    "checks.py",
}


def relative(path: Path) -> str:
    """Path as it stands in the repository."""
    return str(path.relative_to(ROOT))


def attributes_read(source: str) -> set[tuple[str, str]]:
    """Pairs (owner, attribute) of what a source reads: `self.task.data.path` gives ("data", "path")."""
    pairs: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            pairs.add((name.lstrip("_"), node.attr))
    return pairs


def function_lengths(source: str) -> dict[str, int]:
    """Lines of each function, its decorators left out."""
    functions = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {n.name: (n.end_lineno or n.lineno) - n.lineno + 1 for n in functions}


def owners(section: str) -> set[str]:
    """Names under which code holds a section: `TrainingConfig` is training or config."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", section.removesuffix("Config")).lower()
    return {name, f"{name}_config", "config", "task_config", "rule" if name == "weak_label" else name}


READ = set().union(
    *(attributes_read(p.read_text(encoding="utf-8")) for p in SOURCES if p.name not in LOADERS)
)


@pytest.mark.parametrize(("section", "field"), [f for f in FIELDS if f not in READ_WHILE_LOADING])
def test_every_setting_is_read(section: str, field: str) -> None:
    """A key that nobody reads is a promise that nobody keeps."""
    assert any((owner, field) in READ for owner in owners(section))


@pytest.mark.parametrize("path", ALL_SOURCES, ids=relative)
def test_files_and_functions_are_of_a_readable_length(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    assert lines <= MAX_FILE_LINES, f"{lines} lines: split it"
    lengths = function_lengths(source)
    long = {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES}
    assert [name for name in long if (relative(path), name) not in LONG_FUNCTIONS] == [], long


@pytest.mark.parametrize("path", ALL_SOURCES, ids=relative)
def test_the_docstring_begins_with_the_files_one_job(path: Path) -> None:
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
    assert len(first) > 10


def test_setuptools_knows_every_user_module_by_its_flat_name() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert setuptools["py-modules"] == sorted(path.stem for path in (ROOT / "modules").glob("*.py"))
    packages = {relative(path.parent).replace("/", ".") for path in SOURCES if path.parent.name != "modules"}
    assert set(setuptools["packages"]) == packages


def test_the_root_holds_what_the_design_lists() -> None:
    allowed = {
        "bert_pipeline",
        "modules",
        "data",
        "serving",
        "tests",
        "notebooks",
        "findings",
        "Makefile",
        "pyproject.toml",
    }
    allowed |= {"README.md", "LICENSE", "CONTRIBUTING.md", "requirements.lock", "findings"}
    entries = {Path(name).parts[0] for name in committed_files()}
    assert {entry for entry in entries if not entry.startswith(".")} <= allowed


def committed_files() -> list[str]:
    """Files of the project that git tracks or would: nothing that .gitignore names."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


# Written in pieces, so that this file does not name what it looks for.
FOREIGN = [
    r"\bpypi" + r"\.(org|python)",
    r"python" + r"hosted\.org",
    r"(extra-)?index" + r"-url[ =]+\S*//",
    r"(?<![\w.])/" + r"(root|work)/\w",
    r"(?<![\w.])/" + r"(home|Users)/\w+/",
]


@pytest.mark.parametrize("pattern", FOREIGN)
def test_no_file_names_a_package_registry_or_a_path_of_somebodys_machine(pattern: str) -> None:
    found = []
    for name in committed_files():
        if Path(name).suffix not in {".csv", ".safetensors", ".parquet", ".png"}:
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {match[0]}" for match in re.finditer(pattern, text)]
    assert found == []


def test_reading_attributes_tells_the_owner_and_leaves_out_writing() -> None:
    source = "x = task.data.path\ny = self._training.seed\nconfig.epochs = 3"
    expected = {("task", "data"), ("data", "path"), ("self", "_training"), ("training", "seed")}
    assert attributes_read(source) == expected


def test_function_lengths_count_from_def_to_the_last_line() -> None:
    assert function_lengths("@d\ndef f():\n    a = 1\n    return a\n") == {"f": 3}
