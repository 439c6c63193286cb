#!/usr/bin/env bash
# Why a TFX node failed is raised or recorded, never both: a component's error is raised and ML Metadata keeps no word
# of it; a resolver's error is recorded in ML Metadata and the run ends as if nothing had happened.
#
# Whoever looks at a failed run later (a report, an orchestrator that starts each node in a process of its own, a
# dashboard on ML Metadata) finds an execution in state FAILED without a message where the executor raised. And a script
# that calls LocalDagRunner().run(...) with a resolver that refuses ends with status 0, with nothing after it run.
#
# Versions: ml-pipelines-sdk 1.16.0 (TFX's own orchestration), ml-metadata 1.16.0, Python 3.10.
# Seen: component: raised ValueError, message in ML Metadata: False
#       resolver:  raised nothing,    message in ML Metadata: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=""
for candidate in python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python python3; do
  if command -v "$candidate" > /dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2> /dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "needs Python 3.10, which ml-metadata 1.16.0 has wheels for" >&2
  exit 1
fi
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ml-pipelines-sdk==1.16.0 ml-metadata==1.16.0
cat > "$work/why.py" <<'PY'
import os
import sys

from ml_metadata import MetadataStore
from tfx.dsl.component.experimental.annotations import Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import Channel
from tfx.types.standard_artifacts import Model


@component
def Component(number: Parameter[int]):
    raise ValueError(f"the number is {number}, which is too large")


class Refuses(ResolverStrategy):
    def resolve_artifacts(self, store, input_dict):
        raise ValueError("the newest model is too large")


def run(node, name):
    folder = os.path.join(sys.argv[1], name)
    os.mkdir(folder)
    config = metadata.sqlite_metadata_connection_config(os.path.join(folder, "metadata.sqlite"))
    graph = pipeline.Pipeline(
        pipeline_name=name, pipeline_root=folder, components=[node], metadata_connection_config=config
    )
    raised = "nothing"
    try:
        LocalDagRunner().run(graph)
    except ValueError as error:
        raised = type(error).__name__
    (execution,) = MetadataStore(config).get_executions()
    assert execution.last_known_state == execution.FAILED, execution
    is_recorded = "too large" in str(execution)
    print(f"{name}: raised {raised}, message in ML Metadata: {is_recorded}")
    return raised, is_recorded


seen = [
    run(Component(number=7), "component"),
    run(Resolver(strategy_class=Refuses, model=Channel(type=Model)), "resolver"),
]
sys.exit(0 if seen == [("ValueError", False), ("nothing", True)] else "the behaviour changed")
PY
"$work/venv/bin/python" "$work/why.py" "$work" 2> "$work/log" || { cat "$work/log"; exit 1; }
