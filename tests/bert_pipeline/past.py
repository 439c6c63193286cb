"""A task's past for tests: a real metadata store and real folders, written as TFX writes them, without TFX."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from bert_pipeline.metadata import database, run_record
from bert_pipeline.metadata.run_history import PIPELINE_ROOT
from bert_pipeline.serving_folder import atomic_push
from bert_pipeline.settings.paths import RunPaths, run_paths

Ids = Mapping[str, Sequence[int]]


@dataclasses.dataclass
class Record:
    """The record of a run that goes on."""

    run_id: str
    summary: str = ""
    """Text of summary.json, to be set."""


@contextlib.contextmanager
def recorded(
    store: MetadataStore, known: Mapping[str, str], *, on_stop: Callable[[str], None] | None = None
) -> Iterator[Record]:
    """Records a run from its start to its end, as `running/run.py` does."""
    record = Record(run_record.begin(store, known))
    with run_record.stops_recorded(store, record.run_id, on_stop=on_stop):
        yield record
    run_record.end(store, record.run_id, record.summary)


class Past:
    """The runs of the task `toy` under one output folder; artifacts are folders with one small file."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.paths: RunPaths = run_paths("toy", out=out)
        self.paths.root.mkdir(parents=True)
        self.store = MetadataStore(database.connection_config("", sqlite_path=self.paths.metadata))
        self.schema = 0
        self._config = ""
        self._types: dict[tuple[str, str], int] = {}

    def run(
        self, *, span: int, weights: str, epochs: int = 3, accuracy: float = 0.9, push: bool = True, baseline: int = 0,
        base_model: int = 0, retrain_of: int = 0, config: str = "", gates: Sequence[Mapping[str, object]] = (),
        files: str = "span-{SPAN}/rows.csv",
    ) -> tuple[int, int]:  # fmt: skip
        """A whole run. Returns the Model's id and the version that it was pushed as; 0: none.

        `retrain_of`: the Model that the run found in the cache instead of training; `config`: Trainer's
        custom_config, as JSON.
        """
        settings = {
            "name": "toy",
            "training": {"epochs": epochs},
            "data": {"labels": ["bad", "good"], "files": {"all": files}},
            **({"evaluation": {"gates": list(gates), "costs": {}}} if gates else {}),
        }
        self._config = config
        known = {
            run_record.SETTINGS: json.dumps(settings),
            run_record.ENCODER: "tiny",
            run_record.CODE_SHA256: "c0de",
        }
        with recorded(self.store, known) as record:
            run_record.put(self.store, record.run_id, {PIPELINE_ROOT: str(self.paths.pipeline_root)})
            model, version = self._components(
                record.run_id,
                span,
                weights,
                push,
                baseline=baseline,
                base_model=base_model,
                retrain_of=retrain_of,
            )
            metrics = {"accuracy": accuracy, "macro_f1": accuracy - 0.01}
            slices = {
                "part=heel": {"num_examples": 12, "metrics": {"accuracy": accuracy - 0.1, "macro_f1": None}}
            }
            record.summary = json.dumps(
                {
                    "verdict": "pushed" if push else "refused",
                    "metrics": metrics,
                    "slices": slices,
                    "version": "",
                }
            )
        return model, version

    def _components(
        self,
        run: str,
        span: int,
        weights: str,
        push: bool,
        *,
        baseline: int,
        base_model: int,
        retrain_of: int,
    ) -> tuple[int, int]:
        examples = self.execute(run, "ExampleGen", {}, {"examples": "Examples"}, span=span)["examples"]
        self.execute(run, "StatisticsGen", {"examples": [examples]}, {"statistics": "ExampleStatistics"})
        if not self.schema:
            self.schema = self.execute(run, "Schema", {}, {"schema": "Schema"})["schema"]
        given = {"examples": [examples], "schema": [self.schema]}
        graph = {"transformed_examples": "Examples", "transform_graph": "TransformGraph"}
        transformed = self.execute(run, "Transform", given, graph)
        inputs: dict[str, list[int]] = {
            "examples": [transformed["transformed_examples"]],
            "transform_graph": [transformed["transform_graph"]],
            "schema": [self.schema],
        }
        if base_model:
            inputs["base_model"] = [base_model]
        if retrain_of:
            model = retrain_of
            # Written by one execution, and so with ids that follow each other.
            self.cached(run, "Trainer", inputs, {"model": model, "model_run": model + 1})
        else:
            model = self.execute(run, "Trainer", inputs, {"model": "Model", "model_run": "ModelRun"})["model"]
            self.write(model, weights)
        compared = {
            "examples": [examples],
            "model": [model],
            **({"baseline_model": [baseline]} if baseline else {}),
        }
        evaluated = self.execute(
            run,
            "Evaluator",
            compared,
            {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
            blessed=push,
            current_model_id=model,
        )
        version = self.push(run, model, weights, blessing=evaluated["blessing"]) if push else 0
        return model, version

    def write(self, model: int, weights: str) -> Path:
        """Makes a SavedModel of a Model artifact."""
        (artifact,) = self.store.get_artifacts_by_id([model])
        folder = Path(artifact.uri) / "Format-Serving"
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text("graph")
        (folder / "variables" / "variables.data-00000-of-00001").write_text(weights)
        return folder

    def push(self, run: str, model: int, weights: str, *, blessing: int, record: bool = True) -> int:
        """Pushes a model (`blessing`: 0 for none); `record=False`: as if it were killed before it was recorded."""
        base_dir = self.paths.push_destination
        provenance = {"model artifact": str(model), "pipeline run": run}
        blessings = {"model_blessing": [blessing]} if blessing else {}
        begun = self._begin(run, "Pusher", {"model": [model], **blessings})
        version = atomic_push.push(self.write(model, weights), base_dir=base_dir, provenance=provenance)
        if record:
            self._end(
                run, "Pusher", begun, {"pushed_model": "PushedModel"},
                pushed=1, pushed_version=str(version), pushed_destination=str(base_dir / str(version)),
            )  # fmt: skip
        return version

    def execute(
        self, run: str, node: str, inputs: Ids, outputs: Mapping[str, str], **properties: str | int | bool
    ) -> dict[str, int]:
        """An execution that made new artifacts; the properties are those of each. Returns ids by output key."""
        return self._end(run, node, self._begin(run, node, inputs), outputs, **properties)

    def _begin(self, run: str, node: str, inputs: Ids) -> int:
        """Registers an execution as TFX does before it runs; returns its id."""
        execution = pb.Execution(type_id=self._type("execution", node), last_known_state=pb.Execution.RUNNING)
        if node == "Trainer" and self._config:
            execution.custom_properties["custom_config"].string_value = self._config
        return self._put(run, node, execution, [*self._read(inputs)])[0]

    def _end(
        self, run: str, node: str, begun: int, outputs: Mapping[str, str], **properties: str | int | bool
    ) -> dict[str, int]:
        """Registers what an execution wrote; returns ids by output key."""
        written = []
        for key, type_name in outputs.items():
            artifact = pb.Artifact(
                type_id=self._type("artifact", type_name),
                uri=str(self.paths.pipeline_root / node / key / str(begun)),
                state=pb.Artifact.LIVE,
            )
            for name, value in properties.items():
                if isinstance(value, str):
                    artifact.custom_properties[name].string_value = value
                else:
                    artifact.custom_properties[name].int_value = int(value)
            Path(artifact.uri).mkdir(parents=True)
            (Path(artifact.uri) / "data").write_text("x" * 1000)
            written.append((artifact, _event(key, pb.Event.OUTPUT)))
        (execution,) = self.store.get_executions_by_id([begun])
        execution.last_known_state = pb.Execution.COMPLETE
        return dict(zip(outputs, self._put(run, node, execution, written)[1], strict=True))

    def cached(self, run: str, node: str, inputs: Ids, outputs: Mapping[str, int]) -> None:
        """An execution that found its outputs in the cache."""
        artifacts = self.store.get_artifacts_by_id(list(outputs.values()))
        found = [(a, _event(key, pb.Event.OUTPUT)) for key, a in zip(outputs, artifacts, strict=True)]
        execution = pb.Execution(type_id=self._type("execution", node), last_known_state=pb.Execution.CACHED)
        self._put(run, node, execution, [*self._read(inputs), *found])

    def _read(self, inputs: Ids) -> list[tuple[pb.Artifact, pb.Event]]:
        return [
            (self.store.get_artifacts_by_id([artifact_id])[0], _event(key, pb.Event.INPUT))
            for key, ids in inputs.items()
            for artifact_id in ids
        ]

    def _put(
        self, run: str, node: str, execution: pb.Execution, events: list[tuple[pb.Artifact, pb.Event]]
    ) -> tuple[int, list[int]]:
        names = [("pipeline", "toy"), ("node", f"toy.{node}"), *([("pipeline_run", run)] if run else [])]
        contexts = [pb.Context(type_id=self._type("context", kind), name=name) for kind, name in names]
        execution_id, ids, _ = self.store.put_execution(
            execution, events, contexts, reuse_context_if_already_exist=True
        )
        return execution_id, list(ids)

    def _type(self, kind: str, name: str) -> int:
        if (kind, name) not in self._types:
            put = {
                "artifact": lambda: self.store.put_artifact_type(pb.ArtifactType(name=name)),
                "execution": lambda: self.store.put_execution_type(pb.ExecutionType(name=name)),
                "context": lambda: self.store.put_context_type(pb.ContextType(name=name)),
            }
            self._types[kind, name] = put[kind]()
        return self._types[kind, name]

    def versions(self) -> list[int]:
        """Versions of the served folder."""
        base_dir = self.paths.push_destination
        return (
            sorted(int(p.name) for p in base_dir.iterdir() if p.name.isdigit()) if base_dir.exists() else []
        )

    def killed_at(self, step: int, action: Callable[[], object]) -> bool:
        """Does something in a process of its own, which is killed before it writes for the `step`th time.

        A write is a file that is copied, a name that is given or taken away, or a record in ML Metadata.

        Returns:
            Whether it came so far.
        """
        process = os.fork()
        if not process:
            status = 1
            try:
                kept = self.store  # its connection is the parent's
                self.store = MetadataStore(database.connection_config("", sqlite_path=self.paths.metadata))
                _kill_at(step)
                action()
                del kept
                status = 0
            finally:
                os._exit(status)
        _, ended = os.waitpid(process, 0)
        assert ended in (0, signal.SIGKILL)
        return ended == signal.SIGKILL

    def verb(self, *arguments: str) -> int:
        """Runs a verb of the command line in this process; returns its exit status."""
        from bert_pipeline.__main__ import main

        verb, *rest = arguments
        return main([verb, "--task", "toy", "--out", str(self.out), *rest])


def _event(key: str, kind: int) -> pb.Event:
    path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
    return pb.Event(type=kind, path=path)


def _kill_at(step: int) -> None:
    """Lets this process kill itself in front of its `step`th write, the first being 1."""
    places = [
        (atomic_push, "_copy_file"),
        (os, "rename"),
        (Path, "replace"),
        (shutil, "rmtree"),
        *(
            (MetadataStore, name)
            for name in ("put_execution", "put_executions", "put_artifacts", "put_contexts")
        ),
    ]
    counted = itertools.count(1)

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(counted) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    for holder, name in places:
        setattr(holder, name, counting(getattr(holder, name)))
