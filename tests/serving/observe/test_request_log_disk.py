"""C2 beside a full disk: the server answers on, says it once, counts it, and logs again when there is room."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.serving.calls import rest
from tests.serving.processes import RunningServer, wait_until
from tests.serving.request_logs import read
from tests.small_disks import fill, mounted

TOLD = re.compile(r"ERROR .*requests are not logged, (\d+) so far: (.*)")


def dropped(server: RunningServer) -> int:
    """Of the metrics page."""
    page = str(rest(server, "/metrics")[1])
    return int(
        float(re.findall(r"^model_server_request_log_dropped(?:_total)? ([0-9.e+]+)$", page, re.MULTILINE)[0])
    )


def ask(server: RunningServer, count: int, text: str) -> list[int]:
    """The statuses of so many requests."""
    return [rest(server, "/v1/models/toy:predict", {"instances": [f"{text}{n}"]})[0] for n in range(count)]


def test_a_full_disk_costs_log_records_and_no_answers(
    start_server: Callable[..., RunningServer], models_on_disk: Any, tmp_path: Path
) -> None:
    (tmp_path / "monitoring.config").write_text('prometheus_config { enable: true path: "/metrics" }')
    with mounted(tmp_path / "disk", "size=200k") as disk:
        server = start_server(
            "--model_name=toy", f"--model_base_path={models_on_disk.folder}/toy",
            f"--request_log_prefix={disk}/requests", f"--monitoring_config_file={tmp_path}/monitoring.config",
        )  # fmt: skip
        asked = 60
        assert ask(server, asked, "x" * 10_000) == [200] * asked
        wait_until(lambda: dropped(server) > 0)
        lost_at = time.monotonic()
        more = 0
        while time.monotonic() < lost_at + 3:  # another file is tried each second, on the disk that is full
            assert ask(server, 5, "y" * 10_000) == [200] * 5
            more += 5
            time.sleep(0.2)
        (told,) = TOLD.findall(server.log.read_text())
        assert re.search("No space left on device|ENOSPC", told[1]), told
        assert "Traceback" not in server.log.read_text()
        for file in disk.glob("requests-*.tfrecord"):
            file.unlink()
        time.sleep(1.2)
        assert ask(server, 3, "later ") == [200] * 3
        wait_until(lambda: b"later 2" in b"".join(file.read_bytes() for file in disk.iterdir()))
        lost = dropped(server)
        assert 0 < lost <= asked + more
        server.process.terminate()
        assert server.process.wait(60) == 0
        texts = [log.predict_log.request.inputs["text"].string_val[0] for log in read(disk)]
        assert texts[-3:] == [b"later 0", b"later 1", b"later 2"]
        assert not list(disk.glob("*.partial"))


def test_a_disk_that_is_full_from_the_start_is_no_reason_not_to_serve(
    start_server: Callable[..., RunningServer], models_on_disk: Any, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=200k") as disk:
        (disk / "logs").mkdir()
        filler = fill(disk)
        server = start_server(
            "--model_name=toy", f"--model_base_path={models_on_disk.folder}/toy",
            f"--request_log_prefix={disk}/logs/requests",
        )  # fmt: skip
        assert ask(server, 5, "a text ") == [200] * 5
        wait_until(lambda: bool(TOLD.findall(server.log.read_text())))
        filler.unlink()
        time.sleep(1.2)
        assert ask(server, 2, "later ") == [200] * 2
        server.process.terminate()
        assert server.process.wait(60) == 0
        texts = [log.predict_log.request.inputs["text"].string_val[0] for log in read(disk / "logs")]
        assert texts == [b"later 0", b"later 1"]
