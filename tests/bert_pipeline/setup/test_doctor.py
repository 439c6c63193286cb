"""The doctor, shown broken machines."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bert_pipeline.setup import bootstrap, doctor
from bert_pipeline.setup.doctor import BAD, OK, WARN, Finding, print_report

ROOT = Path(__file__).resolve().parents[3]
GIB = 1 << 30


def test_windows_is_sent_to_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Windows")
    finding = doctor.check_platform([])
    assert finding.level == BAD
    assert "WSL2" in finding.fix


def test_a_platform_without_wheels_is_bad_and_says_what_each_stack_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bootstrap, "glibc_version", lambda: (2, 12))
    finding = doctor.check_platform(bootstrap.fitting_names())
    assert finding.level == BAD
    assert finding.state == (
        "Linux x86_64, glibc 2.12: TFX 1.21 needs glibc 2.39 or newer; TFX 1.16 needs glibc 2.17 or newer"
    )
    monkeypatch.setattr(bootstrap, "glibc_version", lambda: (2, 41))
    found = doctor.check_platform(bootstrap.fitting_names())
    assert found == Finding(OK, "platform", "Linux x86_64, glibc 2.41: runs TFX 1.21 and TFX 1.16")


@pytest.mark.parametrize(
    ("record", "fitting", "level", "state", "fix"),
    [
        (
            {"stack": "1.21"},
            ["1.21", "1.16"],
            OK,
            "TFX 1.21, the newest (make setup STACK=1.16 for an older one)",
            "",
        ),
        ({"stack": "1.21"}, ["1.21"], OK, "TFX 1.21, the newest", ""),
        ({"stack": "1.16"}, ["1.16"], OK, "TFX 1.16, the newest that runs here (TFX 1.21 needs ", ""),
        (
            {"stack": "1.16", "asked": "1.16"},
            ["1.21", "1.16"],
            OK,
            "TFX 1.16, as STACK=1.16 asked",
            "STACK=auto",
        ),
        (
            {"stack": "1.16"},
            ["1.21", "1.16"],
            WARN,
            "TFX 1.16: no Python for TFX 1.21 was found",
            "Python 3.12 or",
        ),
        ({"stack": "1.21"}, ["1.16"], BAD, "TFX 1.21, which does not run on this machine", "make setup"),
        ({"asked": "1.16"}, ["1.21", "1.16"], BAD, "the set-up did not finish", "make setup"),
    ],
)
def test_the_stack_is_explained_with_what_would_change_it(
    monkeypatch: pytest.MonkeyPatch,
    record: dict[str, str],
    fitting: list[str],
    level: str,
    state: str,
    fix: str,
) -> None:
    monkeypatch.setattr(bootstrap, "glibc_version", lambda: (2, 36))
    finding = doctor.check_stack(record, fitting=fitting)
    assert finding.level == level
    assert finding.state.startswith(state)
    assert fix in finding.fix
    assert bool(fix) == bool(finding.fix)


def test_another_python_is_bad_and_named_with_its_place() -> None:
    finding = doctor.check_python((3, 11), wanted="3.10", executable="/usr/bin/python3")
    assert finding == Finding(BAD, "Python", "3.11 at /usr/bin/python3, not 3.10", "make clean setup")
    assert doctor.check_python((3, 10), wanted="3.10", executable="/usr/bin/python3").level == OK


def test_variables_that_change_what_runs_are_named() -> None:
    assert doctor.check_environment({"TF_USE_LEGACY_KERAS": "0"}).level == BAD
    assert doctor.check_environment({"PYTHONDONTWRITEBYTECODE": "1"}).level == WARN
    assert doctor.check_environment({"TF_USE_LEGACY_KERAS": "1"}).level == OK


def test_locked_versions_keeps_the_pins_of_this_platform() -> None:
    text = (
        "alpha==1.0 \\\n    --hash=sha256:aa\n"
        f"beta==2.0 ; sys_platform == '{sys.platform}' \\\n    --hash=sha256:bb\n"
        "gamma==3.0 ; sys_platform == 'plan9' \\\n    --hash=sha256:cc\n"
    )
    assert doctor.locked_versions(text) == {"alpha": "1.0", "beta": "2.0"}


def test_packages_beside_the_lock_are_named() -> None:
    finding = doctor.check_lock({"alpha": "1.1"}, locked={"alpha": "1.0", "beta": "2.0"})
    assert finding.level == BAD
    assert finding.state == "beta is missing; alpha 1.1, not 1.0"
    assert doctor.check_lock({"alpha": "1.0", "more": "9"}, locked={"alpha": "1.0"}).level == OK


def test_packages_built_for_another_tensorflow_are_bad() -> None:
    finding = doctor.check_family({"tensorflow": "2.16.2", "tensorflow-text": "2.17.0"})
    assert finding.level == BAD
    assert "tensorflow 2.16.2, tensorflow-text 2.17.0" in finding.state
    assert doctor.check_family({"tensorflow": "2.16.2", "tensorflow-text": "2.16.1"}).level == OK
    newest = {"tensorflow": "2.21.0", "tensorflow-text": "2.21.1", "tensorflow-serving-api": "2.19.1"}
    assert doctor.check_family(newest).level == OK


@pytest.mark.parametrize(("free_gib", "level"), [(1, BAD), (4, WARN), (50, OK)])
def test_a_full_disk_is_named_with_its_folder(free_gib: int, level: str) -> None:
    finding = doctor.check_disk(free_gib * GIB, path=Path("/data"))
    assert finding.level == level
    assert finding.state == f"{free_gib} GiB free at /data"


@pytest.mark.parametrize(("gib", "level"), [(2, BAD), (6, WARN), (16, OK)])
def test_little_memory_is_named(gib: int, level: str) -> None:
    assert doctor.check_memory(gib * GIB).level == level


def test_this_machines_memory_is_some() -> None:
    assert doctor.memory_bytes() > GIB // 4


SEEN = doctor.GpuFacts(
    names=("NVIDIA H200",),
    device=True,
    libcuda=True,
    extra=True,
    built_with_cuda=True,
    seen_by_tensorflow=1,
    reason="",
)
UNSEEN = dataclasses.replace(SEEN, seen_by_tensorflow=0)


def test_a_gpu_that_tensorflow_sees_is_ok() -> None:
    assert doctor.check_gpu(SEEN) == Finding(OK, "GPU", "TensorFlow sees 1: NVIDIA H200")


def test_a_machine_without_gpu_is_ok() -> None:
    nothing = doctor.GpuFacts((), False, False, False, False, 0, "")
    assert doctor.check_gpu(nothing) == Finding(OK, "GPU", "none on this machine: runs use the CPU")


@pytest.mark.parametrize(
    ("facts", "state", "fix"),
    [
        (dataclasses.replace(UNSEEN, libcuda=False), "libcuda.so.1", "--gpus all"),
        (dataclasses.replace(UNSEEN, built_with_cuda=False), "built without CUDA", "make clean setup"),
        (
            dataclasses.replace(UNSEEN, extra=False),
            "CUDA libraries are not installed",
            "make setup EXTRAS=gpu",
        ),
        (dataclasses.replace(UNSEEN, reason="failed call to cuInit"), "(failed call to cuInit)", "driver"),
    ],
)
def test_the_first_missing_step_to_a_gpu_is_named(facts: doctor.GpuFacts, state: str, fix: str) -> None:
    finding = doctor.check_gpu(facts)
    assert finding.level == WARN
    assert state in finding.state
    assert fix in finding.fix


def test_docker_is_a_nicety() -> None:
    assert doctor.check_docker(False, "").level == OK
    assert doctor.check_docker(True, "").level == WARN
    assert doctor.check_docker(True, "27.1").state == "engine 27.1"


def test_a_taken_port_is_noticed_and_another_proposed() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not doctor.is_free(port)
    assert doctor.is_free(port)
    assert doctor.check_port(8501, free=False) == Finding(
        WARN, "port 8501", "taken", "make serve REST_PORT=8601"
    )


def test_a_cache_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = doctor.check_cache(tmp_path / "file" / "cache")
    assert finding.level == BAD
    assert "BERT_PIPELINE_CACHE" in finding.fix
    assert doctor.check_cache(tmp_path / "new").level == OK


def test_the_encoder_is_cached_or_not(tmp_path: Path) -> None:
    assert "offline" in doctor.check_encoder([tmp_path]).state
    assert "downloads" in doctor.check_encoder([]).state


def test_report_prints_each_with_its_fix_and_fails_on_bad(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_report([Finding(OK, "disk", "50 GiB"), Finding(WARN, "port 8501", "taken", "free it")]) == 0
    assert print_report([Finding(BAD, "Python", "3.11, not 3.10", "make clean setup")]) == 1
    assert capsys.readouterr().out == (
        "OK    disk         50 GiB\n"
        "WARN  port 8501    taken\n"
        "                    fix: free it\n"
        "\nnothing keeps the project from running\n"
        "BAD   Python       3.11, not 3.10\n"
        "                    fix: make clean setup\n"
        "\n1 to fix before anything runs\n"
    )


def test_the_doctor_comes_without_loading_tensorflow() -> None:
    code = "import sys\nfrom bert_pipeline.setup import doctor\nlist(doctor.examine(doctor.Path('.')))\n"
    code += "print(sorted({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
