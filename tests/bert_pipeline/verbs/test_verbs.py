"""What each verb is: a file of verbs/ with its options, and a module with its typed request that does the work."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from pathlib import Path

import pytest

from bert_pipeline import __main__
from bert_pipeline.settings import requests
from bert_pipeline.verbs import common

FOLDER = Path(common.__file__).parent
# Verbs whose module is not named as the verb: it does more than the verb's word says, or the name is taken.
NAMED_OTHERWISE = {
    "pipeline": "running.run",
    "schema": "running.schema_review",
    "spans": "data.cut_spans",
    "dag": "places.steps_file",
    "airflow": "places.airflow.local",
    "warm_steps": "running.warm",
}


def parser_of(verb: str) -> argparse.ArgumentParser:
    [verbs] = [a for a in __main__._parser()._actions if isinstance(a, argparse._SubParsersAction)]
    found = verbs.choices[verb.replace("_", "-")]
    assert isinstance(found, argparse.ArgumentParser)
    return found


def test_the_table_names_every_file() -> None:
    helpers = {"__init__", "common"}
    assert sorted(__main__.VERBS) == sorted({path.stem for path in FOLDER.glob("*.py")} - helpers)


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_a_verb_is_done_by_the_module_of_its_name(verb: str) -> None:
    work = parser_of(verb).get_default("does").work
    assert work == NAMED_OTHERWISE.get(verb, work)
    assert verb in NAMED_OTHERWISE or work.rpartition(".")[2] == verb


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_the_fields_of_a_request_are_the_options_of_the_verb(verb: str) -> None:
    parser = parser_of(verb)
    options = {action.dest for action in parser._actions} - {"help"}
    fields = dataclasses.fields(
        importlib.import_module(f"bert_pipeline.{parser.get_default('does').work}").Request
    )
    wanted = {field.name for field in fields if field.default is dataclasses.MISSING}
    assert wanted <= options
    assert options - {field.name for field in fields} == ({"action"} if verb == "schema" else set())


def test_a_request_has_lists_as_tuples_and_keeps_its_defaults() -> None:
    arguments = argparse.Namespace(task="toy", overrides=["a.b=1"], verb="skew", out=Path("elsewhere"))
    assert requests.of(requests.GraphRequest, arguments) == requests.GraphRequest(
        task="toy", out=Path("elsewhere"), metadata="", data="", span=None, window=None, overrides=("a.b=1",)
    )
