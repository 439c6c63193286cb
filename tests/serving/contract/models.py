"""The models that the contract suite asks, and the models.config that serves them.

    python -m tests.serving.contract.models /tmp/models --mount /models
    docker run -p 8500:8500 -p 8501:8501 -v /tmp/models:/models tensorflow/serving:2.20.0 \
        --model_config_file=/models/models.config --allow_version_labels_for_unavailable_models=true
    make test-serving ADDRESS=localhost:8500,localhost:8501
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import tensorflow as tf

from tests.serving.contract.toy import save_toy

MODEL, OTHER, SPACED, PLAIN = "toy", "other", "two words", "plain"
STABLE, CANARY = 1, 2
LABELS = {"stable": STABLE, "can ary": CANARY}
OTHER_VERSION = 7


def save_plain(folder: Path) -> Path:
    """Writes a TF1 graph: `number` fails where `text` is no number, and `length` does not.

    TF2 makes one function of a signature, all of whose outputs are computed; here only what is fetched is.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        text = tf.compat.v1.placeholder(tf.string, [None], name="text")
        outputs = {"number": tf.strings.to_number(text), "length": tf.strings.length(text)}
        build = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def(
            {"text": build(text)}, {k: build(v) for k, v in outputs.items()}, "tensorflow/serving/predict"
        )
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


@dataclasses.dataclass(frozen=True)
class ModelsOnDisk:
    """Where the models and their configuration lie."""

    folder: Path
    config: Path


def write_models(folder: Path, *, mount: str = "") -> ModelsOnDisk:
    """Writes every model and models.config.

    Args:
        folder: where to.
        mount: folder under which the server finds it; "" is the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = mount or str(folder.absolute())
    for name, versions in ((MODEL, (STABLE, CANARY)), (OTHER, (OTHER_VERSION,))):
        (folder / name).mkdir()
        for version in versions:
            save_toy(folder / name / str(version), offset=float(version))
    save_plain(folder / PLAIN / "1")
    labels = " ".join(f'version_labels {{ key: "{k}" value: {v} }}' for k, v in LABELS.items())
    entries = [
        _entry(MODEL, f"{root}/{MODEL}", f"model_version_policy {{ all {{}} }} {labels}"),
        _entry(OTHER, f"{root}/{OTHER}", ""),
        _entry(SPACED, f"{root}/{OTHER}", ""),
        _entry(PLAIN, f"{root}/{PLAIN}", ""),
    ]
    config = folder / "models.config"
    config.write_text("model_config_list {\n" + "".join(entries) + "}\n")
    return ModelsOnDisk(folder, config)


def _entry(name: str, base_path: str, more: str) -> str:
    platform = 'model_platform: "tensorflow"'
    return f'  config {{ name: "{name}" base_path: "{base_path}" {platform} {more} }}\n'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--mount", default="", help="the folder's path as the server sees it: /models in docker"
    )
    flags = parser.parse_args()
    print(write_models(flags.folder, mount=flags.mount).config)
