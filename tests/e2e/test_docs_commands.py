"""Every command in docs/deploy is run, in a copy of the checkout; or, where its mark gives a reason why not, checked as far as it goes.

A fenced `sh` block stands after one of: nothing (it is run), `<!-- needs: mesh -->` (it is run beside a mesh, whose state directory is the
copy's .weft, with WEFT_MODEL set), `<!-- not run: REASON -->`."""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from chart import helm_binary
from mesh import BIN, ROOT, model_path

pytestmark = pytest.mark.timeout(600)  # a machine that is busy with compilers
DOCS = sorted((ROOT / "docs/deploy").glob("*.md"))
ASKED = ("quickstart kubernetes gpu multi-node air-gapped upgrade rollback backup disaster-recovery troubleshooting cost capacity").split()


@dataclass(frozen=True)
class Block:
    file: str
    line: int
    language: str
    mark: str   # "", "needs: mesh" or "not run: REASON"
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(path: Path) -> list[Block]:
    found, lines, i = [], path.read_text().splitlines(), 0
    while i < len(lines):
        fence = re.fullmatch(r"(`{3,})(\S*)", lines[i].strip())
        if fence:
            begin = i
            i += 1
            while lines[i].strip() != fence[1]:
                i += 1
            mark = re.fullmatch(r"<!-- (.*) -->", lines[begin - 1].strip()) if begin else None
            found.append(Block(path.stem, begin + 1, fence[2], mark[1] if mark else "", "\n".join(lines[begin + 1:i])))
        i += 1
    return found


ALL = [b for path in DOCS for b in blocks(path)]
SHELL = [b for b in ALL if b.language == "sh"]


def of(mark: str) -> list[Block]:
    return [b for b in SHELL if (b.mark.startswith(mark) if mark else not b.mark)]


def test_the_documents_are_there_and_commands_are_marked_as_such():
    assert set(ASKED) <= {p.stem for p in DOCS}
    for block in ALL:
        # A block without a language is a picture, or output: nothing that somebody would paste.
        assert block.language in ("", "sh", "yaml", "json"), str(block)
        if not block.language:
            assert not re.search(r"^\s*(\$ |kubectl |helm |weftctl |\./weft |docker |curl )", block.text, re.M), str(block)
    for block in SHELL:
        assert block.mark in ("", "needs: mesh") or re.fullmatch(r"not run: \w.{8,}", block.mark), f"{block}: {block.mark!r}"
    assert len(of("")) >= 10 and len(of("needs: mesh")) >= 6


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What git would check out, with a commit; `bin` beside it has Weft's programs and helm."""
    folder = tmp_path_factory.mktemp("docs")
    copy, tools = folder / "weft", folder / "bin"
    copy.mkdir()
    tools.mkdir()
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    packed = subprocess.run(["tar", "--null", "-T", "-", "-cf", "-"], cwd=ROOT, input=names, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-xf", "-", "-C", copy], input=packed, check=True)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example", "commit", "-q", "-m", "Everything"]):
        subprocess.run(["git", *command], cwd=copy, check=True, capture_output=True)
    for program in [*BIN.glob("weft*"), helm_binary()]:
        (tools / ("helm" if program == helm_binary() else program.name)).symlink_to(program.resolve())
    return copy


def paste(block: Block, checkout: Path, text: str | None = None, **more) -> None:
    environment = {**os.environ, "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}", "WEFT_CACHE": cache_folder(), **more}
    for name in ("WEFT_HOME", "WEFT_API_KEY"):
        if name not in more:
            environment.pop(name, None)
    done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text or block.text], cwd=checkout, capture_output=True, text=True,
                          timeout=400, env=environment)
    assert done.returncode == 0, f"{block}\n{block.text}\n--- says\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def cache_folder() -> str:
    return os.environ.get("WEFT_CACHE", str(Path.home() / ".cache/weft"))


@pytest.mark.parametrize("block", of(""), ids=str)
def test_a_command_runs(block, checkout):
    paste(block, checkout)


@pytest.mark.parametrize("block", of("needs: mesh"), ids=str)
def test_a_command_runs_beside_a_mesh(block, checkout, mesh, model):
    state = checkout / ".weft"
    if not state.is_symlink():
        state.symlink_to(mesh.home)
    assert "127.0.0.1:8080" in block.text or ".weft" in block.text or "WEFT_MODEL" in block.text or "weftctl" in block.text
    # The mesh of the tests has ports of its own, and calls the model after its file.
    text = block.text.replace("http://127.0.0.1:8080", mesh.url).replace('"SmolLM2-135M-Instruct"', f'"{model}"')
    paste(block, checkout, text, WEFT_MODEL=str(model_path()))


# --- what is not run ---

def commands(block: Block) -> list[list[str]]:
    """The words of each simple command, as far as shlex sees them: loops and pipes are cut at their operators."""
    text = re.sub(r"<<-?'?(\w+)'?.*?^\1$", "", block.text.replace("\\\n", " "), flags=re.M | re.S)
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";|&()"):
                while words and (words[0] in ("do", "then", "!", "done", "sudo") or re.fullmatch(r"\w+=.*", words[0])):
                    words.pop(0)
                if words and words[0] not in ("for", "if", "fi", "while"):
                    found.append(words)
                words = []
            else:
                words.append(word)
    return found


@cache
def helps(*command: str) -> str:
    return subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60).stdout


KNOWN = {"kubectl", "helm", "docker", "git", "velero", "apt-get", "systemctl", "dpkg", "gzip", "tofu", "cd", "curl", "sed", "install", "useradd",
         "buildah"}


@pytest.mark.parametrize("block", of("not run: "), ids=str)
def test_a_command_that_is_not_run_names_what_exists(block):
    """Its syntax; the scripts, files, options of Weft's own programs and of helm; that helm's values are files of the chart or the reader's."""
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for words in commands(block):
        program, rest = words[0], words[1:]
        if "/" in program:
            assert os.access(ROOT / program, os.X_OK), f"{block}: {program}"
            if program == "./weft":
                assert re.search(rf"^  \./weft {rest[0]}\b", helps(str(ROOT / "weft")), re.M), f"{block}: {words}"
                for option in (w for w in rest if w.startswith("--")):
                    assert option in helps(str(ROOT / "weft")), f"{block}: {option}"
        elif program.startswith("weft"):
            sub = rest[:1] if program == "weftctl" else []
            for option in (w.split("=")[0] for w in rest if w.startswith("--")):
                assert option in helps(str(BIN / program), *sub) or option in helps(str(BIN / program), *rest[:2]), f"{block}: {option}"
        else:
            assert program in KNOWN, f"{block}: {program}"
        if program == "helm":
            sub = [w for w in rest if w in ("install", "upgrade", "rollback", "uninstall", "test", "history", "template", "lint", "repo")][0]
            for option in (w.split("=")[0] for w in rest if w.startswith("--")):
                assert option in helps(str(helm_binary()), sub), f"{block}: helm {sub} {option}"
        for word in words:
            if re.match(r"(deploy|helm|docs|bench|tests)/", word) and "$" not in word:
                assert (ROOT / word).exists(), f"{block}: {word}"


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.stem)
def test_a_document_names_metrics_alerts_and_values_that_exist(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    source = sources()
    for metric in re.findall(r"`(weft_[a-z_]+|code_gen_[a-z_]+|http_[a-z_]+)(?:\{[^`]*)?`", text):
        assert f'"{metric}"' in source, f"{path.name}: {metric}"
    for file in re.findall(r"`((?:deploy|helm|tests|bench|docs)/[\w./-]+)`", text):
        assert (ROOT / file).exists(), f"{path.name}: {file}"


@cache
def sources() -> str:
    return "\n".join(p.read_text() for folder in ("libs", "services") for p in (ROOT / folder).rglob("*.cc"))
