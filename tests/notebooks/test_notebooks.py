"""The notebooks: short, without logic and outputs of their own, and, where slow tests run, executed on the toy."""

from __future__ import annotations

import ast
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from tests.bert_pipeline.test_pipeline import Project
from tests.test_imports import notebook_code

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = ["build_the_pipeline", "explore_data", "inspect_run", "serve_and_predict"]
MAX_CELLS = 15
SHOWN = ("text/plain", "text/html", "text/markdown")
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def slow(test: Callable) -> Callable:
    """A training, or two runs of the graph, perhaps on a machine that does other things."""
    return pytest.mark.slow(pytest.mark.timeout(900)(test))


def test_there_are_four():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_short_valid_and_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MAX_CELLS
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_begins_with_what_one_learns_and_the_cell_for_colab(path):
    title, colab = nbformat.read(path, as_version=4).cells[:2]
    assert re.match(r"# \w.*\n\nWhat you learn: (.|\n)*\n\nWhat you need: ", title.source)
    assert colab.source.startswith("# In Colab: ")
    assert f"NAME={path.stem}" in colab.source
    assert "COLAB_RELEASE_TAG" not in os.environ
    exec(compile(colab.source, path.name, "exec"), {})  # elsewhere it does nothing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_in_colab_the_cell_starts_the_notebook_once_and_not_the_cell_again(path, tmp_path, monkeypatch):
    for name in ("git", "make"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho "{name} $* [$COLAB_RELEASE_TAG]" >> {tmp_path}/calls\n', "utf-8")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-1")
    monkeypatch.setenv("REPOSITORY", "there")
    with pytest.raises(SystemExit):
        exec(compile(nbformat.read(path, as_version=4).cells[1].source, path.name, "exec"), {})
    calls = (tmp_path / "calls").read_text("utf-8").splitlines()
    assert calls[0] == "git clone --quiet --depth 1 there project []"
    assert calls[-1] == f"make -C project notebooks NAME={path.stem} []"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_functions_and_no_classes(path):
    assert [type(n).__name__ for n in ast.walk(ast.parse(notebook_code(path))) if isinstance(n, LOGIC)] == []


def top_level_names(module: str) -> set[str] | None:
    """Names of a module or package of the project, by its source; None: it is no module."""
    path = FOLDER.parent / module.replace(".", "/")
    if path.is_dir():
        imported = ast.walk(ast.parse((path / "__init__.py").read_text("utf-8")))
        names = {alias.name for n in imported if isinstance(n, ast.ImportFrom) for alias in n.names}
        return names | {child.stem for child in path.iterdir()}
    if not path.with_suffix(".py").is_file():
        return None
    names = set()
    for node in ast.parse(path.with_suffix(".py").read_text("utf-8")).body:
        names |= {node.name} if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else set()
        names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def unknown_names(source: str) -> list[str]:
    """What a notebook takes from the project and is not defined there."""
    tree, modules, missing = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in (
            "bert_pipeline",
            "serving",
        ):
            known = top_level_names(node.module) or set()
            missing += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in known]
            modules |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            known = top_level_names(modules[node.value.id])
            if known is not None and node.attr not in known:
                missing.append(f"{modules[node.value.id]}.{node.attr}")
    return missing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_names_nothing_that_the_project_lacks(path):
    """A renamed function breaks a notebook at once, not when slow tests run."""
    assert unknown_names(notebook_code(path)) == []


def test_unknown_names_are_found_however_they_are_taken():
    source = "from bert_pipeline.history import lineage, gone\n"
    source += "from serving.client import Client, Lost\nlineage.find_modle()"
    missing = [
        "bert_pipeline.history.gone",
        "serving.client.Lost",
        "bert_pipeline.history.lineage.find_modle",
    ]
    assert unknown_names(source) == missing


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project with its notebooks."""
    project = Project(tmp_path_factory.mktemp("project"))
    shutil.copytree(FOLDER, project.folder / "notebooks")
    return project


@pytest.fixture(scope="module")
def two_runs(project: Project) -> Project:
    """The project after two runs of the toy, the second of which finds its model in the cache."""
    for arguments in ((), ("--set", "evaluation.coverage=false")):
        ended = project.run(*arguments)
        assert ended.status == 0, ended.text
    return project


def client_of(project: Project, name: str) -> NotebookClient:
    notebook = nbformat.read(project.folder / "notebooks" / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(project.folder / "notebooks")}}
    return NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where)


def environment(project: Project) -> dict[str, str]:
    """As somebody has it who opens a notebook in an editor: nothing but the kernel of .venv."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    texts = '["i love this sole", "my heel is poor"]'
    cache = str(project.folder / "cache")
    return {**kept, "TASK": "toy", "TEXTS": texts, "BERT_PIPELINE_CACHE": cache, "PIP_NO_INDEX": "1"}


def outputs(project: Project, name: str) -> str:
    """Executes a notebook; every text that it shows, one output after the other."""
    client = client_of(project, name)
    client.execute(env=environment(project))
    found = [output for cell in client.nb.cells for output in cell.get("outputs", [])]
    texts = [text for o in found for text in ([o.text] if "text" in o else map(o.data.get, SHOWN)) if text]
    assert "Traceback" not in "".join(texts)
    return "\n".join(texts)


@slow
def test_explore_data_shows_statistics_schema_and_anomalies(project):
    shown = outputs(project, "explore_data")
    assert re.search(r"label +train +148", shown)
    assert "'negative', 'positive'" in shown
    assert "No anomalies found" in shown
    assert "INFO" not in shown  # what libraries say is the log's
    assert re.search(r"label' +Unexpected string values", shown)
    assert "The data fits." in shown


@slow
def test_build_the_pipeline_runs_the_graph_apart_from_what_is_in_service(project):
    before = project.versions()
    shown = outputs(project, "build_the_pipeline")
    assert re.search(r"^all data +50 +[01]\.\d{3} +[01]\.\d{3}$", shown, re.MULTILINE)
    assert re.search(r"^blessed$", shown, re.MULTILINE)
    (pushed,) = set(re.findall(r"serving/toy/(\d+)/saved_model.pb", shown))
    assert project.versions() == before
    assert pushed not in before
    assert (project.folder / f"out/toy/interactive/serving/toy/{pushed}/saved_model.pb").is_file()
    assert "Looking in" not in shown  # pip, whose output is the log's


@slow
def test_inspect_run_shows_slices_what_changed_and_what_made_the_model(two_runs):
    shown = outputs(two_runs, "inspect_run")
    summary = two_runs.folder / "out/toy/summary.json"
    accuracy = re.search(r'"accuracy": ([\d.]+)', summary.read_text())[1]
    assert re.search(rf"all data +50\.0 +{round(float(accuracy), 6)}", shown)
    assert "evaluation.coverage: True -> False" in shown
    assert f"version {two_runs.versions()[-1]} of toy, in service" in shown
    assert "SlicingMetricsViewer" in shown


@slow
def test_serve_and_predict_answers_over_rest_and_grpc_and_stops(two_runs):
    shown = outputs(two_runs, "serve_and_predict")
    assert len(re.findall(r"i love this sole +positive", shown)) == 2
    assert len(re.findall(r"my heel is poor +negative", shown)) == 2
    assert '400 {"error": ' in shown
    assert f"gone: [Errno {errno.ECONNREFUSED}] Connection refused" in shown


@slow
def test_a_kernel_that_is_killed_leaves_no_server(two_runs):
    client = client_of(two_runs, "serve_and_predict")
    killed = nbformat.v4.new_code_cell("os.kill(os.getpid(), 9)")
    client.nb.cells = [*client.nb.cells[:5], killed]
    with pytest.raises(DeadKernelError):
        client.execute(env=environment(two_runs))
    (output,) = client.nb.cells[4].outputs  # of a server that is ready
    port = int(re.search(r"REST 127\.0\.0\.1:(\d+)", output.text)[1])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.2)
    pytest.fail(f"the server still answers on port {port}")
