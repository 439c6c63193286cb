"""What messages tell to type leads to the same task and folder, in the words of make or of Python."""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.__main__ import _parser
from bert_pipeline.settings import typed

ODD = "a b'c\"d$e`f`#g\\h"


def remembered(*words: str, by_make: bool):
    return typed.remembered(_parser().parse_args(words), by_make=by_make)


@pytest.mark.parametrize(
    ("by_make", "verb", "options", "command"),
    [
        (True, "serve", {}, "make serve TASK=toy OUT=/tmp/o"),
        (True, "pipeline", {}, "make pipeline TASK=toy OUT=/tmp/o DATA='my data' METADATA=mysql://ann:...@h/db"
         " WINDOW=2 ARGS=\"--set training.epochs=2 --set 'task.x=a b'\""),
        (True, "monitor", {"labels": "...", "logs": "x"}, "make monitor TASK=toy OUT=/tmp/o DATA='my data'"
         " METADATA=mysql://ann:...@h/db LABELS=... ARGS=\"--logs x --set training.epochs=2 --set 'task.x=a b'\""),
        (True, "rollback", {"to": "7"}, "make rollback TASK=toy OUT=/tmp/o METADATA=mysql://ann:...@h/db VERSION=7"),
        (True, "spans", {"date": "day"}, ".venv/bin/python -m bert_pipeline spans --date day"),
        (False, "serve", {"log": None}, "python -m bert_pipeline serve --task toy --out /tmp/o --log"),
        (False, "schema", {"accept": None}, "python -m bert_pipeline schema review --task toy --out /tmp/o"
         " --data 'my data' --metadata mysql://ann:...@h/db --accept --set training.epochs=2 --set 'task.x=a b'"),
    ],
)  # fmt: skip
def test_a_hint_carries_what_the_command_was_given(by_make, verb, options, command):
    words = ["pipeline", "--window", "2", "--task", "toy", "--out", "/tmp/o", "--data", "my data"]
    words += ["--metadata", "mysql://ann:secret@h/db", "--set", "training.epochs=2", "--set", "task.x=a b"]
    with remembered(*words, by_make=by_make):
        assert typed.command(verb, **options) == command


def test_what_is_at_its_default_is_left_out():
    with remembered("pipeline", by_make=True):
        assert typed.command("serve", task="shoes") == "make serve"
    assert typed.command("serve", task="toy") == "make serve TASK=toy"


@pytest.mark.parametrize(
    ("words", "option", "name", "give"),
    [
        (["gc"], "keep", ("KEEP", "--keep"), ("KEEP=...", "--keep ...")),
        (["gc"], "last", ("--last", "--last"), ('ARGS="--last ..."', "--last ...")),
        (["label", "--texts", "."], "texts", ("FILE", "--texts"), ("FILE=...", "--texts ...")),
        (["rollback"], "to", ("VERSION", "--to"), ("VERSION=...", "--to ...")),
        (["new-task", "--name=x", "--data=x"], "label", ("--label",) * 2, ('ARGS="--label ..."', "--label ...")),
        (["pipeline"], "out", ("OUT", "--out"), ("OUT=...", "--out ...")),
        (["predict"], "id_column", ("ID", "--id_column"), ("ID=...", "--id_column ...")),
    ],
)  # fmt: skip
def test_an_option_is_named_as_it_is_given(words, option, name, give):
    for i, by_make in enumerate((True, False)):
        with remembered(*words, by_make=by_make):
            assert (typed.name(option), typed.give(option)) == (name[i], give[i])


def test_a_hint_of_odd_names_comes_through_the_shell_and_make(tmp_path: Path):
    with remembered("pipeline", f"--out={ODD}", f"--task={ODD}.toml", "--set", f"task.x={ODD}", by_make=True):
        command = typed.command("pipeline", data=f"-{ODD}")
    (tmp_path / "Makefile").write_text(
        "$(foreach n,OUT TASK DATA ARGS,$(eval override $(n) := $$(value $(n))))\nexport OUT TASK DATA\n"
        'pipeline:\n\t@printf \'<%s>\' "$$OUT" "$$TASK" "$$DATA" $(ARGS)\n'
    )
    # Not as a make within `make test`, which would say which folder it enters.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"<{ODD}><{ODD}.toml><-{ODD}><--set><task.x={ODD}>"
    with remembered("pipeline", f"--out={ODD}", by_make=False):
        command = typed.command("pipeline", data=f"-{ODD}")
    words = command.partition("-m bert_pipeline pipeline ")[2]
    done = subprocess.run(
        ["bash", "-c", f"printf '<%s>' {words}"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"<--out><{ODD}><--data=-{ODD}>"


def test_what_was_typed_is_forgotten_when_the_verb_has_ended():
    with typed.remembered(argparse.Namespace(verb="pipeline", task="toy"), by_make=False):
        assert typed.command("serve") == "python -m bert_pipeline serve --task toy"
    assert typed.command("serve") == "make serve"


# What is read before or without a command: the page of settings, what `make doctor` and the set-up say, a task file.
ELSEWHERE = (
    "doctor",
    "bootstrap.py",
    "setup_uv.py",
    "lock.py",
    "typed.py",
    "farmhash_standin.py",
    "page.py",
    "task_file.py",
)
COMMAND = re.compile(
    rf"\bmake (?:{'|'.join(typed.VARIABLES)})\b"
    r"|\b(?:OUT|METADATA|TASK|LABELS|VERSION)=|(?<![\w`(])--(?!help|hash)[a-z]+"
)


def told(path: Path) -> Iterator[str]:
    """The strings of a source that messages are made of: no docstrings, no options that are declared or handed on."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in (
            "add_argument",
            "add_parser",
            "_verb",
        ):
            skipped |= {id(n) for n in ast.walk(call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield from [node.value] if " " in node.value else []


def test_no_message_writes_a_command_or_an_option_by_itself():
    root = Path(__file__).parents[3] / "bert_pipeline"
    found = [
        f"{path.name}: {text}"
        for path in sorted(root.rglob("*.py"))
        if not path.name.startswith(ELSEWHERE)
        for text in told(path)
        if COMMAND.search(text)
    ]
    assert found == []
