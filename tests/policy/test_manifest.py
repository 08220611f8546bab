import os
from pathlib import Path
from typing import Any

import pytest

from policy.errors import BadInput
from policy.manifest import (
    check_files,
    describe_files,
    file_faults,
    manifest_digest,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.parquet").write_bytes(b"rows")
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "model.safetensors").write_bytes(b"weights")
    data = {"schema": 1, "kind": "dataset", "name": "demo", "files": describe_files(tmp_path)}
    write_manifest(tmp_path, data)
    return tmp_path


def test_a_manifest_reads_back_with_its_digest(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest["digest"] == manifest_digest(manifest)
    assert list(manifest["files"]) == ["student/model.safetensors", "train.parquet"]
    assert check_files(folder, manifest) == []


def test_a_manifest_is_for_the_owners_eyes_and_leaves_nothing_beside_it(folder: Path) -> None:
    assert (folder / "manifest.json").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json",
        "student",
        "train.parquet",
    ]


@pytest.mark.parametrize(("key", "moves"), [("created", False), ("checkpoint", False), ("n", True)])
def test_the_digest_does_not_depend_on_when_it_was_made(key: str, moves: bool) -> None:
    data: dict[str, Any] = {"kind": "dataset", "files": {}}
    assert (manifest_digest(data) != manifest_digest({**data, key: "x"})) is moves


def test_altered_missing_and_extra_files_are_named(folder: Path) -> None:
    (folder / "train.parquet").write_bytes(b"rowz")
    (folder / "student" / "model.safetensors").unlink()
    (folder / "student" / "new").write_bytes(b"")
    (folder / "link").symlink_to("/nowhere")
    assert check_files(folder, read_manifest(folder)) == [
        "link",
        "student/model.safetensors",
        "student/new",
        "train.parquet",
    ]


def test_a_file_that_became_a_link_is_named(folder: Path) -> None:
    (folder / "train.parquet").rename(folder.parent / "elsewhere")
    (folder / "train.parquet").symlink_to(folder.parent / "elsewhere")
    assert file_faults(folder, read_manifest(folder)) == [
        ("train.parquet", "is a link, not a file")
    ]


def test_a_digest_without_its_algorithm_is_read_as_well(folder: Path) -> None:
    manifest = read_manifest(folder)
    for entry in manifest["files"].values():
        entry["sha256"] = entry["sha256"].removeprefix("sha256:")
    assert check_files(folder, manifest) == []


def test_a_directory_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unfinished"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": []}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadInput, match=r"is not JSON|is no manifest"):
        read_manifest(tmp_path)


def test_a_value_without_a_stable_form_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no stable form"):
        write_manifest(tmp_path, {"files": {}, "loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        write_manifest(tmp_path / "gone", {"files": {}})
