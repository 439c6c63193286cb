"""The command line: `python -m bert_pipeline pipeline --task shoes`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

# Before TensorFlow is imported by anything: hub.KerasLayer and TFX's savers are Keras 2.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault(
    "GLOG_minloglevel", "2"
)  # of ML Metadata, which tells of every connection to PostgreSQL

from bert_pipeline import past_verbs
from bert_pipeline.serving_folder import serve
from bert_pipeline.settings import argument_types, typed, user_modules
from bert_pipeline.settings.errors import UserError, sentence_of


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status.

    0: done. 1: the model was refused, or the two sides of a skew check differ. 2: an error that the
    message explains.
    """
    user_modules.make_importable()
    by_make = os.environ.pop(typed.BY_MAKE, "") != ""
    try:
        with typed.remembered(argparse.Namespace(verb=""), by_make=by_make):
            arguments = _parser().parse_args(argv)
        with typed.remembered(arguments, by_make=by_make):
            _check(arguments)
            if getattr(arguments, "reads_record", False):
                _complete_records(arguments)
            return int(arguments.run(arguments))
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads has enough, as in `| head`; Python flushes once more at its end
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
    _add_runs(verbs)
    _add_new_task(verbs)
    _add_monitor(verbs)
    serve.add(verbs)
    past_verbs.add(verbs)
    _add_cuts(verbs)

    settings = verbs.add_parser("settings", help="every setting and component, with the files behind them")
    settings.add_argument("word", nargs="?", default="", help="only keys with this in them, in short")
    settings.set_defaults(run=_settings)

    doctor = verbs.add_parser("doctor", help="say what is wrong with this machine")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_runs(verbs: Any) -> None:
    pipeline = verbs.add_parser("pipeline", help="run a task's pipeline")
    _add_task_arguments(pipeline)
    pipeline.add_argument(
        "--window", type=argument_types.count(1), help="spans to train on, instead of data.window"
    )
    pipeline.add_argument(
        "--server",
        choices=("process", "docker"),
        default="process",
        help="what InfraValidator loads the candidate in: our server, or TensorFlow Serving in docker",
    )
    pipeline.set_defaults(run=_pipeline)

    skew = verbs.add_parser("skew", help="compare training with serving on a CSV")
    _add_task_arguments(skew)
    skew.add_argument(
        "--csv",
        type=argument_types.file,
        default="",
        help="file to compare on; default: the task's own files",
    )
    skew.set_defaults(run=_skew, needs_run="files")

    label = verbs.add_parser("label", help="label a file or folder of texts with the model in service")
    _add_task_arguments(label)
    label.add_argument(
        "--texts",
        type=argument_types.table,
        required=True,
        help=".csv or .parquet file, or a folder of them",
    )
    label.add_argument(
        "--to",
        type=argument_types.target(".csv", ".parquet"),
        default="labelled.csv",
        help="table to write: .csv or .parquet",
    )
    label.set_defaults(run=_label, needs_run="files")

    schema = verbs.add_parser("schema", help="compare the curated schema with the newest data")
    schema.add_argument("action", choices=("review",))
    _add_task_arguments(schema)
    schema.add_argument(
        "--accept", action="store_true", help="write what the data suggests into the curated schema"
    )
    schema.set_defaults(run=_schema)


def _add_cuts(verbs: Any) -> None:
    spans = verbs.add_parser("spans", help="cut dated CSV files into spans")
    spans.add_argument(
        "--csv",
        type=argument_types.file,
        nargs="+",
        required=True,
        help="files with the same columns",
    )
    spans.add_argument("--date", required=True, help="the column with dates, ISO 8601")
    spans.add_argument("--by", choices=("day", "week", "month"), default="week")
    spans.add_argument("--to", required=True, help="folder; gets one folder a span, YYYY-MM-DD")
    spans.set_defaults(run=_spans)


def _add_new_task(verbs: Any) -> None:
    new_task = verbs.add_parser("new-task", help="write a task file for a data set")
    new_task.add_argument("--name", required=True, help="of the task: letters, digits and _")
    new_task.add_argument("--data", required=True, help="file, folder, or hf:HANDLE of the Hugging Face hub")
    new_task.add_argument("--text", action="append", default=[], help="text column; twice for a pair")
    new_task.add_argument("--label", default="", help="label column")
    new_task.add_argument("--slice", action="append", default=[], help="column to report metrics by")
    new_task.add_argument("--out", default="out", type=argument_types.out_folder, help="where runs write")
    new_task.add_argument(
        "--force", action="store_true", help="replace a task of that name; the old one is kept as .bak"
    )
    new_task.add_argument(
        "--header",
        choices=("yes", "no"),
        help="whether the first record of a CSV names its columns; default: found",
    )
    new_task.add_argument(
        "--encoding", default="", help="of a CSV or JSON file; default: found from the whole file"
    )
    new_task.add_argument(
        "--merge_labels",
        "--merge-labels",
        action="store_true",
        help="make one of labels that differ only in case, blanks or notation",
    )
    new_task.add_argument(
        "--drop_label", "--drop-label", action="append", default=[], help="leave out the rows with this label"
    )
    new_task.set_defaults(run=_new_task)


def _add_monitor(verbs: Any) -> None:
    monitor = verbs.add_parser(
        "monitor", help="judge the model in service by its traffic: fine, watch or retrain"
    )
    _add_task_arguments(monitor)
    monitor.add_argument("--logs", default="", help="folder of request logs; default: OUT/TASK/requests")
    monitor.add_argument(
        "--labels",
        type=argument_types.file,
        default="",
        help="CSV of id and label, and columns to slice by",
    )
    monitor.add_argument(
        "--context",
        type=argument_types.file,
        default="",
        help="CSV of id and columns to slice by, known without labels",
    )
    monitor.add_argument("--version", type=argument_types.count(0), help="default: the one in service")
    monitor.add_argument(
        "--compare",
        type=argument_types.count(0),
        default=0,
        help="another pushed version, for agreement",
    )
    monitor.add_argument(
        "--prometheus",
        type=argument_types.prometheus_file,
        default="",
        help="file to write for the textfile collector",
    )
    monitor.set_defaults(run=_monitor, needs_run="files")


def _add_task_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="shoes", help="name of a file in tasks/, or a path")
    parser.add_argument("--data", default="", help="data folder, instead of the task's data.path")
    parser.add_argument(
        "--span",
        type=_span,
        default=None,
        help="span, instead of the task's data.span: 2, 2025-07-01",
    )
    parser.add_argument(
        "--out",
        default="out",
        type=argument_types.out_folder,
        help="where everything is written",
    )
    parser.add_argument("--metadata", default="", help="sqlite (default), mysql://... or postgresql://...")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the libraries log")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="one setting",
    )


# Imports stand inside the verbs: a verb pays for its own only, and `--help` for none.


def _pipeline(arguments: argparse.Namespace) -> int:
    from bert_pipeline.running import run

    return run.run(
        run.Request(
            task=arguments.task,
            data=arguments.data,
            span=arguments.span,
            window=arguments.window,
            overrides=tuple(arguments.overrides),
            out=arguments.out,
            metadata=arguments.metadata,
            server=arguments.server,
            verbose=arguments.verbose,
        )
    )


def _log(arguments: argparse.Namespace, name: str) -> Path:
    from bert_pipeline.settings.config import task_name
    from bert_pipeline.settings.paths import run_paths

    return run_paths(task_name(arguments.task), out=arguments.out).logs / f"{name}.log"


def _skew(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

    with run_log(_log(arguments, "skew"), verbose=arguments.verbose):
        from bert_pipeline.running import skew

        quiet_library_loggers()
        return skew.main(arguments)


def _label(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

    with run_log(_log(arguments, "label"), verbose=arguments.verbose):
        from bert_pipeline.running import label

        quiet_library_loggers()
        return label.main(arguments)


def _monitor(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

    with run_log(_log(arguments, "monitor"), verbose=arguments.verbose):
        from bert_pipeline.monitoring import command

        quiet_library_loggers()
        return command.main(arguments)


def _new_task(arguments: argparse.Namespace) -> int:
    from bert_pipeline.new_task import command

    return command.main(arguments)


def _spans(arguments: argparse.Namespace) -> int:
    from bert_pipeline.data import cut_spans

    return cut_spans.main(arguments)


def _schema(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings.run_log import quiet_library_loggers, run_log

    with run_log(_log(arguments, "schema"), verbose=arguments.verbose):
        from bert_pipeline.running import schema_review

        quiet_library_loggers()
        return schema_review.main(arguments)


def _settings(arguments: argparse.Namespace) -> int:
    from bert_pipeline.settings_map import settings

    return settings.main(arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    del arguments
    from bert_pipeline.setup import doctor

    return doctor.main()


# Verbs that write into the output folder.
_WRITING = (
    "pipeline", "schema", "skew", "label", "monitor", "tensorboard", "report", "rollback", "gc", "upgrade-metadata",
)  # fmt: skip


def _check(arguments: argparse.Namespace) -> None:
    """Refuses a task, folder, span or setting that the verb could not use; TensorFlow is not loaded for that.

    Args:
        arguments: the parsed command line; reads `task`, `out`, `data`, `span`, `window`, `overrides`, `metadata`
            where they are there, and `needs_run`: the verb looks at what ran before.

    Raises:
        UserError: names the option, its value and the fix.
    """
    if not hasattr(arguments, "task"):
        return
    from bert_pipeline.data import spans
    from bert_pipeline.settings import config
    from bert_pipeline.settings.paths import check_writable, run_paths

    name = config.task_name(arguments.task)
    if hasattr(arguments, "overrides"):
        loaded = config.load_task(
            arguments.task,
            data=arguments.data,
            span=arguments.span,
            window=getattr(arguments, "window", None),
            overrides=arguments.overrides,
        )
        if arguments.verb in ("pipeline", "schema"):
            spans.resolve_window(loaded)
    if address := getattr(arguments, "metadata", ""):
        from bert_pipeline.metadata import database

        database.connection_config(address, sqlite_path=Path("unused"))
    if need := getattr(arguments, "needs_run", ""):
        root = run_paths(name, out=arguments.out).root
        if not root.is_dir() and not (
            need == "record" and getattr(arguments, "metadata", "") not in ("", "sqlite")
        ):
            raise UserError(typed.missing_run(root))
    if arguments.verb in _WRITING:
        check_writable(run_paths(name, out=arguments.out))


def _complete_records(arguments: argparse.Namespace) -> None:
    """Completes the records of runs that were killed after their push, before a verb reads them."""
    from bert_pipeline.history.task_store import task_store
    from bert_pipeline.serving_folder import unfinished

    store, paths = task_store(arguments)
    if unfinished.without_summary(store):
        from bert_pipeline.metadata import database
        from bert_pipeline.running import recovered  # TensorFlow: loaded only where it is needed

        connection = database.connection_config(arguments.metadata, sqlite_path=paths.metadata)
        recovered.complete(store, paths, connection, say=lambda line: print(line, file=sys.stderr))


def _span(text: str) -> int:
    """A type of option: a span, `2` or `2025-07-01`; empty: the newest."""
    from bert_pipeline.data import spans

    try:
        return spans.parse_span(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
