"""The command line, which is TF Serving's."""

from __future__ import annotations

import pytest

from serving.model_server.config.flags import parse_flags

BASE = "--model_base_path=/m"
# From tensorflow_serving/model_servers/main.cc of TF Serving 2.16.
TF_SERVINGS = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name
model_base_path num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros
file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision skip_initialize_tpu
enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""


def test_every_flag_of_tf_serving_is_known() -> None:
    assert [name for name in TF_SERVINGS.split() if name not in vars(parse_flags([BASE]))] == []


def test_c4_defaults_are_tf_servings() -> None:
    """C4: gRPC on 8500, REST off."""
    flags = parse_flags([BASE])
    assert (flags.port, flags.rest_api_port, flags.host) == (8500, 0, "0.0.0.0")
    assert (flags.model_name, flags.file_system_poll_wait_seconds) == ("default", 1.0)
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert (flags.rest_api_timeout_in_ms, flags.enable_batching) == (30_000, False)
    assert flags.model_config_file_poll_wait_seconds == 0
    assert (flags.drain_delay_seconds, flags.without_effect) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "enabled"),
    [
        (["--enable_batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=True"], True),
        (["--enable_batching=1"], True),
        (["--enable_batching", "false"], False),
        (["--enable_batching=false"], False),
        ([], False),
    ],
)
def test_booleans_are_written_as_for_tf_serving(arguments: list[str], enabled: bool) -> None:
    assert parse_flags([*arguments, BASE]).enable_batching is enabled


def test_values_follow_an_equals_sign_or_a_space() -> None:
    flags = parse_flags(["--port", "9", "--model_name=a=b", BASE])
    assert (flags.port, flags.model_name) == (9, "a=b")


def test_channel_arguments_are_numbers_or_text() -> None:
    flags = parse_flags([BASE, "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.x=y"])
    assert flags.grpc_channel_arguments == [("grpc.max_connection_age_ms", 2000), ("grpc.x", "y")]
    assert parse_flags([BASE]).grpc_channel_arguments == []


def test_flags_without_a_meaning_here_are_named() -> None:
    flags = parse_flags([BASE, "--mixed_precision=bfloat16", "--enable_model_warmup=false"])
    assert flags.without_effect == ["enable_model_warmup", "mixed_precision"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([BASE, "--rest_api_prot=1"], "unknown flag --rest_api_prot; did you mean --rest_api_port?"),
        ([BASE, "--rest_port=1"], "unknown flag --rest_port; did you mean --rest_api_port?"),
        ([BASE, "--zzz"], "unknown flag --zzz"),
        ([BASE, "model"], "unknown argument 'model'; every flag begins with --"),
        ([BASE, "--port=x"], "--port: invalid int value: 'x'"),
        (
            [BASE, "--grpc_channel_arguments=a"],
            "--grpc_channel_arguments: 'a' is not of the form name=value,name=value",
        ),
        (
            [BASE, "--port=0", "--grpc_socket_path=/s"],
            "--grpc_socket_path is beside --port, which is 0; give a port as well",
        ),
        ([BASE, "--port=70000"], "--port is 70000; ports go from 0 to 65535"),
        ([BASE, "--enable_batching=perhaps"], "--enable_batching: 'perhaps' is neither true nor false"),
        ([], "give --model_base_path, or --model_config_file"),
        (
            [BASE, "--batching_parameters_file=f"],
            "--batching_parameters_file is set without --enable_batching; set both or neither",
        ),
        (
            [BASE, "--port=5", "--rest_api_port=5"],
            "--port and --rest_api_port are both 5; give two different ports",
        ),
        (
            [BASE, "--use_alts_credentials"],
            "--use_alts_credentials is not supported; --ssl_config_file gives TLS",
        ),
        (
            [BASE, "--tensorflow_session_parallelism=2", "--tensorflow_intra_op_parallelism=1"],
            "--tensorflow_session_parallelism sets both --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism; give it or them",
        ),
    ],
)
def test_mistakes_are_one_line_with_the_flag_and_the_fix(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"serving.model_server: {message}; --help lists the flags\n"


def test_help_names_every_flag_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "--ssl_config_file" in text
    assert "--drain_delay_seconds" in text
    assert "--num_tflite_pools" not in text
