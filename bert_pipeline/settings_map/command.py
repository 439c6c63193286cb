"""The verb `settings`: prints the map of components and settings, or the settings whose key has a word in it."""

from __future__ import annotations

import argparse
import warnings

from bert_pipeline.settings.errors import UserError
from bert_pipeline.settings_map.settings import all_settings


def main(arguments: argparse.Namespace) -> int:
    """Prints; returns the exit status.

    Raises:
        UserError: no key has the word.
    """
    if not arguments.word:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that TFX imports; nothing to do with this page
            from bert_pipeline.settings_map import page  # it builds graphs, and so imports TFX

        print(page.as_markdown(), end="")
        return 0
    found = [setting for setting in all_settings() if arguments.word in setting.key]
    if not found:
        raise UserError(
            f"no setting has {arguments.word!r} in its key; `python -m bert_pipeline settings` lists all"
        )
    for setting in found:
        default = "required" if setting.default == "required" else f"default {setting.default}"
        print(f"{setting.key}  ({setting.type}, {default})\n    {setting.meaning}")
    return 0
