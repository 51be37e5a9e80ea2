"""store/volumes.py: file systems as they are."""

from __future__ import annotations

import os

from sayci.store.volumes import measured


def test_a_file_system_is_measured_once(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (volume,) = measured([tmp_path, inner, tmp_path / "absent"])
    status = os.statvfs(tmp_path)
    assert volume.path == str(tmp_path)
    assert volume.bytes == status.f_blocks * status.f_frsize
    assert 0 <= volume.free_bytes <= volume.bytes
    assert volume.files == status.f_files


def test_what_is_not_there_is_not_measured(tmp_path):
    assert measured([tmp_path / "absent"]) == []
