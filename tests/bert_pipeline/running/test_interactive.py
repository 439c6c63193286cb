"""What notebooks are given: the components of a run far from what is in service, and tables without a network."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from bert_pipeline import pipeline
from bert_pipeline.data.statistics_rows import of_the_data, statistics_rows
from bert_pipeline.running.interactive import InteractiveGraph, interactive_graph
from bert_pipeline.settings.errors import UserError

STATISTICS = text_format.Parse(
    """
    datasets {
      num_examples: 200
      features {
        path { step: "label" } type: STRING
        string_stats {
          common_stats { num_non_missing: 150 } unique: 2
          top_values { value: "good" frequency: 100 } top_values { value: "bad" frequency: 50 }
        }
      }
      features {
        path { step: "text_num_tokens" }
        num_stats { common_stats { num_non_missing: 200 } mean: 8.25 min: 2 max: 31 }
      }
    }
    """,
    statistics_pb2.DatasetFeatureStatisticsList(),
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveGraph]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_PIPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        handlers = list(logging.root.handlers)
        yield interactive_graph("toy", out=tmp_path_factory.mktemp("out"))
        for handler in set(logging.root.handlers) - set(handlers):
            logging.root.removeHandler(handler)
            handler.close()


def test_components_are_those_of_a_run_in_its_order(graph):
    assert list(graph.components) == [
        "ExampleGen", "StatisticsGen", "Schema", "ExampleValidator", "Transform", "Trainer", "Baseline", "Evaluator",
        "InfraValidator", "Pusher", "Coverage", "UnlabelledExampleGen", "ServingValidator", "BulkInferrer",
        "LabelledTable",
    ]  # fmt: skip
    again = {node.id: node for node in pipeline.task_components(graph.parts)}
    for name, node in graph.components.items():
        assert type(node) is type(again[name])
        assert node.exec_properties == again[name].exec_properties


def test_nothing_is_written_or_pushed_where_runs_write(graph):
    root = graph.parts.paths.root
    assert (root.parent.name, root.name) == ("toy", "interactive")
    assert [path.name for path in root.parent.iterdir()] == ["interactive"]
    assert (
        f'"base_directory": "{root}/serving/toy"'
        in graph.components["Pusher"].exec_properties["push_destination"]
    )
    assert graph.context.metadata_connection_config.sqlite.filename_uri == str(root / "metadata.sqlite")


def test_output_of_what_has_not_run_is_an_error_that_names_the_fix(graph):
    with pytest.raises(UserError, match=r"Trainer has not run yet; run it first: graph.run\('Trainer'\)"):
        graph.uri("Trainer", "model")


def test_task_without_a_schema_is_told_how_to_get_one(tmp_path):
    task = tmp_path / "bare.toml"
    text = (pipeline.PROJECT_ROOT / "bert_pipeline/tasks/toy.toml").read_text()
    task.write_text(text.replace('name = "toy"', 'name = "bare"'))
    with pytest.raises(
        UserError, match=r"task bare has no schema yet; make pipeline TASK=.*bare.toml infers one"
    ):
        interactive_graph(str(task), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_column_of_each_split_is_a_row():
    assert statistics_rows({"train": STATISTICS}) == [
        {"column": "label", "split": "train", "examples": 200, "missing": 0.25, "values": 2,
         "top": "good 50.0%, bad 25.0%"},
        {"column": "text_num_tokens", "split": "train", "examples": 200, "missing": 0.0, "mean": 8.25, "min": 2.0,
         "max": 31.0},
    ]  # fmt: skip


def test_columns_that_are_derived_from_texts_are_left_out_for_a_schema():
    (dataset,) = of_the_data(STATISTICS).datasets
    assert [feature.path.step[0] for feature in dataset.features] == ["label"]
    assert len(STATISTICS.datasets[0].features) == 2


def test_a_component_does_not_see_the_command_line_of_the_kernel(tmp_path, monkeypatch):
    seen = []
    graph = InteractiveGraph(
        SimpleNamespace(run=lambda component: seen.append((component, sys.argv))),
        {"ExampleGen": "a component"},
        SimpleNamespace(paths=SimpleNamespace(logs=tmp_path)),
    )
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher", "-v", "--verbosity=all"])
    graph.run("ExampleGen")
    assert seen == [("a component", ["ipykernel_launcher"])]
