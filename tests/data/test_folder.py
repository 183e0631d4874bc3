from pathlib import Path

import pytest

from genjax_models.data.folder import data_folder, find, locate, read_bytes
from genjax_models.errors import DataError


def test_data_folder_order(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GENJAX_MODELS_DATA", "~/variable")
    assert data_folder("~/given") == tmp_path / "home" / "given"
    assert data_folder() == tmp_path / "home" / "variable"
    monkeypatch.setenv("GENJAX_MODELS_DATA", "")
    assert data_folder() == tmp_path / "cache" / "genjax_models" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_folder() == tmp_path / "home" / ".cache" / "genjax_models" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == tmp_path / "home" / ".cache" / "genjax_models" / "data"


def test_locate_looks_in_the_folder_then_the_subfolder(tmp_path):
    (tmp_path / "sub").mkdir()
    assert locate(str(tmp_path), "a", "sub") is None
    (tmp_path / "sub" / "a.gz").touch()
    assert locate(str(tmp_path), "a", "sub") is None
    assert locate(str(tmp_path), "a", "sub", ("", ".gz")) == tmp_path / "sub" / "a.gz"
    (tmp_path / "sub" / "a").touch()
    assert locate(str(tmp_path), "a", "sub", ("", ".gz")) == tmp_path / "sub" / "a"
    (tmp_path / "a.gz").touch()
    assert locate(str(tmp_path), "a", "sub", ("", ".gz")) == tmp_path / "a.gz"


def test_find(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").mkdir()  # a folder is no file
    assert find(str(tmp_path), ["a"], "sub", "Ask.") == [tmp_path / "a"]
    with pytest.raises(DataError) as raised:
        find(str(tmp_path), ["a", "b", "c"], "sub", "Ask the author.", ("", ".gz"))
    text = str(raised.value)
    assert "not found: b or b.gz, c or c.gz." in text
    assert f"\n  {tmp_path}\n  {tmp_path / 'sub'} (no such folder)\n" in text
    assert "Ask the author." in text
    assert "--data-dir" in text
    assert "GENJAX_MODELS_DATA" in text


def test_read_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    assert read_bytes(tmp_path / "a") == b"12"
    with pytest.raises(DataError, match=r"cannot be read .*Check that it is a file"):
        read_bytes(Path(tmp_path))
