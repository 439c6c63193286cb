"""Evaluator with gates from `judging`: an executor that extends the stock one.

An example to copy of TFX's third kind of custom component: the stock executor does the work, this one reads its
output and may withdraw the blessing, and downstream components see the same artifacts as before. The interface has
one more parameter.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as stock
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types import standard_component_specs as specs
from tfx.types.component_spec import ExecutionParameter

from bert_pipeline.components import prediction_extractor, predictions
from bert_pipeline.evaluation import eval_config, slices
from bert_pipeline.judging import gates
from bert_pipeline.judging.answers import read_answers
from bert_pipeline.settings import sections

_TERMS = "terms"


class Executor(stock.Executor):
    """Runs TFX's executor, then the gates on its answers to each example."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates, judges, and writes the verdict beside the metrics; see TFX's executor for the arguments."""
        uri = artifact_utils.get_single_uri(output_dict[specs.EVALUATION_KEY])
        terms = gates.terms_from_json(exec_properties[_TERMS])
        with predictions.written_to(uri, label_column=terms.label_column, labels=terms.labels):
            super().Do(input_dict, output_dict, exec_properties | prediction_extractor.PROPERTY)
        slices.write_labels(uri, terms.labels)
        columns = {column for spec in terms.slices for column in spec.split("+")}
        judge = gates.Judge(read_answers(uri, labels=terms.labels, columns=columns), terms=terms)
        verdict = judge.verdict()
        slices.write_intervals(uri, judge.intervals())
        notes = [
            _label_note(name, labels, terms.labels) for name, labels in predictions.other_labels(uri).items()
        ]
        verdict = dataclasses.replace(verdict, notes=(*notes, *verdict.notes))
        text = json.dumps(dataclasses.asdict(verdict), indent=2, ensure_ascii=False)
        (Path(uri) / gates.VERDICT_FILE).write_text(text + "\n", encoding="utf-8")
        if verdict.refusals:
            _withdraw(artifact_utils.get_single_instance(output_dict[specs.BLESSING_KEY]))


def _label_note(name: str, own: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Note on a model whose labels differ from the task's."""
    added = [label for label in labels if label not in own]
    gone = [label for label in own if label not in labels]
    parts = [f"it does not know {', '.join(added)}"] if added else []
    parts += [f"the task has no {', '.join(gone)} any more"] if gone else []
    what = "; ".join(parts) or "it has them in another order"
    return f"the {name}'s labels are not the task's: {what}; its answers were compared by the labels' names"


def _withdraw(blessing: types.Artifact) -> None:
    """Changes a blessing to what TFX's executor writes for a model that is not blessed."""
    (Path(blessing.uri) / constants.BLESSED_FILE_NAME).unlink(missing_ok=True)
    (Path(blessing.uri) / constants.NOT_BLESSED_FILE_NAME).touch()
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.NOT_BLESSED_VALUE)


class GatedEvaluatorSpec(types.ComponentSpec):
    """Evaluator's interface, plus the terms of the gates."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        specs.EVAL_CONFIG_KEY: ExecutionParameter(type=tfma.EvalConfig),
        specs.FAIRNESS_INDICATOR_THRESHOLDS_KEY: ExecutionParameter(type=str),
        specs.EXAMPLE_SPLITS_KEY: ExecutionParameter(type=str),
        _TERMS: ExecutionParameter(type=str),
    }
    INPUTS = specs.EvaluatorSpec.INPUTS
    OUTPUTS = specs.EvaluatorSpec.OUTPUTS
    TYPE_ANNOTATION = specs.EvaluatorSpec.TYPE_ANNOTATION


class GatedEvaluator(base_beam_component.BaseBeamComponent):
    """TFX's Evaluator with the executor above, configured by a task."""

    SPEC_CLASS = GatedEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel | None,
        task: sections.TaskConfig,
        splits: tuple[str, ...] = ("eval",),
    ) -> None:
        """Wires the component.

        Args:
            examples: channel of raw Examples.
            model: channel of the candidate.
            baseline_model: channel of the model to compare with.
            task: defines metrics, slices and gates.
            splits: names of the splits of `examples` to evaluate.

        Raises:
            UserError: a gate names an unknown metric or label.
        """
        super().__init__(
            spec=GatedEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                eval_config=eval_config.eval_config(task),
                fairness_indicator_thresholds="null",
                example_splits=json.dumps(list(splits)),
                terms=gates.terms_to_json(gates.terms_of(task)),
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
