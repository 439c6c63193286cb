"""What the pages say is there: links, verbs, flags, settings, and the messages of the troubleshooting page."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_pipeline.__main__ import _parser
from bert_pipeline.settings_map.settings import all_settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    if (ROOT / name).is_file()
] or ["README.md"]  # no git here: the one page that is surely there
TROUBLES = "bert_pipeline/TROUBLESHOOTING.md"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) | set(
    re.findall(r"\$\(if \$\(([A-Z_]+)\)", MAKEFILE)
)
SOURCES = ("bert_pipeline", "modules", "serving")
FIELD = "\0"  # what stands in place of {this} in a message


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> list[str]:
    """What is set as code: spans between backquotes, and lines of blocks."""
    text = text_of(page)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", text), *indented, *(line for b in blocks for line in b.splitlines())]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_page_has_a_line_for_each_folder() -> None:
    named = re.findall(r"^      (\w+)/ +\S", text_of("README.md"), re.MULTILINE)
    assert sorted(named) == sorted(
        {p.parent.name for p in (ROOT / "bert_pipeline").glob("*/*.[pt][yo]*")} - {"__pycache__"}
    )
    tops = re.findall(r"^    (\w+)/(?:  (\w+)/)?", text_of("README.md"), re.MULTILINE)
    assert [name for pair in tops for name in pair if name and not (ROOT / name).is_dir()] == []
    assert len(tops) == 5


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_both_sides_of_a_merge(page: str) -> None:
    assert not re.findall(r"^(?:<{7} |>{7} |={7}$).*", text_of(page), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_verbs_and_variables_of_make_are_those_of_the_makefile(page: str) -> None:
    wrong = []
    for code in code_of(page):
        for command in re.findall(r"(?:^|\$ |&& )make ((?:[\w.-]+(?:=\S*)?[ \n]?)+)", code):
            words = command.split()
            verbs = [word for word in words if re.fullmatch(r"[a-z][a-z-]+", word)]
            wrong += [f"make {verb}" for verb in verbs[:1] if verb not in TARGETS]
            names = [word.partition("=")[0] for word in words if "=" in word]
            wrong += [f"{n}=" for n in names if n.isupper() and n not in VARIABLES | {"EDITOR"}]
    assert wrong == []


def flags_in(module: str) -> set[str]:
    """Every string of a module, as an option."""
    source = (ROOT / module).read_text(encoding="utf-8")
    return {f"--{n.value.lstrip('-')}" for n in ast.walk(ast.parse(source)) if _is_text(n)}


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# What `make serve` and `make predict` hand on in ARGS.
BEHIND = {
    "serve": flags_in("serving/model_server/config/flags.py"),
    "predict": flags_in("serving/client/__main__.py"),
}


def flags_of_verbs() -> dict[str, set[str]]:
    """The options of each verb of `python -m bert_pipeline`."""
    [verbs] = [action for action in _parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(verbs.choices, dict)
    return {
        verb: {flag for a in parser._actions for flag in a.option_strings}
        for verb, parser in verbs.choices.items()
    }


@pytest.mark.parametrize("page", PAGES)
def test_options_behind_a_verb_are_that_verbs(page: str) -> None:
    wrong, options = [], flags_of_verbs()
    for code in code_of(page):
        for verb, rest in re.findall(r"python -m bert_pipeline ([a-z-]+)(.*)", code):
            assert verb in options, f"{page}: no verb {verb}"
            wrong += [
                f"{verb} {flag}"
                for flag in re.findall(r"(?<!\S)--[a-z-]+", rest)
                if flag not in options[verb]
            ]
        for verb, rest in re.findall(r"make ([a-z-]+) .*ARGS=\"?([^\"]*)", code):
            own = options.get(verb, set()) | BEHIND.get(verb, set())
            if verb in options:
                wrong += [f"{verb} {f}" for f in re.findall(r"(?<!\S)--[a-z_-]+", rest) if f not in own]
        anywhere = set().union(*options.values()) | {"--out", "--upgrade"}  # of the client and of lock
        for rest in re.findall(r"^ARGS=\"?([^\"]*)", code):
            wrong += [flag for flag in re.findall(r"(?<!\S)--[a-z_-]+", rest) if flag not in anywhere]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_pages_name_are_settings(page: str) -> None:
    keys = {setting.key.replace("[]", "") for setting in all_settings()}
    sections = {key.partition(".")[0] for key in keys if "." in key}
    named = {
        match[0]
        for code in code_of(page)
        for match in re.finditer(rf"(?<![\w/.])(?:{'|'.join(sections)})\.[a-z_]+(?![\w/])", code)
        if not re.search(
            r"\.(py|csv|config|md|toml|html|json|client|model_server)$", match[0]
        )  # files and modules
    }
    assert {name for name in named if name not in keys} == set()


@pytest.mark.parametrize(
    ("folder", "page"),
    [
        ("bert_pipeline", "bert_pipeline/README.md"),
        ("modules", "modules/README.md"),
        ("serving", "serving/README.md"),
        ("serving/model_server", "serving/README.md"),
    ],
)
def test_every_file_and_folder_of_a_folder_stands_in_its_readme(folder: str, page: str) -> None:
    patterns = [name for name in re.findall(r"`([\w/*]+\.py)`", text_of(page)) if name != "*.py"]
    files = [path.name for path in (ROOT / folder).glob("*.py") if not path.name.startswith("__")]
    assert [f for f in files if not any(fnmatch.fnmatch(f, pattern) for pattern in patterns)] == []
    rooms = {path.parent.name for path in (ROOT / folder).glob("*/*.py")}
    assert rooms <= set(re.findall(r"`(\w+)/`", text_of(page)))


# Read from beginning to end, or looked things up in.
LONG_PAGES = {"MAP.md", "TROUBLESHOOTING.md", "TUTORIAL.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if Path(page).name not in LONG_PAGES])
def test_a_page_is_short(page: str) -> None:
    assert len(text_of(page).splitlines()) <= 150


def templates() -> Iterator[str]:
    """Every string of the sources, f-strings with a sign in place of what is filled in."""
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(v.value) if isinstance(v, ast.Constant) else FIELD for v in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def messages() -> list[str]:
    """The messages of the troubleshooting page that are this project's."""
    ours = text_of(TROUBLES).partition("## From elsewhere")[0]
    cells = re.findall(r"^\| (`.*?`) \| ", ours, re.MULTILINE)
    spans = [span.strip("`") for cell in cells for span in re.split(r"` with `", cell)]
    return [span for span in spans if not span.startswith("make: ***")]  # make's own


ALL = "\n\n".join(templates())


@pytest.mark.parametrize("message", messages())
def test_messages_of_the_troubleshooting_page_are_in_the_code(message: str) -> None:
    """Each piece between dots, as it stands in one string of the code, in this order."""
    assert is_printed(message), f"no string of the code prints {message!r}"


def is_printed(message: str) -> bool:
    pieces = [piece for piece in re.split(r"\.\.\.", message) if piece.strip(" :;,()")]
    pattern = r"[^\n]*?".join(re.escape(piece.strip()) for piece in pieces)
    return re.search(pattern, ALL) is not None


def test_a_message_that_nobody_prints_is_found() -> None:
    assert is_printed("there is no task ...; known tasks: ...")
    assert not is_printed("there is no task ...; known jobs: ...")


def test_the_page_has_the_messages_of_every_verb() -> None:
    assert len(messages()) > 50


def test_flags_of_the_server_in_the_pages_are_the_servers() -> None:
    known = {flag.lstrip("-") for flag in BEHIND["serve"]}
    lines = [code for page in PAGES for code in code_of(page) if "serving.model_server --" in code]
    used = {flag for line in lines for flag in re.findall(r"(?<!\S)--([a-z_]+)", line)}
    assert used
    assert used - known == set()
