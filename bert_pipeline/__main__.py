"""The command line: `python -m bert_pipeline pipeline --task shoes`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from gc import freeze

# Set before any import of TensorFlow: hub.KerasLayer and TFX's savers need Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# ML Metadata logs every connection to PostgreSQL.
os.environ.setdefault("GLOG_minloglevel", "2")

from bert_pipeline.running import warm
from bert_pipeline.settings import argument_types, lazy_imports, typed, user_modules
from bert_pipeline.settings.errors import UserError, sentence_of
from bert_pipeline.verbs import common

# The files of verbs/, in the order of `--help`: each adds a verb's options and names the module that implements it.
VERBS = (
    "pipeline",
    "node",
    "warm_steps",
    "dag",
    "airflow",
    "new_task",
    "schema",
    "lineage",
    "compare",
    "tensorboard",
    "report",
    "rollback",
    "gc",
    "skew",
    "label",
    "spans",
    "monitor",
    "serve",
    "predict",
    "settings",
    "doctor",
    "upgrade_metadata",
)


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status.

    0: done. 1: the model was refused, or the two sides of a skew check differ. 2: an error that the
    message explains.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["node"] and (status := warm.handed_over(words)) is not None:
        return status
    user_modules.make_importable()
    lazy_imports.defer()
    by_make = os.environ.pop(typed.BY_MAKE, "") != ""
    try:
        with typed.remembered(argparse.Namespace(verb=""), by_make=by_make):
            arguments = _parser().parse_args(words)
        with typed.remembered(arguments, by_make=by_make):
            return common.run(arguments)
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader closed the pipe (`| head`); silence the flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        print(f"\nerror: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last finished component", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argument_types.Parser(prog="python -m bert_pipeline", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    for name in VERBS:
        importlib.import_module(f"bert_pipeline.verbs.{name}").add(verbs)
    parser.set_defaults(main=main)  # for `warm`, whose forks run verbs
    return parser


if __name__ == "__main__":
    status = main()
    freeze()  # the interpreter's last collection over all of TFX's modules takes 1.4 s
    sys.exit(status)
