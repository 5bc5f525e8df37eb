"""The style that a machine can check: sizes, words, docstrings, names."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ["engine", "api", "config", "bench"]
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600

#: Written apart, so that this file does not contain what it bans.
BANNED_WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "mock" + ".patch"]
BANNED_FILE_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
BANNED_CLASS_ENDINGS = ("Manager", "Handler", "Helper", "Processor")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    """Every Python file below these folders of the house, relative to it."""
    return [
        path.relative_to(ROOT)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


@cache
def text_of(path: Path) -> str:
    """The source of a file."""
    return (ROOT / path).read_text("utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed source of a file."""
    return ast.parse(text_of(path))


def functions(path: Path) -> Iterator[Function]:
    """Every function and method of a file."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


def lines_of(function: Function) -> int:
    """The length of a function without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def public_definitions(
    node: ast.Module | ast.ClassDef, above: str = ""
) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Public classes, and public functions of modules and classes, by qualified name."""
    for child in node.body:
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield above + child.name, child
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_definitions(child, f"{above}{child.name}.")


def only_states_a_type(node: Function | ast.ClassDef) -> bool:
    """Whether this is an overload, or a protocol's attribute, whose body is `...`."""
    return isinstance(node, Function) and ast.unparse(node.body[-1]) == "..."


def test_no_module_is_too_long() -> None:
    lengths = {str(p): len(text_of(p).splitlines()) for p in sources(*PRODUCT, "tests")}
    assert {path: n for path, n in lengths.items() if n > MODULE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{path}: {function.name}": lines_of(function)
        for path in sources(*PRODUCT, "tests")
        for function in functions(path)
    }
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def test_nine_functions_of_ten_fit_in_thirty_lines() -> None:
    lengths = sorted(lines_of(f) for path in sources(*PRODUCT) for f in functions(path))
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_no_banned_word_is_used() -> None:
    texts = {path: text_of(path) for path in sources(*PRODUCT, "tests")}
    assert [(str(p), w) for p, text in texts.items() for w in BANNED_WORDS if w in text] == []


def test_no_file_or_class_has_a_name_that_says_nothing() -> None:
    files = sources(*PRODUCT, "tests")
    assert [str(path) for path in files if path.name in BANNED_FILE_NAMES] == []
    classes = [
        f"{path}: {node.name}"
        for path in files
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name in classes if name.endswith(BANNED_CLASS_ENDINGS)] == []


def test_everything_public_says_what_it_is_for() -> None:
    files = sources(*PRODUCT)
    silent = [str(path) for path in files if not ast.get_docstring(tree_of(path))]
    silent += [
        f"{path}: {name}"
        for path in files
        for name, node in public_definitions(tree_of(path))
        if not ast.get_docstring(node) and not only_states_a_type(node)
    ]
    assert silent == []


def test_a_docstring_begins_with_one_line_that_stands_alone() -> None:
    runs_on = [
        f"{path}: {name}"
        for path in sources(*PRODUCT)
        for name, node in public_definitions(tree_of(path))
        if (ast.get_docstring(node) or "").partition("\n")[2].split("\n")[0]
    ]
    assert runs_on == []


def test_the_engine_does_not_rely_on_assert_which_python_can_strip() -> None:
    asserts = [
        f"{path}:{node.lineno}"
        for path in sources("engine")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assert)
    ]
    assert asserts == []


def test_no_comment_is_a_banner() -> None:
    lines = [
        (path, line.strip()) for path in sources(*PRODUCT) for line in text_of(path).split("\n")
    ]
    banners = [
        f"{path}: {line}"
        for path, line in lines
        if line.startswith("#") and ("----" in line or "====" in line)
    ]
    assert banners == []


def test_file_names_of_tests_are_unique() -> None:
    names = Counter(path.name for path in sources("tests") if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
