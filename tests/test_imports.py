"""Who may import what: the table of the design, held by reading the imports."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STANDARD = sys.stdlib_module_names
TENSORFLOW_STACK = {
    "absl",
    "annotated_types",  # of pydantic, which TFX brings
    "apache_beam",
    "google",  # protobuf
    "ml_metadata",
    "numpy",
    "pyarrow",
    "tensorflow",
    "tensorflow_data_validation",
    "tensorflow_hub",
    "tensorflow_metadata",
    "tensorflow_model_analysis",
    "tensorflow_text",
    "tensorflow_transform",
    "tf_keras",
    "tfx",
    "tfx_bsl",
}
MODULES = {path.stem for path in (ROOT / "modules").glob("*.py")}
# The rooms of a package, ground first: a room imports itself and those before it. `.py`: a file at the top.
ORDER: dict[str, tuple[str, ...]] = {}
ORDER["bert_pipeline"] = (
    "settings",
    "encoders",
    "judging",
    "data",
    "metrics.py",
    "evaluation",
    "metadata",
    "serving_folder",
    "components",
    "pipeline.py",
    "history",
    "report",
    "running",
    "monitoring",
    "settings_map",
    "new_task",
    "setup",
    "places",
    "verbs",
    "__main__.py",
)
ORDER["serving/model_server"] = (
    "errors.py",
    "process.py",
    "config",
    "batching",
    "models",
    "api.py",
    "observe",
    "rest",
    "grpc_service.py",
    "assembly.py",
    "server.py",
    "__main__.py",
)
# What one file or folder of bert_pipeline/ may import beyond the rest of it.
EXCEPTIONS = {
    "bert_pipeline/settings/config.py": {
        "pydantic",
        "tomllib",
        "tomli",
    },  # tomli stands in before Python 3.11
    "bert_pipeline/encoders/hf_files.py": {"safetensors"},
    "bert_pipeline/judging/intervals.py": {"scipy"},
    "bert_pipeline/judging/means.py": {"scipy"},
    "bert_pipeline/judging/measures.py": {"scipy"},
    "bert_pipeline/judging/power.py": {"scipy"},
    "bert_pipeline/monitoring/verdict.py": {"scipy"},
    "bert_pipeline/setup/doctor.py": {"packaging"},
    "bert_pipeline/data/cut_spans.py": {"pandas"},
    "bert_pipeline/data/drift_chance.py": {"scipy"},
    "bert_pipeline/monitoring/late_labels.py": {"pandas"},
    "bert_pipeline/monitoring/report.py": {"prometheus_client"},
    "bert_pipeline/places/airflow/dag.py": {"airflow"},
    "bert_pipeline/new_task/sources.py": {"huggingface_hub"},
    "bert_pipeline/new_task/tables.py": {"charset_normalizer"},
    "bert_pipeline/report/card.py": {"jinja2"},
    "bert_pipeline/report/page.py": {"jinja2"},
    "bert_pipeline/report/plots.py": {"matplotlib"},
    "bert_pipeline/report/tensorboard.py": {"tensorboard"},
    "bert_pipeline/data/text_features.py": {"bert_text"},  # counts what the task's own tokenizer makes
    "bert_pipeline/running/skew_sides.py": {
        "bert_model"
    },  # rebuilds the Trainer's model to compare it with the export
}
# Run before anything is installed; the first imports the second.
SET_UP = ("bootstrap", "setup_uv")
# The web framework, gRPC and the API of TensorFlow Serving.
SERVING = {"aiohttp", "google", "grpc", "grpc_health", "prometheus_client", "tensorflow_serving"}
SERVER_ONLY = {"numpy", "orjson", "tensorflow", "tensorflow_text"}


def python_files(folder: str) -> list[str]:
    """Paths of a folder's Python files, relative to the project."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The first name of every import; "." for a relative one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module).split(".")[0]


def foreign(source: str, allowed: set[str]) -> set[str]:
    """What a source imports beyond the standard library and `allowed`."""
    return set(imported(ast.parse(source))) - STANDARD - allowed


def notebook_code(path: Path) -> str:
    """The code cells of a notebook as one source; lines of shell and magic left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for c in cells if c["cell_type"] == "code" for line in "".join(c["source"]).splitlines()]
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


def inner_imports(source: str) -> list[int]:
    """Lines of the imports inside functions."""
    functions = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    imports = (ast.Import, ast.ImportFrom)
    return sorted({n.lineno for f in functions for n in ast.walk(f) if isinstance(n, imports)})


@pytest.mark.parametrize("path", python_files("modules"))
def test_user_modules_import_the_tensorflow_stack_and_flat_siblings_only(path: str) -> None:
    assert foreign((ROOT / path).read_text(encoding="utf-8"), TENSORFLOW_STACK | MODULES) == set()


@pytest.mark.parametrize("path", python_files("modules"))
def test_user_modules_import_nothing_inside_functions(path: str) -> None:
    """TFX restores sys.path after loading: such an import finds no sibling."""
    assert inner_imports((ROOT / path).read_text(encoding="utf-8")) == []


def test_the_settings_of_workers_need_the_standard_library_and_annotated_types_only() -> None:
    assert foreign((ROOT / "modules/bert_task.py").read_text(encoding="utf-8"), {"annotated_types"}) == set()


def test_user_modules_lie_flat_with_names_of_their_own() -> None:
    """TFX packages *.py beside the module file and drops everything else without a word."""
    entries = {path.name for path in (ROOT / "modules").iterdir()} - {"__pycache__", "README.md"}
    assert [name for name in entries if not (name.startswith("bert_") and name.endswith(".py"))] == []


@pytest.mark.parametrize("path", python_files("bert_pipeline"))
def test_the_graph_imports_the_settings_but_not_the_user_modules(path: str) -> None:
    own = {"bert_pipeline", "bert_task", "datasets", "grpc", "tensorflow_serving"}
    allowed = TENSORFLOW_STACK | own | EXCEPTIONS.get(path, set())
    assert foreign((ROOT / path).read_text(encoding="utf-8"), allowed) == set()


def room_of(module: str, *, package: str) -> str:
    """The room of a module, by its dotted name below a package."""
    first = module.split(".")[0]
    return first if (ROOT / package / first).is_dir() else f"{first}.py"


def rooms_imported(source: str, *, package: str) -> set[str]:
    """The rooms of a package that a source imports, inside its functions too."""
    dotted = package.replace("/", ".")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{dotted}."):
            below = str(node.module).removeprefix(dotted).removeprefix(".")
            found |= {below} if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {n.removeprefix(f"{dotted}.") for n in names if n.startswith(f"{dotted}.")}
    return {room_of(module, package=package) for module in found}


FILES_OF_ROOMS = [
    (package, path) for package in ORDER for path in python_files(package) if not path.endswith("__init__.py")
]


@pytest.mark.parametrize("package", ORDER)
def test_the_order_of_the_rooms_names_each_one(package: str) -> None:
    rooms = {path.parent.name for path in (ROOT / package).glob("*/*.py")}
    files = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
    assert set(ORDER[package]) == rooms | files, f"the order, ground first: {' < '.join(ORDER[package])}"


@pytest.mark.parametrize(("package", "path"), FILES_OF_ROOMS)
def test_a_room_imports_itself_and_those_before_it(package: str, path: str) -> None:
    order = ORDER[package]
    own = room_of(".".join(Path(path).relative_to(package).with_suffix("").parts), package=package)
    after = set(order[order.index(own) + 1 :])
    wrong = rooms_imported((ROOT / path).read_text(encoding="utf-8"), package=package) & after
    assert not wrong, f"{own} comes before {sorted(wrong)} in the order: {' < '.join(order)}"


def test_datasets_is_imported_by_one_file_at_most() -> None:
    files = python_files("bert_pipeline")
    users = [
        path for path in files if "datasets" in imported(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert len(users) <= 1, users


def test_the_set_up_imports_the_standard_library_only() -> None:
    sources = {name: (ROOT / f"bert_pipeline/setup/{name}.py").read_text(encoding="utf-8") for name in SET_UP}
    assert {name: foreign(source, set()) for name, source in sources.items()} == {
        "bootstrap": {"bert_pipeline"},
        "setup_uv": set(),
    }
    assert set(re.findall(r"bert_pipeline(?:\.| import )(\w+)", sources["bootstrap"])) == {"setup"}


def test_the_file_that_airflow_reads_imports_airflow_only() -> None:
    source = (ROOT / "bert_pipeline/places/airflow/dag.py").read_text(encoding="utf-8")
    assert foreign(source, {"airflow"}) == set()
    assert inner_imports(source) == []


@pytest.mark.parametrize("path", python_files("serving"))
def test_serving_stands_alone(path: str) -> None:
    server = SERVER_ONLY if path.startswith("serving/model_server/") else set()
    assert foreign((ROOT / path).read_text(encoding="utf-8"), SERVING | server | {"serving"}) == set()


def test_notebooks_import_the_graph_the_viewers_and_the_client() -> None:
    viewers = {"IPython", "pandas", "matplotlib", "tensorflow_data_validation", "serving", "bert_pipeline"}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        source = notebook_code(path)
        assert foreign(source, TENSORFLOW_STACK | viewers) == set(), path.name
        assert "serving.model_server" not in source, path.name


def test_reading_rooms_finds_imports_of_every_form() -> None:
    source = "from bert_pipeline import pipeline\nimport bert_pipeline.data.spans\n"
    source += "def f():\n    from bert_pipeline.running.run import g\n"
    assert rooms_imported(source, package="bert_pipeline") == {"pipeline.py", "data", "running"}


def test_reading_imports_finds_every_kind() -> None:
    source = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h\n"
    assert foreign(source, {"c"}) == {"a", ".", "h"}
    assert inner_imports(source) == [5]
