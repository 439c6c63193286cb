"""Mutation testing of the arithmetic that decides a push, an alarm and a drift: `make mutate`.

    python -m tests.mutate                          # every mutant
    python -m tests.mutate --only intervals.holm    # those whose name starts so
    python -m tests.mutate --sample 200             # so many of them, the same ones each time

Copies the files and those of their tests that need no TensorFlow into a temporary folder, and puts cosmic-ray there,
which changes one thing at a time: an operator, a number, a condition. A mutant that no test notices must be in
`tests/mutants.txt`, with the reason. 1 where one is not, where a line of the list is out of date, where the tests fail
without a change, and where nothing was checked; else 0.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent  # in the copy: the copy
COSMIC_RAY = "cosmic-ray==8.7.0"

# Each file, and the tests that run on a change of it, the likeliest to notice first.
TESTS = {
    "judging/comparisons": "comparisons judging_gates",
    "judging/counts": "counts measures judging_gates",
    "judging/gates": "judging_gates comparisons",
    "judging/intervals": "intervals judging_gates measures",
    "judging/means": "measures judging_gates",
    "judging/measures": "measures judging_gates",
    "judging/power": "power judging_gates",
    "judging/sentences": "sentences judging_gates",
    "data/drift_chance": "drift_chance",
}
LIST = "tests/mutants.txt"
# By simulation: slow, and few mutants move them far enough.
_LEFT_OUT = "not (four_times_in_five or as_often_as_they_say or quiet_comparisons or permutation_test)"
_INI = "[pytest]\npythonpath = . modules\nfilterwarnings = error\naddopts = --import-mode=importlib --assert=plain\n"

# Of cosmic-ray's operators: + - * / // % ** become one of the first four, bits become bits, `<` becomes `<=` and `>=`.
# Left out is what any call of the line notices (a shift of a float) and what means the same (`==` for `is`).
_OPERATORS = re.compile(
    r"ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(Add|Sub|Mul|Div)"
    r"|ReplaceBinaryOperator_Bit\w+_Bit\w+|ReplaceComparisonOperator_(Is|IsNot)_(Is|IsNot)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)"
    r"|ReplaceUnaryOperator_(UAdd_USub|USub_UAdd|Delete_\w+)"
    r"|AddNot|NumberReplacer|Replace(True|False|And|Or|Break|Continue)With\w+|ZeroIterationForLoop"
)
# The stars of a signature or a call (the formatter puts a blank behind an operator), and what no run notices.
_SKIPPED = re.compile(r"\*,|\*\*?[a-z_]|(?<=strict=)|(?<=frozen=)|(?<=maxsize=)")


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing; see the top of the file.")
    parser.add_argument("--only", default="", help="mutants whose name starts so: FILE or FILE.FUNCTION")
    parser.add_argument("--sample", type=int, default=0, help="so many of these mutants; 0: all")
    parser.add_argument("--in-copy", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.in_copy:
        sys.path.append(flags.in_copy)  # behind the packages that the tests have
        return _check(flags.only, flags.sample)
    with tempfile.TemporaryDirectory() as folder:
        project, tools = Path(folder) / "project", str(Path(folder) / "tools")
        unused = shutil.ignore_patterns("__pycache__", "conftest.py")  # that imports TensorFlow
        for name in ("bert_pipeline", "modules", "tests/bert_pipeline"):
            shutil.copytree(ROOT / name, project / name, ignore=unused)
        for path in (ROOT / "tests").glob("*.*"):
            if path.name != "conftest.py":
                shutil.copy(path, project / "tests")
        (project / "pytest.ini").write_text(_INI, encoding="utf-8")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--no-warn-conflicts", "--target", tools, COSMIC_RAY], check=True)
        # Not this project, whose files would be imported instead.
        environment = {**os.environ, "PYTHONPATH": str(project), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.mutate", "--in-copy", tools, *sys.argv[1:]]
        return subprocess.run(command, cwd=project, env=environment, check=False).returncode


def _check(only: str, sample: int) -> int:
    """Runs mutants, in the copy; the exit status."""
    import scipy.stats  # noqa: F401 - once, for all children
    import sklearn.metrics  # noqa: F401

    stem, lines = re.split(r"\W", only)[0], (ROOT / LIST).read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line.startswith(stem) and line[:1] not in ("", "#")]
    files = [file for file in TESTS if Path(file).name.startswith(stem)]
    mutants = {name: (file, code) for file in files for name, code in _mutants(file)}
    known = {name for name in mutants if any(re.match(re.escape(name) + r": \S", line) for line in listed)}
    wrong = [line for line in listed if not any(line.startswith(f"{name}: ") for name in known)]
    print(*(f"{LIST}: no mutant, or no reason: {line}\n" for line in wrong), sep="", end="", flush=True)
    chosen = [name for name in mutants if name.startswith(only)]
    if not chosen:
        sys.exit(f"error: nothing was checked: no mutant's name starts with {only}")
    chosen = random.Random(0).sample(chosen, min(sample or len(chosen), len(chosen)))
    counts = {file: Counter[str]() for file in TESTS if any(mutants[name][0] == file for name in chosen)}
    limits = {file: _limit(file) for file in counts}
    for name in chosen:
        file, code = mutants[name]
        state = _state(file, code, limits[file])
        counts[file][state] += 1
        if (state == "survived") != (name in known):
            wrong.append(name)
            print(f"{state}, {'but' if name in known else 'not'} in {LIST}: {name}", flush=True)
    for file, count in {**counts, "all": sum(counts.values(), Counter[str]())}.items():
        of = sum(file in ("all", mutants[name][0]) for name in mutants)
        states = ", ".join(f"{count[state]} {state}" for state in ("killed", "survived", "timeout"))
        score = 1 - count["survived"] / max(count.total(), 1)
        print(f"{file}: {count.total()} of {of} mutants run, {states}; score {score:.1%}")
    return 1 if wrong else 0


def _mutants(file: str) -> Iterator[tuple[str, str]]:
    """Names and sources: `intervals.half_width: return a - b => return a + b`, and `#2` where that was one before."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / f"bert_pipeline/{file}.py").read_text(encoding="utf-8")
    lines, tree, seen = source.split("\n"), ast.parse(source), Counter[str]()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    annotations = [getattr(node, each, None) for node in ast.walk(tree) for each in ("annotation", "returns")]
    for operator in plugins.operator_names():
        kind = plugins.get_operator(operator)
        if not _OPERATORS.fullmatch(operator.partition("/")[2]):
            continue
        places = (
            start for node in ast_nodes(get_ast(source)) for start, _ in kind().mutation_positions(node)
        )
        for occurrence, start in enumerate(places):
            if _SKIPPED.match(lines[start[0] - 1], start[1]) or any(_holds(n, start) for n in annotations):
                continue
            code = mutate_code(source, kind(), occurrence)
            changed = [(a, b) for a, b in zip(lines, code.split("\n"), strict=True) if a != b]
            old, new = (" / ".join(" ".join(pair[i].split()) for pair in changed) for i in (0, 1))
            scope = [Path(file).name, *(node.name for node in functions if _holds(node, start))]
            name = f"{'.'.join(scope)}: {old} => {new}"
            seen[name] += 1
            yield name + (f" #{seen[name]}" if seen[name] > 1 else ""), code


def _holds(node: ast.expr | ast.stmt | None, place: tuple[int, int]) -> bool:
    return bool(node) and (node.lineno, node.col_offset) <= place < (node.end_lineno, node.end_col_offset)


def _limit(file: str) -> float:
    """Seconds that a mutant may take; stops where the tests fail without a change, or pass without the file."""
    source, began = (ROOT / f"bert_pipeline/{file}.py").read_text(encoding="utf-8"), time.monotonic()
    if _state(file, source, 600) != "survived":
        print((ROOT / "output").read_text(encoding="utf-8")[-3000:])
        sys.exit(f"error: the tests of {file} fail without a change")
    limit = 10 + 5 * (time.monotonic() - began)
    if _state(file, "raise ImportError\n", 600) != "killed":
        sys.exit(f"error: the tests of {file} pass without it: they do not run the copy")
    return limit


def _state(file: str, code: str, limit: float) -> str:
    """killed, survived or timeout."""
    path = ROOT / f"bert_pipeline/{file}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(code, encoding="utf-8")
    if not (child := os.fork()):
        _run_tests(file)
    ends = time.monotonic() + limit
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < ends:
        time.sleep(0.01)
    path.write_text(original, encoding="utf-8")
    if not done[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"
    return "killed" if done[1] else "survived"


def _run_tests(file: str) -> None:
    """In a child, which ends here."""
    status = 1
    try:
        output = os.open(ROOT / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        folder = ROOT / "tests" / "bert_pipeline" / file.partition("/")[0]
        tests = [str(folder / f"test_{name}.py") for name in TESTS[file].split()]
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", _LEFT_OUT, *tests]))
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
