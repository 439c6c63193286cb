"""Components run by themselves, as an orchestrator starts them: ML Metadata and a file lead from one to the next."""

# No `from __future__ import annotations`: TFX's decorator reads the annotations themselves.

import subprocess
import sys

import pytest
from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from bert_pipeline.metadata import run_record
from bert_pipeline.running import local_runner, steps
from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings.paths import run_paths
from tests.bert_pipeline.running.tiny_components import RAN, Count, Fail


@component
def Coverage(result: int):
    RAN.append(f"coverage of {result}")


@pytest.fixture
def place(tmp_path):
    RAN.clear()
    (tmp_path / "demo").mkdir()
    return steps.Place.of(run_paths("demo", out=tmp_path))


def begin(place, run_id):
    """A run of Count, Fail and Coverage, as `steps.begin` leaves it."""
    count = Count(number=1)
    fail = Fail(count=count.outputs["count"])
    graph = tfx.dsl.Pipeline(
        pipeline_name="demo",
        pipeline_root=str(place.paths.pipeline_root),
        components=[count, fail, Coverage(result=fail.outputs["result"])],
        enable_cache=True,
        metadata_connection_config=place.connection,
    )
    run_record.begin(place.store, {run_record.TASK_FILE: "demo.toml"}, run_id=run_id)
    steps.save(place, steps.Begun(run_id, local_runner.compile_graph(graph, run_id=run_id)))
    return steps.load(place, run_id)


def test_components_run_one_by_one_and_ml_metadata_knows_how_they_went(place):
    begun = begin(place, "manual__2026-11-28T10:00:00+00:00")  # Airflow's kind of name
    assert [r.state for r in steps.results_of(place, begun)] == ["skipped"] * 3
    assert steps.run_component(place, begun, "Count").state == "ran"
    assert RAN == ["count 1"]
    failed = steps.run_component(place, begun, "Fail")
    assert (failed.state, failed.error) == ("failed", "count is 2; give another")
    results = steps.results_of(place, begun)
    assert [(r.node_id, r.state) for r in results] == [
        ("Count", "ran"), ("Fail", "failed"), ("Coverage", "skipped"),
    ]  # fmt: skip
    assert results[0].execution_id and results[1].error == "count is 2; give another"
    with pytest.raises(UserError, match=r"^Fail stopped the run: count is 2; give another$"):
        steps.check(results)


def test_a_second_run_finds_its_components_in_the_cache(place):
    steps.run_component(place, begin(place, "one"), "Count")
    again = begin(place, "two")
    assert steps.run_component(place, again, "Count").state == "cached"
    assert steps.results_of(place, again)[0].state == "cached"
    assert RAN == ["count 1"]


def test_a_component_waits_for_what_it_needs(place):
    result = steps.run_component(place, begin(place, "one"), "Fail")
    assert (result.state, result.error) == ("skipped", "it needs Count, which has not run")
    with pytest.raises(UserError, match=r"^Count stopped the run: it did not run$"):
        steps.check(steps.results_of(place, steps.load(place, "one")))


def test_a_name_that_the_run_does_not_have_is_refused_unless_the_data_decide_it(place):
    begun = begin(place, "one")
    with pytest.raises(
        UserError, match=r"^no component is named Trianer; run one has Begin, Count, Fail, Coverage"
    ):
        steps.run_component(place, begun, "Trianer")
    assert steps.run_component(place, begun, "OlderSpans").state == "skipped"


def test_a_run_that_has_not_begun_is_refused_with_the_command_that_begins_it(place):
    begin(place, "one")
    with pytest.raises(
        UserError, match=r"^run two of task demo has not begun in .*; begin it: .* node Begin "
    ):
        steps.load(place, "two")


def test_a_run_that_begins_again_forgets_how_it_ended(place):
    begin(place, "one")
    run_record.put(place.store, "one", {run_record.OUTCOME: "stopped", run_record.ERROR: "no disk"})
    begin(place, "one")
    (run,) = place.store.get_contexts_by_type("pipeline_run")
    assert run_record.OUTCOME not in run.custom_properties and run_record.ERROR not in run.custom_properties
    assert run.custom_properties[run_record.TASK_FILE].string_value == "demo.toml"


@pytest.mark.parametrize(
    "module", ["google.cloud.aiplatform", "bert_pipeline.report", "bert_pipeline.pipeline"]
)
def test_a_component_is_run_without_what_only_whole_runs_need(module):
    code = (
        "import sys; from bert_pipeline.settings import lazy_imports, user_modules\n"
        "user_modules.make_importable(); lazy_imports.defer()\n"
        f"import tfx.v1; from bert_pipeline.running import steps; print({module!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_deferred_package_is_there_when_it_is_asked_for():
    code = (
        "from bert_pipeline.settings import lazy_imports; lazy_imports.defer()\n"
        "from tfx import v1 as tfx; print(tfx.extensions.google_cloud_ai_platform.Trainer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Trainer\n"
