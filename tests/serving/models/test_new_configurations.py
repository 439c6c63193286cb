"""How a server process gets another configuration: over gRPC, and from its models.config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.serving.calls import offset, reload, rest, version_states
from tests.serving.processes import RunningServer, wait_until
from tests.serving.toys import add, write_config


def test_v9_reload_over_grpc_is_whole_or_not_at_all(
    tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    """V9, V10."""
    for name, version in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        add(tmp_path / name, version)
    server = start_server("--model_name=a", f"--model_base_path={tmp_path / 'a'}")

    def model(name: str, more: str = "") -> str:
        return (
            f'config {{ name: "{name}" base_path: "{tmp_path}/{name}" model_platform: "tensorflow" {more} }}'
        )

    reload(server, model("b", 'version_labels { key: "stable" value: 2 }'))
    assert offset(server, "b") == 2.0
    assert rest(server, "/v1/models/b/labels/stable:predict", {"instances": ["hi"]})[0] == 200
    assert rest(server, "/v1/models/a:predict", {"instances": ["hi"]})[0] == 404
    with pytest.raises(grpc.RpcError) as error:
        reload(server, model("a") + model("b", 'version_labels { key: "stable" value: 3 }'))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == (
        "Request to assign label to version 3 of model b, which is not currently available for inference"
    )
    assert offset(server, "b") == 2.0
    assert rest(server, "/v1/models/b/labels/stable:predict", {"instances": ["hi"]})[0] == 200
    assert rest(server, "/v1/models/a:predict", {"instances": ["hi"]})[0] == 404


def test_v11_models_config_is_looked_at_again_and_a_bad_one_changes_nothing(
    tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    for name, version in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        add(tmp_path / name, version)
    config = write_config(tmp_path, "a")
    server = start_server(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.2")
    config.write_text("model_config_list { config { nmae: 'b' } }")
    wait_until(lambda: "the old configuration stays" in server.log.read_text())
    assert "Did you mean name?" in server.log.read_text()
    assert offset(server, "a") == 1.0
    write_config(tmp_path, "a", "b")
    wait_until(lambda: version_states(server, "b") == {2: "AVAILABLE"})
    assert (offset(server, "a"), offset(server, "b")) == (1.0, 2.0)
