"""The repository keeps its own word: what the pages quote, link and state is so."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
# Arrows of the table of layers in docs/architecture.md: who may include whom, itself apart.
LAYERS = {
    "base": set(),
    "codec": {"base"},
    "shm": {"base"},
    "transport": {"base", "shm"},
    "rpc": {"base", "codec", "shm", "transport"},
}
# Libraries that are named in one place alone, and never in a public header.
CONFINED = {"boost/": "shm", "zmq": "transport", "nanobind/": "python/src"}


def sources(folder: str, *suffixes: str) -> list[pathlib.Path]:
    return sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)


def includes(path: pathlib.Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def relative(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def anchor(heading: str) -> str:
    """The name that the usual renderers give to a heading."""
    plain = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def test_readme_quotes_are_the_files():
    """A block of code below `<!-- quote: FILE -->` is that file, to the letter."""
    readme = (ROOT / "README.md").read_text()
    quotes = re.findall(r"<!-- quote: (\S+) -->\n+```\w+\n(.*?)```\n", readme, re.DOTALL)
    assert len(quotes) == readme.count("<!-- quote:"), "a quote mark without a block below it"
    for name, text in quotes:
        assert text == (ROOT / name).read_text(), f"README.md quotes {name} wrongly"



@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_of_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, part = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            broken.append(target)
        elif part and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            if part not in map(anchor, headings):
                broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_files_that_pages_name_exist(page):
    """`folder/name.ext` in a page is a file of the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    folders = "|".join([*LAYERS, "python", "examples", "tests", "bench", "docs", "cmake", r"\.ci"])
    names = re.findall(rf"`((?:{folders})/[\w./-]+\.\w+)`", text)
    assert not [name for name in names if not (ROOT / name).exists()]


def test_version_is_stated_in_one_place():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(pannier VERSION ([\d.]+)", cmake).group(1)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[([\d.]+)\]", changelog, re.MULTILINE).group(1) == version
    files = [path for folder in [*LAYERS, "python", "cmake"]
             for path in sources(folder, ".h", ".cc", ".in", ".py", ".pyi", ".cmake", ".txt")]
    stated = [relative(path) for path in [ROOT / "pyproject.toml", *files]
              if re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", path.read_text())]
    assert stated == []


def test_installed_version_is_the_source_version():
    from importlib.metadata import version

    assert f"project(pannier VERSION {version('pannier')} " in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.parametrize("layer", LAYERS)
def test_includes_point_down_only(layer):
    wrong = []
    for path in sources(layer, ".h", ".cc"):
        for name in includes(path):
            parts = name.split("/")
            if parts[0] == "pannier" and len(parts) > 2:
                if parts[1] not in LAYERS[layer] | {layer}:
                    wrong.append(f"{relative(path)}: {name}")
            elif (path.parent / name).exists() or name.startswith(".."):
                wrong.append(f'{relative(path)}: write {name} as "pannier/{layer}/..."')
    assert not wrong


@pytest.mark.parametrize("library", CONFINED)
def test_library_is_confined(library):
    users = {relative(path.parent) for folder in [*LAYERS, "python"]
             for path in sources(folder, ".h", ".cc") if any(n.startswith(library) for n in includes(path))}
    assert users <= {CONFINED[library]}


@pytest.mark.parametrize("library", ["boost/", "zmq"])
def test_library_is_named_in_one_source_file(library):
    users = [relative(path) for path in sources(CONFINED[library], ".h", ".cc")
             if any(name.startswith(library) for name in includes(path))]
    assert len(users) <= 1
    assert all(user.endswith(".cc") for user in users)


def test_headers_are_guarded():
    headers = [path for folder in [*LAYERS, "python"] for path in sources(folder, ".h")]
    assert [relative(path) for path in headers if path.read_text().count("#pragma once") != 1] == []


def test_pages_that_comments_name_exist():
    missing = {name for folder in [*LAYERS, "python", "examples", "tests", "bench", "cmake"]
               for path in sources(folder, ".h", ".cc", ".py", ".pyi", ".cmake", ".txt")
               for name in re.findall(r"\bdocs/[\w/]+\.md", path.read_text())
               if not (ROOT / name).exists()}
    assert missing == set()
