"""The page at `/`: a text in, labels as bars out, and which model said so."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from tests.serving.contract.models import ModelsOnDisk
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: the demo page in a browser; install Chromium (Debian: chromium)"
)
PROVENANCE = {"pipeline run": "2026-11-21T05:31", "trained on": "<i>span 2</i>"}


class Pair(tf.Module):
    """Two text columns, of which the first must be a number."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("amount", "note")])
    def serving_default(self, amount: tf.Tensor, note: tf.Tensor) -> dict[str, tf.Tensor]:
        share = tf.strings.to_number(amount)[:, tf.newaxis]
        labels = tf.tile(tf.constant([["yes", "no"]]), [tf.size(note), 1])
        return {
            "label": labels[:, 0],
            "labels": labels,
            "probabilities": tf.concat([share, 1 - share], axis=1),
        }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serves `toy`, pushed with provenance, and `pair`."""
    folder = tmp_path_factory.mktemp("demo")
    version = save_toy(folder / "toy" / "3")
    (version / "assets.extra").mkdir(exist_ok=True)
    (version / "assets.extra" / "provenance.json").write_text(json.dumps(PROVENANCE))
    pair = Pair()
    tf.saved_model.save(pair, str(folder / "pair" / "1"), signatures=pair.serving_default)
    entries = [
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}'
        for name in ("toy", "pair")
    ]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with serving(folder, f"--model_config_file={folder / 'models.config'}") as running:
        yield running


def get(server: RunningServer, path: str) -> tuple[str, str]:
    """Content type and body."""
    with urllib.request.urlopen(f"http://{server.rest_address}{path}", timeout=60) as response:
        return response.headers["Content-Type"], response.read().decode()


def browse(server: RunningServer, path: str, *flags: str, folder: Path) -> str:
    """The page as Chromium has it when all is loaded and answered."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000"]
    command += [f"--user-data-dir={folder / 'chromium'}", *flags]
    url = f"http://{server.rest_address}{path}"
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def shown(page: str, element_id: str) -> str:
    """The text inside an element without children of its own kind."""
    found = re.search(rf'<(\w+)[^>]*id="{element_id}"[^>]*>(.*?)</\1>', page, re.DOTALL)
    assert found, f"no element {element_id} in {page}"
    return found[2]


def test_page_and_its_parts_come_from_the_server_alone(demo: RunningServer) -> None:
    content_type, page = get(demo, "/")
    script, style = get(demo, "/demo.js"), get(demo, "/demo.css")
    assert content_type == "text/html; charset=utf-8"
    assert (script[0], style[0]) == ("text/javascript; charset=utf-8", "text/css; charset=utf-8")
    assert not re.search(r"https?://", page + script[1] + style[1])
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page
    assert "innerHTML" not in script[1]


def test_every_element_that_the_script_names_is_in_the_page(demo: RunningServer) -> None:
    ids: set[str] = set()

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            ids.update(value for name, value in attrs if name == "id" and value)

    Reader().feed(get(demo, "/")[1])
    assert set(re.findall(r'byId\("([^"]+)"\)', get(demo, "/demo.js")[1])) <= ids


def test_models_are_told_with_version_and_provenance(demo: RunningServer) -> None:
    toy, pair = json.loads(get(demo, "/demo/models.json")[1])
    assert (toy["name"], toy["columns"], toy["facts"]["version"]) == ("toy", ["text"], "3")
    assert toy["facts"]["pipeline run"] == "2026-11-21T05:31"
    assert (pair["name"], pair["columns"]) == ("pair", ["amount", "note"])
    assert list(pair["facts"]) == ["model", "version", "loaded", "written", "folder"]


def test_model_that_the_page_cannot_ask_says_why(models_on_disk: ModelsOnDisk, tmp_path: Path) -> None:
    with serving(tmp_path, f"--model_config_file={models_on_disk.config}") as running:
        models = {model["name"]: model for model in json.loads(get(running, "/demo/models.json")[1])}
    assert models["toy"]["problem"] == ""
    others = {name: model["problem"] for name, model in models.items() if not model["columns"]}
    assert others
    assert all(problem.startswith("The model ") for problem in others.values())


@needs_chromium
def test_text_in_the_address_is_answered_with_bars(demo: RunningServer, tmp_path: Path) -> None:
    page = browse(demo, "/?text=" + urllib.parse.quote("a <b>long</b> text"), "--dump-dom", folder=tmp_path)
    assert shown(page, "label") == "long"
    assert shown(page, "caption") == "Probability of each label"
    assert re.findall(r'<th scope="row">([^<]+)</th><td><span class="percent">([^<]+)</span>', page) == [
        ("long", "80.0 %"),
        ("short", "20.0 %"),
    ]
    assert "&lt;i&gt;span 2&lt;/i&gt;" in shown(page, "facts")
    assert 'id="problem" role="alert" hidden' in page


@needs_chromium
def test_page_without_a_text_waits_for_one(demo: RunningServer, tmp_path: Path) -> None:
    page = browse(demo, "/", "--dump-dom", folder=tmp_path)
    assert '<label for="column-text">text</label>' in page
    assert 'id="answer" hidden' in page
    assert "disabled" not in re.search(r'<button id="ask"[^>]*>', page)[0]  # type: ignore[index]  # or it fails


@needs_chromium
def test_address_chooses_the_model_and_fills_its_columns(demo: RunningServer, tmp_path: Path) -> None:
    page = browse(demo, "/?model=pair&amount=0.25&note=x", "--dump-dom", folder=tmp_path)
    assert re.findall(r"<option>([^<]+)</option>", page) == ["toy", "pair"]
    assert 'id="model-row" hidden' not in page
    assert re.findall(r'<label for="column-[^"]+">([^<]+)</label>', page) == ["amount", "note"]
    assert re.findall(r'class="percent">([^<]+)<', page) == ["75.0 %", "25.0 %"]


@needs_chromium
@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("model=pair&amount=%3Cb%3Ehot%3C/b%3E", "No answer: StringToNumberOp .*: &lt;b&gt;hot&lt;/b&gt;"),
        ("model=boots&text=x", "This server has no model called boots."),
    ],
)
def test_errors_are_told_in_an_alert(demo: RunningServer, tmp_path: Path, query: str, problem: str) -> None:
    page = browse(demo, f"/?{query}", "--dump-dom", folder=tmp_path)
    assert re.match(problem, shown(page, "problem"))
    assert 'id="problem" role="alert" hidden' not in page
    assert 'id="answer" hidden' in page


@needs_chromium
def test_texts_stay_out_of_the_servers_log(demo: RunningServer, tmp_path: Path) -> None:
    browse(demo, "/?text=my+secret", "--dump-dom", folder=tmp_path)
    browse(demo, "/?model=pair&amount=my+secret", "--dump-dom", folder=tmp_path)
    assert "secret" not in demo.log.read_text()


@needs_chromium
def test_page_can_be_looked_at_in_light_and_dark_and_narrow(demo: RunningServer, tmp_path: Path) -> None:
    shots = []
    for name, flags in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        shot = tmp_path / f"{name}.png"
        browse(
            demo, "/?text=hi", f"--screenshot={shot}", "--window-size=420,900", *flags, folder=tmp_path / name
        )
        shots.append(shot.read_bytes())
    assert all(shot.startswith(b"\x89PNG") and len(shot) > 5000 for shot in shots)
    assert shots[0] != shots[1]
