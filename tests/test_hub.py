"""Models pushed to and pulled from a stand-in of the Hugging Face Hub: nothing is lost, or taken on trust."""

import base64
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import jax
import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from runs import Log

from genjax_models import checkpoints, hub
from genjax_models.cli import main
from genjax_models.config import Config
from genjax_models.data import Digits
from genjax_models.errors import RunError, UserError
from genjax_models.export import ABOUT, PARAMETERS, SCRIPT, load_export
from genjax_models.hub import CARD, EXPECTED, model_card, pull, push_run
from genjax_models.measuring import chosen_parameters
from genjax_models.models import MADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam
from genjax_models.preparation import prepare
from genjax_models.run_folder import CONFIG, create_or_match, open_run

# Of huggingface_hub's own upload of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

MODEL = Config(MADE(hidden=(8,)), MaximumLikelihood(), Adam(), Digits())
RESULT = {
    "test_nll": 19.5,
    "test_nll_standard_error": 0.25,
    "test_nll_samples": None,
    "test_bound": -19.5,
    "test_bound_standard_error": 0.25,
    "data": "<b>|digits",
}


class Hub(ThreadingHTTPServer):
    """What uploads and downloads of a model need of the Hub: repositories, their commits, and large files."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.commits: dict[str, list[dict[str, bytes]]] = {}  # files by name, of each commit of a repository
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}  # by sha256
        self.claimed: dict[str, int] = {}  # sizes that are not so
        self.asked: list[str] = []
        self.unanswered: set[str] = set()
        self.broken = False  # the place of large files


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def give(self, content: bytes | dict | list, status: int = 200, **headers: str):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str):
        self.give({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    @property
    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def do_POST(self):
        server, path, body = self.server, self.path.partition("?")[0], self.body
        if self.headers.get("Authorization") != "Bearer secret":
            return self.refuse(401, "Unauthorized")
        given = [json.loads(line) for line in body.splitlines()]
        if path == "/api/repos/create":
            name = f"{given[0]['organization']}/{given[0]['name']}"
            if given[0].get("private") or given[0].get("visibility") == "private":
                server.private.add(name)
            status = 409 if name in server.commits else 200
            server.commits.setdefault(name, [{".gitattributes": b""}])
            return self.give({"url": f"{server.address}/{name}"}, status)
        if path == "/api/validate-yaml":
            return self.give({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{server.address}/large/{one['oid']}"}}}
                for one in given[0]["objects"]
            ]
            return self.give({"objects": objects, "transfer": "basic"})
        repo, what = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path).groups()
        if what == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"] == PARAMETERS else "regular",
                    "shouldIgnore": False,
                }
                for file in given[0]["files"]
            ]
            return self.give({"files": modes})
        files = dict(server.commits[repo][-1])
        for line in given:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        server.commits[repo].append(files)
        oid = self.oid(repo, len(server.commits[repo]))
        return self.give({"commitUrl": f"{server.address}/{repo}/commit/{oid}", "commitOid": oid})

    def do_PUT(self):
        body = self.body
        oid = self.path.rpartition("/")[2]
        if self.server.broken:
            return self.refuse(403, "Forbidden")
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        return self.give(b"")

    @staticmethod
    def oid(repo: str, number: int) -> str:
        return hashlib.sha1(f"{repo}{number}".encode()).hexdigest()

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0]
        server.asked.append(path)
        found = re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?|/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path
        )
        repo, _, revision, other, commit, name = found.groups() if found else [None] * 6
        repo, revision = repo or other, revision or commit or "main"
        if repo not in server.commits:
            return self.refuse(404 if found else 400, "RepoNotFound")
        commits = {self.oid(repo, i + 1): files for i, files in enumerate(server.commits[repo])}
        oid = list(commits)[-1] if revision == "main" else revision
        if oid not in commits:
            return self.refuse(404, "RevisionNotFound")
        files = commits[oid]
        if name in server.unanswered:
            return self.refuse(403, "Forbidden")
        if name is not None:
            etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
            return self.give(files[name], ETag=etag, X_Repo_Commit=oid)
        sizes = {name: server.claimed.get(name, len(content)) for name, content in files.items()}
        if found[2] == "tree":
            return self.give([{"type": "file", "path": n, "size": s, "oid": oid} for n, s in sizes.items()])
        return self.give({"id": repo, "sha": oid, "siblings": [{"rfilename": n, "size": s} for n, s in sizes.items()]})

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A run with its initial parameters, and a result."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    train, data, spec = prepare(MODEL, None)
    run, _ = create_or_match(folder, MODEL, spec)
    checkpoints.save(run.checkpoints, train.init(MODEL, jax.random.key(0), data.train), 0.0, None, (0.0, 0))
    (folder / "result.json").write_text(json.dumps(RESULT))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The stand-in, which is all that the library knows of the Hub; and a token."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.address)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace("https://huggingface.co", server.address)
        )
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setenv("HF_TOKEN", "secret")
        yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def pushed(server, run_dir) -> dict[str, bytes]:
    """The files of a repository that `push` made."""
    words = ["--private", "--license", "apache-2.0", "--platforms", "cpu", "--quiet"]
    assert main(["push", str(run_dir), "me/model", *words]) == 0
    return {name: content for name, content in server.commits["me/model"][-1].items() if name != ".gitattributes"}


def test_what_is_pushed_comes_back_bit_for_bit(server, pushed, run_dir, tmp_path, capsys):
    """By the commands, as a folder that `load_export` takes."""
    assert server.private == {"me/model"}
    assert pushed.keys() == {CONFIG, PARAMETERS, ABOUT, SCRIPT, CARD, "sample.jaxexport", "log_marginal.jaxexport"}
    assert set(pushed) <= EXPECTED.keys()
    into = tmp_path / "deep" / "pulled"
    assert main(["pull", "me/model", "--into", str(into), "--quiet"]) == 0
    assert capsys.readouterr() == (f"{into}\n", "")
    assert {p.name: p.read_bytes() for p in into.iterdir()} == pushed
    assert [p.name for p in into.parent.iterdir()] == ["pulled"]
    model, params = load_export(into)
    _, chosen, _ = chosen_parameters(open_run(run_dir), Log())
    jax.tree.map(np.testing.assert_array_equal, params, chosen)
    assert model == MODEL.model.build(64)


def test_a_second_push_replaces_the_first_which_stays_in_the_history(server, pushed, run_dir, tmp_path):
    files = server.commits["me/model"]
    files.append({**files[-1], "decode.jaxexport": b"of what it could do once", "thesis.txt": b"mine"})
    log = Log()
    address = push_run(run_dir, "me/model", platforms=("cpu",), log=log)
    assert address.startswith(f"{server.address}/me/model/commit/")
    assert files[-1].keys() == pushed.keys() | {"thesis.txt", ".gitattributes"}
    log.clear()
    pull("me/model", tmp_path / "new", log=log)
    assert not (tmp_path / "new" / "thesis.txt").exists()
    assert "left there, since a model has no such files: 'thesis.txt'" in str(log)
    first = Answers.oid("me/model", 2)  # after the one that makes the repository
    pull("me/model", tmp_path / "old", revision=first, log=log)
    assert (tmp_path / "old" / CARD).read_bytes() == pushed[CARD]


def test_an_upload_that_fails_is_no_program_error(server, pushed, run_dir, monkeypatch):
    monkeypatch.setattr(server, "broken", True)
    commits = len(server.commits["me/model"])
    with pytest.raises(UserError, match=r"the upload failed .*parameters\.safetensors.*403"):
        push_run(run_dir, "me/model", platforms=("cpu",), log=Log())
    assert len(server.commits["me/model"]) == commits


def test_the_card(run_dir):
    """Its YAML is what the Hub reads, and texts of the result are no HTML in it."""
    text = model_card(open_run(run_dir), RESULT, "me/model", "apache-2.0")
    _, head, body = text.split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["library_name"], about["license"]) == ("genjax_models", "apache-2.0")
    assert {"made", "maximum_likelihood"} <= set(about["tags"])
    (model,) = about["model-index"]
    metrics = {metric["type"]: metric["value"] for result in model["results"] for metric in result["metrics"]}
    assert metrics == {"nll": 19.5, "bound": -19.5}
    assert model["results"][0]["dataset"]["type"] == "digits"
    for words in ("| test NLL | 19.50 ± 0.25 |", r"\<b\>\|digits", "@inproceedings{germain2015made", "load_export("):
        assert words in body, words
    head, _ = model_card(open_run(run_dir), None, "me/model").split("---\n")[1:]
    assert {"license", "model-index"}.isdisjoint(yaml.safe_load(head))


def spoil(server: Hub, pushed: dict[str, bytes], **files: bytes | None) -> str:
    """A repository with other files than those that were pushed."""
    names = {name.replace("__", "."): content for name, content in files.items()}
    server.commits["me/spoilt"] = [{n: c for n, c in {**pushed, **names}.items() if c is not None}]
    return "me/spoilt"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config__json": None}, "no model of genjax_models, config.json missing"),
        ({"config__json": b'{"format": 1}'}, "cannot be read as a run's configuration"),
        ({"config__json": b"x" * (4 * 2**20 + 1)}, "config.json: got 4194305 bytes, expected at most 4194304"),
        ({"parameters__safetensors": b"\xff" * 40}, "no whole file of safetensors"),
    ],
)
def test_what_is_no_model_is_refused(server, pushed, tmp_path, files, says):
    """And leaves nothing."""
    with pytest.raises(UserError) as raised:
        pull(spoil(server, pushed, **files), tmp_path / "into", log=Log())
    assert says in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_names_are_never_asked_for(server, pushed, tmp_path):
    """Whatever leads out of the folder, or would be run by something."""
    names = [
        "../outside.txt",
        "/etc/outside",
        "sub/config.json",
        "..\\outside",
        "setup.py",
        "evil.jaxexport",
        ".gitattributes",
    ]
    repo = spoil(server, pushed)
    server.commits[repo][0] |= dict.fromkeys(names, b"evil")
    server.asked.clear()
    log = Log()
    pull(repo, tmp_path / "into", log=log)
    assert {p.name for p in (tmp_path / "into").iterdir()} == pushed.keys()
    assert {path.rpartition("/")[2] for path in server.asked if "/resolve/" in path} == pushed.keys()
    assert "'../outside.txt', '..\\\\outside'" in str(log)
    assert "gitattributes" not in str(log)


def test_a_download_that_breaks_off_leaves_nothing(server, pushed, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "unanswered", {SCRIPT})
    with pytest.raises(UserError, match=r"me/model: .*cannot be fetched|me/model: the Hub refused with 403"):
        pull("me/model", tmp_path / "into", log=Log())
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_than_announced_is_refused(server, pushed, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "claimed", {SCRIPT: 5})
    with pytest.raises(RunError, match=r"use.py: got \d+ bytes, expected 5"):
        pull("me/model", tmp_path / "into", log=Log())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_said(server, pushed, run_dir, tmp_path, monkeypatch, capsys):
    """By name, with the fix, and with exit code 2."""

    def says(*words: str) -> str:
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        return err

    into = str(tmp_path / "into")
    assert "me/absent: no such repository" in says("pull", "me/absent", "--into", into)
    assert "has no revision 'old'" in says("pull", "me/model", "--into", into, "--revision", "old")
    assert "'a/b/c' is no name of a repository" in says("pull", "a/b/c", "--into", into)
    assert "'a b' is no name of a repository" in says("push", str(run_dir), "a b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert "is not an empty folder; give another --into" in says("pull", "me/model", "--into", str(tmp_path / "mine"))
    assert "no run here" in says("push", str(tmp_path), "me/model")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    monkeypatch.setattr(
        hub, "export_run", lambda folder, out, **rest: (out.mkdir(), (out / ABOUT).write_text('{"step": 0}'))
    )
    assert "the Hub refused with 401" in says("push", str(run_dir), "me/other")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "set HF_TOKEN" in says("push", str(run_dir), "me/model")
    with pytest.raises(UserError, match="the Hub cannot be reached"):
        pull("me/model", into, endpoint="http://127.0.0.1:9", log=Log())
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'genjax_models[hub]'" in says("pull", "me/model", "--into", into)
    assert not Path(into).exists()
