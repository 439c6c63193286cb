"""The Makefile: each target is listed, none holds logic, and what is typed reaches Python as it was typed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from bert_pipeline.settings import typed

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ODD = [
    'it\'s "5 $x" `id` $(id) #1 \\n',
    "$$HOME ${HOME} $(HOME) %s *",
    "a,b;c|d&e>f<g!h?~[i]{j}",
    "-x=--y:=z",
    "two\nlines",
    "two  blanks ",  # make itself drops those in front
]


def make(*arguments: str, **more: str) -> str:
    """What make prints where `printf <%s>` stands in for Python, without the set-up; `more` is its environment."""
    command = ["make", "-s", "-o", "setup", *arguments, "VENV_PYTHON=printf '<%s>'"]
    # `make test ARGS=...` hands its variables on to every make below it.
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")} | more
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def rules() -> dict[str, str]:
    """The recipe of each target."""
    return dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n?)*)", MAKEFILE, re.MULTILINE))


def test_make_help_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert targets is not None
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    )
    assert re.findall(r"^  make ([\w-]+) +\S", printed.stdout, re.MULTILINE) == targets[1].split()


def test_make_targets_are_at_most_three_lines() -> None:
    assert len(rules()) > 10
    assert max(len(rule.splitlines()) for rule in rules().values()) <= 3


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("verb", sorted(typed.VARIABLES))
def test_what_is_typed_reaches_python_as_it_was_typed(verb: str, value: str) -> None:
    options = {o: v for o, v in typed.VARIABLES[verb].items() if v not in ("V", "YES", "LOG", "RUNS")}
    if verb == "predict":
        del options["text"]  # FILE stands for it
    printed = make(verb, *(f"{variable}={value}" for variable in options.values()))
    for option in options:
        flag = f"<--{option}={value}>" if option else f"<{value}>"
        assert flag in printed.replace("-id-column", "-id_column"), flag


def test_a_text_reaches_the_client_and_args_reach_the_shell() -> None:
    assert f"<--text={ODD[0]}>" in make("predict", f"TEXT={ODD[0]}")
    assert "<--><--out><a b><$x>" in make("predict", "ARGS=--out 'a b' '$x'")
    assert "<3><5>" in make("compare", "RUNS=3 5")


def test_names_that_a_shell_has_for_itself_are_not_taken_for_typed() -> None:
    shell = {"NAME": "laptop", "PORT": "8080", "LOG": "info", "V": "2", "FILE": "f", "REST_PORT": "9"}
    assert "<--text=fine>" in make("predict", "TEXT=fine", **shell)
    assert "<--rest_port=9>" in make("predict", **shell)
    assert "--log" not in make("serve", **shell)
    assert "--port" not in make("tensorboard", **shell)
    assert "<-v>" not in make("pipeline", **shell)
    assert "<--name=mine>" in make("new-task", "NAME=mine", **shell)
    assert "<--name=>" in make("new-task", **shell)


def test_what_messages_tell_to_type_are_variables_of_the_target() -> None:
    for verb, variables in typed.VARIABLES.items():
        recipe = rules()[verb].replace("$(TASK_ARGUMENTS)", "$(PAST_ARGUMENTS) $$DATA $$SPAN $$V")
        recipe = recipe.replace("$(PAST_ARGUMENTS)", "$$TASK $$OUT $$METADATA")
        named = set(re.findall(r"\$(?:\$|\(if \$\()([A-Z_]+)", recipe)) - {"ARGS"}
        assert set(variables.values()) == named, verb


def test_no_recipe_pastes_a_variable_into_the_shells_text() -> None:
    own = {"VENV_PYTHON", "VERB", "PAST_ARGUMENTS", "TASK_ARGUMENTS", "SIDE_BY_SIDE", "MAKEFILE_LIST", "ARGS"}
    for target, recipe in rules().items():
        pasted = set(re.findall(r"(?<!if )\$\(([A-Z_]+)\)", recipe)) - own
        assert pasted <= {"PYTHON", "MAKECMDGOALS"}, target


def test_a_verb_is_silent_about_a_set_up_that_is_up_to_date() -> None:
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    for goal, is_silent in (("setup", False), ("pipeline", True)):
        command = ["make", "-n", goal, "PYTHON=python3"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.lstrip().startswith("SETUP_QUIETLY=1 python3") is is_silent, goal
