"""What data would change in a curated schema: told, and written only when accepted."""

from __future__ import annotations

from pathlib import Path

import bert_task
import pytest

from bert_pipeline.components import schema
from bert_pipeline.data.text_features import statistics_of
from bert_pipeline.running import schema_review
from bert_pipeline.settings import config, sections

HEADER = "# The schema of task t.\n"
NUM_ROWS = 40


def columns(**changed: list[bytes]) -> dict[str, list[bytes]]:
    values = {
        "text": [b"text %d" % i for i in range(NUM_ROWS)],
        "label": [b"a", b"b"] * (NUM_ROWS // 2),
        "channel": [b"web", b"app"] * (NUM_ROWS // 2),
    }
    return {**values, **changed}


@pytest.fixture
def loaded(tmp_path) -> config.LoadedTask:
    data = bert_task.DataConfig(path="", text=("text",), label="label", labels=("a", "b"), files={"all": "*"})
    task = sections.TaskConfig(name="t", description="", data=data)
    loaded = config.LoadedTask(task=task, path=tmp_path / "t.toml", data_dir=tmp_path)
    inferred = schema_review.tfdv.infer_schema(statistics_of(columns()))
    schema.write_schema(schema.tighten(inferred, data=data), path=loaded.schema_path, header=HEADER)
    return loaded


def review(loaded: config.LoadedTask, **changed: list[bytes]) -> schema_review.Review:
    return schema_review.review_schema(
        loaded.schema_path.read_text(), statistics=statistics_of(columns(**changed)), loaded=loaded
    )


def test_data_that_fits_suggests_nothing(loaded):
    found = review(loaded)
    assert (found.problems, found.unseen, found.diff) == ((), (), ())


def test_a_new_value_is_told_and_is_one_line_of_the_difference(loaded):
    found = review(loaded, channel=[b"web", b"chat"] * (NUM_ROWS // 2))
    assert found.problems == (
        "column channel: Examples contain values missing from the schema: chat (~50%).",
    )
    assert found.unseen == ("column channel: no example has app; it stays allowed",)
    assert [line for line in found.diff[2:] if line[0] in "+-"] == ['+  value: "chat"']


def test_a_new_column_is_suggested(loaded):
    found = review(loaded, shop=[b"north", b"south"] * (NUM_ROWS // 2))
    assert "shop" in {feature.name for feature in found.suggested.feature}


def test_labels_are_the_tasks_and_not_the_datas(loaded):
    found = review(loaded, label=[b"a", b"new"] * (NUM_ROWS // 2))
    assert found.problems == ("column label: Examples contain values missing from the schema: new (~50%).",)
    assert found.diff == ()


def test_what_is_accepted_keeps_the_header_and_fits_from_then_on(loaded):
    new = {"channel": [b"web", b"chat"] * (NUM_ROWS // 2)}
    schema.write_schema(review(loaded, **new).suggested, path=loaded.schema_path, header=HEADER)
    assert Path(loaded.schema_path).read_text().startswith(HEADER + "feature {")
    assert review(loaded, **new).diff == ()
