"""Each name that is used beyond a library's public API is still there, and the page lists them all."""

from __future__ import annotations

import functools
import importlib
import importlib.util

from tests.private_names import ROOT, Name, all_names, as_markdown


def is_there(name: Name) -> bool:
    """Whether the module has the name, or a sub-module of it."""
    try:
        module = importlib.import_module(name.module)
    except ImportError:
        return False
    try:
        functools.reduce(getattr, name.attribute.split("."), module)
    except AttributeError:  # or a sub-module that nothing has imported yet
        return "." not in name.attribute and bool(importlib.util.find_spec(f"{name.module}.{name.attribute}"))
    return True


def test_every_private_name_is_where_it_was() -> None:
    assert [f"{name.module}.{name.attribute}" for name in all_names() if not is_there(name)] == []


def test_a_name_that_moved_is_noticed() -> None:
    assert not is_there(Name("tfx.components.pusher.executor", "Executor._MarkPushedElsewhere"))
    assert not is_there(Name("tfx.components.pusher.elsewhere", "Executor"))


def test_the_page_lists_them_all() -> None:
    page = (ROOT / "bert_pipeline/PRIVATE_API.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "python -m tests.private_names > bert_pipeline/PRIVATE_API.md"


def test_methods_that_are_called_or_overridden_are_found() -> None:
    names = {f"{name.module}.{name.attribute}" for name in all_names()}
    stock = "tfx.components.infra_validator.executor"
    assert {f"{stock}._mark_blessed", f"{stock}.Executor._PrepareModelPath"} <= names
