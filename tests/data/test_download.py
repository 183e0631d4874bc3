import gzip
import hashlib
import http.server
import threading

import pytest

from genjax_models.data.download import fetch
from genjax_models.errors import DataError

CONTENT = b"some bytes" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /plain, gzipped at /gz, cut short at /short, and nothing elsewhere."""

    def do_GET(self):
        self.server.asked.append(self.path)
        bodies = {"/plain": CONTENT, "/short": CONTENT, "/gz": gzip.compress(CONTENT)}
        bodies["/cut.gz"] = bodies["/gz"][:-12]
        if self.path not in bodies:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(bodies[self.path])))
        self.end_headers()
        self.wfile.write(bodies[self.path][: 100 if self.path == "/short" else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_downloads_once(server, tmp_path):
    target = tmp_path / "new" / "folder" / "file"
    assert fetch(server.url + "/plain", SHA256.upper(), target) == target
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ["file"]
    fetch(server.url + "/plain", SHA256, target)
    assert server.asked == ["/plain"]


def test_gunzip_stores_the_content(server, tmp_path):
    assert fetch(server.url + "/gz", SHA256, tmp_path / "file", gunzip=True).read_bytes() == CONTENT


def test_file_address(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert fetch((tmp_path / "source").as_uri(), SHA256, tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "gunzip", "message"),
    [
        ("/none", False, r"/none: the download to .*file failed \(HTTP Error 404.*By hand: download it by other means"),
        ("/short", False, r"/short: got 100 bytes with SHA-256 \w{64}, expected \w{64}; they are not kept"),
        ("/gz", False, r"/gz: got \d+ bytes with SHA-256"),
        ("/plain", True, r"/plain: expected a whole gzip file .*gunzip it, and put it at .*file \(SHA-256 \w{64}\)"),
        ("/cut.gz", True, r"/cut.gz: expected a whole gzip file"),
    ],
)
def test_what_fails_leaves_nothing(server, tmp_path, path, gunzip, message):
    with pytest.raises(DataError, match=message):
        fetch(server.url + path, SHA256, tmp_path / "file", gunzip)
    assert list(tmp_path.iterdir()) == []


def test_no_server(server, tmp_path):
    # A port that nobody listens on: bound, and closed again.
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DataError, match=r"the download to .* failed .*refused.*By hand"):
        fetch(f"http://127.0.0.1:{port}/plain", SHA256, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_cannot_be_parsed(tmp_path):
    with pytest.raises(DataError, match=r"http://\[bad: the download to .* failed"):
        fetch("http://[bad", SHA256, tmp_path / "file")


@pytest.mark.parametrize("url", ["ftp://host/file", "/a/path", "data:,x"])
def test_other_schemes(url, tmp_path):
    with pytest.raises(DataError, match=r"expected an address that starts with http://, https://, file://"):
        fetch(url, SHA256, tmp_path / "file")


def test_another_file_is_never_overwritten(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"is there with SHA-256 \w{64}, expected .*left as it is. Move it away"):
        fetch(server.url + "/plain", SHA256, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert server.asked == []


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(DataError, match=r"is there, but cannot be read"):
        fetch("http://127.0.0.1/x", SHA256, tmp_path / "file")
    (tmp_path / "plain").touch()
    with pytest.raises(DataError, match=r"cannot be written .*Make the folder writable"):
        fetch("http://127.0.0.1/x", SHA256, tmp_path / "plain" / "file")
