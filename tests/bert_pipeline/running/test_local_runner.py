"""The local runner tells how each component went, and what a user can act on when one fails."""

# No `from __future__ import annotations`: TFX's decorator reads the annotations themselves.

import sys

import pytest
from absl import flags
from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from bert_pipeline.metadata import database
from bert_pipeline.running import local_runner
from bert_pipeline.settings.errors import UserError
from tests.bert_pipeline.running.tiny_components import RAN, Count, Fail


@component
def After(result: int):
    RAN.append(f"after {result}")


@component
def ReadFlags():
    """As TFX's Beam executors do."""
    flags.FLAGS(sys.argv, known_only=True)
    RAN.append(" ".join(sys.argv[1:]))


class Refuse(tfx.dsl.experimental.ResolverStrategy):
    """A resolver that finds something wrong."""

    def resolve_artifacts(self, store, input_dict):
        raise UserError("the base model has another encoder; choose one")


@pytest.fixture
def run(tmp_path):
    RAN.clear()

    def run_components(components, **options):
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="demo",
            pipeline_root=str(tmp_path / "artifacts"),
            components=components,
            enable_cache=True,
            metadata_connection_config=database.connection_config(
                "", sqlite_path=tmp_path / "metadata.sqlite"
            ),
        )
        runner = local_runner.LocalRunner(on_start=lambda _: None, on_end=lambda _: None, **options)
        return {r.node_id: r for r in runner.run(pipeline)}

    return run_components


def test_second_run_is_cached_and_says_so(run):
    assert run([Count(number=1)])["Count"].state == "ran"
    assert run([Count(number=1)])["Count"].state == "cached"
    assert run([Count(number=2)])["Count"].state == "ran"
    assert RAN == ["count 1", "count 2"]


def test_component_that_is_never_cached_runs_each_time(run):
    for _ in range(2):
        assert run([Count(number=1)], never_cached=["Count"])["Count"].state == "ran"
    assert RAN == ["count 1", "count 1"]


def test_failed_component_stops_the_run_with_its_own_message(run):
    count = Count(number=1)
    fail = Fail(count=count.outputs["count"])
    with pytest.raises(UserError, match=r"^Fail stopped the run: count is 2; give another$"):
        run([count, fail, After(result=fail.outputs["result"])])
    assert RAN == ["count 1"]


def test_failed_resolver_stops_the_run_though_tfx_raises_nothing(run):
    resolver = tfx.dsl.Resolver(
        strategy_class=Refuse, model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model)
    ).with_id("Base")
    with pytest.raises(
        UserError, match=r"^Base stopped the run: the base model has another encoder; choose one$"
    ):
        run([resolver])


def test_optional_component_that_fails_lets_the_run_end_and_skips_what_needs_it(run):
    count = Count(number=1)
    fail = Fail(count=count.outputs["count"])
    after = After(result=fail.outputs["result"])
    results = run([count, fail, after], optional=["Fail", "After"])
    assert [results[n].state for n in ("Count", "Fail", "After")] == ["ran", "failed", "skipped"]
    assert results["Fail"].error == "count is 2; give another"
    assert RAN == ["count 1"]


def test_user_error_is_found_inside_the_text_of_a_beam_worker():
    text = (
        "Traceback (most recent call last):\n  File x\n"
        "bert_pipeline.settings.errors.UserError: rows.csv:3: 1 cells [while running 'FlatMap']\n\nmore"
    )
    assert local_runner._message(RuntimeError(text)) == "rows.csv:3: 1 cells"


def test_a_component_does_not_see_the_command_line(run, monkeypatch):
    """-v and --verbosity are absl's, and numbers."""
    command = ["bert_pipeline", "pipeline", "-v", "--verbosity=all", "--logtostderr=maybe"]
    monkeypatch.setattr(sys, "argv", command)
    assert run([ReadFlags()])["ReadFlags"].state == "ran"
    assert RAN == [""]
    assert sys.argv == command
