"""What is checked of a command line before its verb begins: one sentence, exit status 2, and nothing was written."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bert_pipeline.settings import typed
from bert_pipeline.settings.errors import UserError

# How the file that `monitor` writes for Prometheus begins.
_OUR_METRICS = b"# HELP bert_monitor_"

# Imports stand inside the functions: `doctor` must run where no package is installed.


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option by the name under which it was typed, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print.

        Raises:
            UserError: always.
        """
        found = re.match(r"argument (?:-\w/)?--([\w-]+): (.*)", message, re.DOTALL)
        verb = self.prog.rpartition(" ")[2]
        text = f"{typed.name(found[1].replace('-', '_'), verb=verb)}: {found[2]}" if found else message
        raise UserError(f"{text} (all options: {self.prog} --help)")


def count(lowest: int) -> Callable[[str], int]:
    """A type of option: whole numbers from `lowest` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {lowest}")
        return int(text)

    return parse


def port(text: str) -> int:
    """A type of option: a TCP port, 0 for any that is free."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return int(text)


def file(text: str) -> str:
    """A type of option: a file that is there, - for standard input; empty where none is given."""
    if text not in ("", "-") and not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return text


def table(text: str) -> str:
    """A type of option: a file or a folder that is there."""
    if not text or not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no file and no folder {text!r}")
    return text


def line(text: str) -> str:
    """A type of option: a sentence for a record that is shown in one line."""
    return " ".join(text.split())


def out_folder(text: str) -> Path:
    """A type of option: the folder that runs write into; it need not be there."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a folder, or leave it out")
    path = Path(text)
    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; give a folder")
    return path


def target(*suffixes: str) -> Callable[[str], str]:
    """A type of option: a file to write, in a folder that is there; empty where none is given.

    Args:
        suffixes: one of which its name must have, where there are any; it must not be empty then.
    """

    def parse(text: str) -> str:
        path = Path(text)
        if (text or suffixes) and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise argparse.ArgumentTypeError(f"{text!r} is not a file in an existing folder")
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} is not named {' or '.join(suffixes)}")
        return text

    return parse


def prometheus_file(text: str) -> str:
    """A type of option: a file to write for Prometheus, as `target`; one that is there must be ours to replace."""
    target()(text)
    if text:
        try:
            check_prometheus_file(Path(text))
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return text


def check_prometheus_file(path: Path) -> None:
    """Refuses a file that `monitor` did not write.

    Raises:
        UserError: names it.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_file():
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                head = file.read(len(_OUR_METRICS))
            if head in (b"", _OUR_METRICS):
                return
    raise UserError(
        f"{path} is there and was not written by this command; give another file, or move it away"
    )
