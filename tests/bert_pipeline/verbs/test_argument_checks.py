"""A wrong argument of any verb: one sentence that names it, exit status 2, and nothing was written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bert_pipeline.__main__ import main
from bert_pipeline.monitoring import monitor, report
from bert_pipeline.settings import argument_types, typed
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import run_paths
from tests.bert_pipeline.monitoring.test_monitoring import made_report

OF_A_TASK = ["pipeline", "schema review", "skew", "label --texts F", "monitor"]
OF_THE_PAST = ["lineage", "compare", "tensorboard", "report", "rollback", "gc", "upgrade-metadata"]
RUNS_ELSEWHERE = ["skew", "label --texts F", "monitor", "serve", *OF_THE_PAST]


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder with a file F in it; gives the one sentence that it must be refused with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "F").write_text("text\nfine\n")

    def run(*words: str, by_make: bool = False) -> str:
        before = sorted(tmp_path.rglob("*"))
        if by_make:
            monkeypatch.setenv(typed.BY_MAKE, "1")
        assert main(list(words)) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        [sentence] = told.err.strip().splitlines()
        return sentence.removeprefix("error: ")

    return run


@pytest.mark.parametrize("verb", [*OF_A_TASK, *OF_THE_PAST, "serve", "predict"])
@pytest.mark.parametrize("task", ["tpy", "", "a/b/tpy.toml", "t" * 300, "F", "../toy.toml"])
def test_an_unknown_task_leaves_no_folder(refused, verb, task):
    sentence = refused(*verb.split(), "--task", task)
    assert "there is no task" in sentence or "File name too long" in sentence


@pytest.mark.parametrize("verb", [*OF_A_TASK, *OF_THE_PAST, "serve"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('name = "../x"', "t.toml: name is '../x'; use letters, digits and _"),
        ("name = 5", "t.toml: name is 5; use letters"),
        (f'name = "{"n" * 101}"', "at most 100"),
        ('name = "n', "t.toml: not a TOML file"),
    ],
)
def test_a_task_file_whose_name_is_no_folders_is_refused(refused, tmp_path, verb, content, message):
    (tmp_path / "t.toml").write_text(content)
    assert message in refused(*verb.split(), "--task", "t.toml")


@pytest.mark.parametrize("verb", [*OF_A_TASK, *OF_THE_PAST, "serve", "new-task --name=n --data=F"])
@pytest.mark.parametrize(
    ("out", "message"),
    [("", "--out: it is empty"), ("F", "F is a file; give a folder"), ("F/x", "F is a file; give a folder")],
)
def test_a_place_that_cannot_be_a_folder_is_refused(refused, verb, out, message):
    assert message in refused(*verb.split(), "--out", out)


@pytest.mark.parametrize("verb", RUNS_ELSEWHERE)
def test_where_nothing_has_run_the_sentence_says_where(refused, tmp_path, verb):
    assert refused(*verb.split(), "--task", "toy", "--out", "elsewhere", by_make=True) == (
        f"there is no {tmp_path}/elsewhere/toy: no run was made here yet; "
        "make pipeline TASK=toy OUT=elsewhere first, or give OUT=..."
    )


@pytest.mark.parametrize("verb", OF_A_TASK)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "x"], "'x' is not of the form section.key=value"),
        (["--set", ".=1"], "is not of the form section.key=value"),
        (["--set", "data.text.x=5"], "data.text has no keys; set data.text itself"),
        (["--set", "name.x=1"], "name has no keys"),
        (["--set", "training.epochs="], "training.epochs must be an integer, and is ''"),
        (["--set", 'training.epochs=1\nname="q"'], "training.epochs must be an integer"),
        (["--set", "training.epoch=1"], "did you mean training.epochs?"),
        (["--data", "none"], "there is no folder"),
        (["--data", "F"], "there is no folder"),
        (["--span", "x"], "--span: 'x' is not a span; give a number (2), or a date (2025-07-01)"),
        (["--span", "-1"], "--span: '-1' is not a span"),
        (["--metadata", "somewhere"], "--metadata is 'somewhere'; write sqlite, mysql://"),
        (["--metadata", "mysql://a:secret@h:x/d"], "--metadata is 'mysql://a:...@h:x/d'; write"),
        (["--metadata", "mysql://a@h:70000/d"], "--metadata is 'mysql://a@h:70000/d'; write"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_a_wrong_setting_place_or_span_is_refused_before_the_run(refused, verb, words, message):
    assert message in refused(*verb.split(), "--task", "toy", *words)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("pipeline --window 0", "WINDOW: '0' is not a whole number of at least 1"),
        ("pipeline --window x", "WINDOW: 'x' is not a whole number"),
        ("pipeline --server k8s", "--server: invalid choice: 'k8s'"),
        ("label", "the following arguments are required: --texts"),
        ("label --texts none.csv", "FILE: there is no file and no folder 'none.csv'"),
        ("label --texts F --to none/x.csv", "TO: 'none/x.csv' is not a file in an existing folder"),
        ("label --texts F --to x.xlsx", "TO: 'x.xlsx' is not named .csv or .parquet"),
        ("label --texts F --to .", "TO: '.' is not a file"),
        ("monitor --labels none", "LABELS: there is no file none"),
        ("monitor --context .", "CONTEXT: there is no file ."),
        ("monitor --version v1", "--version: 'v1' is not a whole number of at least 0"),
        ("monitor --compare -1", "--compare: '-1' is not a whole number"),
        ("monitor --prometheus none/x", "--prometheus: 'none/x' is not a file in an existing folder"),
        ("skew --csv none", "CSV: there is no file none"),
        ("schema revue", "invalid choice: 'revue'"),
        ("compare --last 0", "--last: '0' is not a whole number of at least 1"),
        ("tensorboard --port 70000", "PORT: '70000' is not a port; give a number from 0 to 65535"),
        ("tensorboard --port x", "PORT: 'x' is not a port"),
        ("gc --keep 1.5", "KEEP: '1.5' is not a whole number of at least 1"),
        ("gc --keep 0", "KEEP: '0' is not a whole number of at least 1"),
        ("serve --rest_port http", "REST_PORT: 'http' is not a port"),
        ("serve --grpc_port -1", "GRPC_PORT: '-1' is not a port"),
        ("predict --file none.csv", "FILE: there is no file none.csv"),
        ("spans --csv none --date d --to s", "--csv: there is no file none"),
        ("new-task --data F", "the following arguments are required: --name"),
        ("pipelin", "invalid choice: 'pipelin'"),
    ],
)
def test_a_wrong_value_is_named_by_the_variable_that_make_has_for_it(refused, command, message):
    assert message in refused(*command.split(), by_make=True)


def test_a_port_in_use_is_said_before_tensorflow_is_loaded(refused, tmp_path):
    (tmp_path / "out" / "toy").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = refused("serve", "--task", "toy", "--rest_port", port, by_make=True)
    assert sentence == f"REST_PORT is {port}: Address already in use; give another, or 0 to do without"


def test_without_a_server_the_sentence_says_how_to_start_one(refused):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ["predict", "--task", "toy", "--out", "elsewhere", "--rest_port", port, "--text", "fine"]
    assert refused(*words, by_make=True) == (
        f"no server answers at localhost:{port} (Connection refused); "
        f"start one: make serve TASK=toy OUT=elsewhere REST_PORT={port}"
    )


@pytest.mark.parametrize("kind", ["a file", "a link", "a link to nothing", "a pipe"])
def test_a_file_of_somebody_elses_is_not_replaced_by_metrics(refused, tmp_path, kind):
    path, other = tmp_path / "node.prom", tmp_path / "precious.csv"
    other.write_text("text,label\nfine,good\n")
    if kind == "a file":
        path.write_text("# HELP node_uname_info\nnode_uname_info 1\n")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other if kind == "a link" else tmp_path / "nothing")
    before = path.lstat()
    assert refused("monitor", "--task", "toy", "--prometheus", str(path)) == (
        f"--prometheus: {path} is there and was not written by this command; give another file, or move it away "
        "(all options: python -m bert_pipeline monitor --help)"
    )
    assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert other.read_text() == "text,label\nfine,good\n"


def test_metrics_of_before_and_an_empty_file_are_replaced(tmp_path):
    for content in ("", report.as_prometheus(made_report())):
        (tmp_path / "shoes.prom").write_text(content)
        assert argument_types.prometheus_file(str(tmp_path / "shoes.prom"))
    assert argument_types.prometheus_file(str(tmp_path / "new.prom"))
    assert argument_types.prometheus_file("") == ""


def test_a_file_that_came_while_the_traffic_was_read_is_left_alone(tmp_path):
    target = tmp_path / "shoes.prom"
    target.write_text("mine")
    with pytest.raises(UserError, match="was not written by this command"):
        monitor._write(made_report(), paths=run_paths("toy", out=tmp_path), prometheus=str(target))
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "by_python", "by_make"),
    [
        (
            "--name mine --data glue/sst2",
            "--data: there is no file or folder glue/sst2; for a data set of the Hugging Face hub write "
            "--data hf:glue/sst2",
            "DATA: there is no file or folder glue/sst2; for a data set of the Hugging Face hub write "
            "DATA=hf:glue/sst2",
        ),
        ("--name mine --data F", "--data: ", "DATA: "),
        ("--name 2x --data F", "--name is '2x'; use letters", "NAME is '2x'; use letters"),
        ("--name toy --data F", "--name: there is a task toy already", "NAME: there is a task toy already"),
    ],
)
def test_new_task_names_its_options_as_they_were_typed(refused, words, by_python, by_make):
    assert refused("new-task", *words.split()).startswith(by_python)
    assert refused("new-task", *words.split(), by_make=True).startswith(by_make)


def test_a_store_elsewhere_needs_no_folder_here(refused):
    """A record that lies in a database can be looked at from any folder."""
    sentence = refused("lineage", "--task", "toy", "--metadata", "mysql://ann@127.0.0.1:1/db")
    assert "mysql://127.0.0.1:1/db cannot be opened" in sentence


def test_a_task_given_by_its_file_serves_under_its_name(tmp_path, monkeypatch):
    import os

    (tmp_path / "t.toml").write_text('name = "mine"')
    (tmp_path / "out" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        started.append(command[2:])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execve", become)
    main(
        ["serve", "--task", "t.toml", "--log", "--rest_port", "0", "--grpc_port", "0", "--", "--model_name=x"]
    )
    main(["predict", "--task", "t.toml", "--text=-x", "--rest_port", "9", "--", "--address=h:9"])
    served = tmp_path / "out" / "mine"
    assert started == [
        ["serving.model_server", "--model_name=mine", f"--model_base_path={served}/serving/mine",
         "--host=127.0.0.1", "--port=0", "--rest_api_port=0", "--enable_batching", "--supervise",
         f"--request_log_prefix={served}/requests/mine", "--model_name=x"],
        ["serving.client", "--model=mine", "--address=localhost:9", "--text=-x", "--address=h:9"],
    ]  # fmt: skip


def test_a_log_lies_with_the_task_that_a_file_names(tmp_path: Path):
    (tmp_path / "other.toml").write_text(
        (Path(__file__).parents[3] / "bert_pipeline/tasks/toy.toml").read_text()
    )
    (tmp_path / "toy").mkdir()
    words = ["monitor", "--task", str(tmp_path / "other.toml"), "--out", str(tmp_path)]
    assert main(words) == 2
    assert (tmp_path / "toy" / "logs" / "monitor.log").is_file()
    assert not (tmp_path / "other").exists()
