"""`.ci/audit` against a stand-in of the database of advisories."""

import http.server
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Advisories(http.server.BaseHTTPRequestHandler):
    """Answers as OSV does: at most one advisory."""

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = query["package"]["name"], query["version"]
        self.server.asked.append(f"{name}=={version}")
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
        advisory = {"id": "PYSEC-0-0", "summary": "", "details": "", "affected": [affected]}
        known = {"vulns": [advisory]} if f"{name}=={version}" == self.server.affected else {}
        answer = json.dumps(known).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def database():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        server.asked, server.affected = [], None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(address, tmp_path):
    """No proxy, and a cache of its own."""
    words = {"OSV_URL": address, "NO_PROXY": "127.0.0.1", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([ROOT / ".ci/audit"], env={**os.environ, **words}, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_advisories_of_pinned_versions(database, tmp_path):
    """Every pin is asked for, whatever Python it is for; an advisory fails the audit."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition(";")[0].strip() for line in lines if line and not line.startswith("#")]
    address = f"http://127.0.0.1:{database.server_port}/v1/query"
    assert audit(address, tmp_path) == (0, f"advisories: 0 among {len(pins)} pinned versions\n")
    assert sorted(database.asked) == sorted(pin.lower().replace("_", "-") for pin in pins)
    database.affected = next(pin for pin in pins if pin.startswith("flax=="))
    code, said = audit(address, tmp_path)
    name, version = database.affected.split("==")
    assert code == 1
    assert said.splitlines()[0] == f"{name} {version}: PYSEC-0-0, mended in 99.1"


@pytest.mark.slow
def test_no_database(tmp_path):
    """It says that it checked nothing, and holds nobody up."""
    code, said = audit("http://127.0.0.1:9/v1/query", tmp_path)
    assert code == 0
    assert said.startswith("advisories not checked: ")
