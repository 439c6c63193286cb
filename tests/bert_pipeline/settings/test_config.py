"""Task files are read strictly: a wrong key, type or value is named with its fix."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bert_pipeline.settings import config, sections
from bert_pipeline.settings.errors import UserError

MINIMAL = """
name = "demo"
description = "a demo"

[data]
path = "data/demo"
text = ["text"]
label = "label"
labels = ["a", "b"]
files = { train = "train.csv", eval = "eval.csv" }
"""


def load(tmp_path: Path, text: str, **arguments):
    path = tmp_path / "demo.toml"
    path.write_text(text, encoding="utf-8")
    return config.load_task(str(path), data=str(tmp_path), **arguments)


def test_minimal_task_has_the_documented_defaults(tmp_path):
    task = load(tmp_path, MINIMAL).task
    assert task.data.labels == ("a", "b")
    assert task.text.max_seq_length == 128
    assert task.training.learning_rate == 5e-5
    assert task.evaluation.gates == ()


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        (
            "[training]\nlearning_rte = 1e-4\n",
            r"unknown key training.learning_rte; did you mean training.learning_rate",
        ),
        ("[trainnig]\nepochs = 2\n", r"unknown key trainnig; did you mean training"),
        ('[training]\nlearning_rate = "2e-5"\n', r"training.learning_rate must be a number, and is '2e-5'"),
        ("[training]\nepochs = 2.5\n", r"training.epochs must be an integer, and is 2.5"),
        ("[training]\nepochs = true\n", r"training.epochs must be an integer, and is True"),
        ("[training]\nclip_norm = inf\n", r"training.clip_norm is inf; it must be a finite number"),
        (
            "[training]\nepochs = 2025-07-01\n",
            r"training.epochs must be an integer, and is datetime.date\(2025",
        ),
        ("[[training]]\nepochs = 2\n", r"training must be a table, and is \["),
        (
            "[validation]\ndrift_stop = { label = 2 }\n",
            r"drift_stop.label is 2; it must be less than or equal to 1",
        ),
        ('[notices]\non = ["failt"]\n', r"notices.on\[0\] is 'failt'; it must be 'pushed', 'unchanged', "),
        (
            "[[evaluation.gates]]\nmetric = 'auc'\nmaxdrop = 1\n",
            r"unknown key evaluation.gates\[0\].maxdrop; did you mean evaluation.gates\[0\].max_drop\?",
        ),
        (
            "[[evaluation.gates]]\nmetric = 'auc'\nmax_drop = -1\n",
            r"max_drop is -1; it must be greater than or equal to 0",
        ),
        (
            "[[evaluation.gates]]\nmetric = 'auc'\nmin = '1'\n",
            r"evaluation.gates\[0\].min must be a number, and is '1'",
        ),
        ("[data.label_shares]\na = 'half'\n", r"data.label_shares.a must be a number, and is 'half'"),
        (
            "[training]\nheld_out_share = 0.6\n",
            r"training.held_out_share is 0.6; it must be less than or equal to 0.5",
        ),
        ("[training]\nheld_out_share = nan\n", r"training.held_out_share is nan; it must be a finite number"),
        (
            "[training]\nearly_stopping_patience = 2\nheld_out_share = 0\n",
            r"training.early_stopping_patience is 2, and training.held_out_share is 0: nothing is held out",
        ),
        ("[training]\nepochs = 0\n", r"training.epochs is 0; it must be greater than or equal to 1"),
        (
            "[text]\nmax_seq_length = 513\n",
            r"text.max_seq_length is 513; it must be less than or equal to 512",
        ),
        (
            '[training]\nprecision = "fp16"\n',
            r"training.precision is 'fp16'; it must be 'float32', 'bfloat16' or 'float16'",
        ),
        ('[[evaluation.gates]]\nmetric = "accuracy"\n', r"evaluation.gates\[0\] \(accuracy\) has no bound"),
        (
            '[[evaluation.gates]]\nmetric = "accuracy"\nslice = "city=Ulm"\nmin = 0.5\n',
            r"evaluation.gates\[0\].slice is 'city=Ulm', but 'city' is not in evaluation.slices",
        ),
        (
            '[evaluation]\nslices = ["c"]\n[[evaluation.gates]]\nmetric = "example_count"\nslice = "c"\nmax_gap = 1\n',
            r"evaluation.gates\[0\].max_gap cannot compare example_count",
        ),
        (
            '[evaluation]\nslices = ["c"]\n[[evaluation.gates]]\nmetric = "loss"\nslice = "c=x"\nmax_gap = 0.1\n',
            r"evaluation.gates\[0\].max_gap compares the values of a column, and .*slice is 'c=x'; name a column",
        ),
        (
            '[[evaluation.gates]]\nmetric = "loss"\nmax = 1\nmin_examples = 5\n',
            r"evaluation.gates\[0\].min_examples is 5, which needs a slice; its slice is ''",
        ),
        (
            '[[evaluation.gates]]\nmetric = "loss"\nmax = 1\nconfidence = 95\n',
            r"evaluation.gates\[0\].confidence is 95; it must be less than 1",
        ),
        (
            '[evaluation]\nintervals = "bootstap"\n',
            r"evaluation.intervals is 'bootstap'; it must be 'on', 'none', 'jackknife' or 'bootstrap'",
        ),
        (
            "[evaluation.costs]\na = { bb = 2 }\n",
            r"evaluation.costs.a.bb: 'bb' is not in data.labels; did you mean 'b'\? Known: a, b",
        ),
        (
            "[evaluation.costs]\nc = { a = 2 }\n",
            r"evaluation.costs.c: 'c' is not in data.labels; Known: a, b",
        ),
        ("[evaluation.costs]\na = { b = nan }\n", r"evaluation.costs.a.b is nan; it must be a finite number"),
        ('[evaluation]\ncost_unit = "EUR"\n', r"evaluation.cost_unit is 'EUR', and no answer has a cost"),
        (
            "[serving]\nnum_warmup_requests = 1001\n",
            r"serving.num_warmup_requests is 1001; it must be less than or equal to 1000",
        ),
    ],
)
def test_wrong_setting_is_named_with_its_fix(tmp_path, addition, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, MINIMAL + addition)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('text = ["text"]', 'text = ["a", "b", "c"]', r"data.text names 3 columns"),
        ('text = ["text"]', 'text = "text"', r"data.text must be a list, and is 'text'"),
        ('text = ["text"]', 'text = ["label"]', r"name a column twice"),
        (
            'labels = ["a", "b"]',
            'labels = ["a", "a"]',
            r"data.labels is \['a', 'a'\]; name at least two labels",
        ),
        (
            'train = "train.csv", eval',
            "eval",
            r"data.files has the splits \['eval'\]; it must have train and eval",
        ),
        ('name = "demo"', 'name = "de mo"', r"name is 'de mo'; use letters"),
        ('label = "label"\n', "", r"missing key data.label;"),
        ('label = "label"\n', 'label = "label\n', r"not a TOML file"),
    ],
)
def test_broken_data_section_is_refused(tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, MINIMAL.replace(old, new))


def test_error_names_the_task_file(tmp_path):
    with pytest.raises(UserError, match=r"demo\.toml: unknown key colour"):
        load(tmp_path, 'colour = "red"\n' + MINIMAL)


def test_override_replaces_one_setting_with_its_type(tmp_path):
    task = load(tmp_path, MINIMAL, overrides=["training.epochs=7", "data.label=mood"], span=3).task
    assert (task.training.epochs, task.data.label, task.data.span) == (7, "mood", 3)


def test_override_of_an_unknown_key_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown key training.epoch; did you mean training.epochs"):
        load(tmp_path, MINIMAL, overrides=["training.epoch=7"])


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(UserError, match="there is no task 'shoos'.*did you mean shoes"):
        config.load_task("shoos")


def test_missing_data_folder_is_named_with_the_files_it_must_hold(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere.*train\.csv, eval\.csv"):
        path = tmp_path / "demo.toml"
        path.write_text(MINIMAL, encoding="utf-8")
        config.load_task(str(path), data=str(tmp_path / "nowhere"))


def test_line_of_finds_a_key_in_its_own_section(tmp_path):
    path = tmp_path / "demo.toml"
    path.write_text('name = "x"\n[data]\nlabel = "l"\n[other]\nlabel = "m"\n', encoding="utf-8")
    assert config.line_of(path, "data.label").endswith("demo.toml:3 (data.label)")
    assert config.line_of(path, "other.label").endswith("demo.toml:5 (other.label)")
    assert config.line_of(path, "data.labels").endswith("(data.labels, not set there)")


@pytest.mark.parametrize("path", sorted(config.TASKS_DIR.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_task_loads_and_can_refuse_a_model(path, tmp_path):
    task = config.load_task(path.stem, data=str(tmp_path)).task
    assert task.name == path.stem
    assert task.evaluation.gates, "a shipped task must have a gate"


def test_a_whole_number_is_a_number_and_a_list_is_a_tuple(tmp_path):
    task = load(tmp_path, MINIMAL + "[training]\nlearning_rate = 1\n[evaluation]\nslices = ['c']\n").task
    assert repr((task.training.learning_rate, task.evaluation.slices)) == "(1.0, ('c',))"


def test_settings_are_found_where_users_imported_them_before():
    former = [importlib.import_module(name) for name in ("bert_task", "bert_gates", "bert_monitoring")]
    assert [module.GateConfig for module in former] == [sections.GateConfig] * 3
    assert [module.NOTICE_EVENTS for module in former] == [sections.NOTICE_EVENTS] * 3


def test_an_unknown_task_is_answered_with_the_known_ones_once() -> None:
    with pytest.raises(UserError) as raised:
        config.load_task("reviews")
    assert str(raised.value).count("shoes") == 1
    assert "known here" not in str(raised.value)
