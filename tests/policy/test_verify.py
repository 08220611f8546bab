import ast
from pathlib import Path

import pytest

from policy import verify
from policy.digest import commit
from policy.keys import SigningKey, new_key, sign_note
from policy.log import checkpoint_text, leaf_body, leaf_hash, root_of
from policy.manifest import describe_files, read_manifest, write_manifest
from policy.verify import LogRow, check_content, verify_dataset, verify_log, verify_run

NAME = "spiritsafe.local/demo"
SALT = bytes(range(16))


def row(seq: int, content: str = "answer") -> LogRow:
    fields = {"key": f"sha256:{seq}", "content": commit(SALT, content.encode()), "tokens": seq}
    return LogRow(seq, "completion", fields, leaf_hash(leaf_body("completion", seq, fields)))


ROWS = [row(seq) for seq in range(10)]


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return new_key(tmp_path / "keys" / "log.pem")


def notes(key: SigningKey, *sizes: int, rows: list[LogRow] = ROWS) -> list[str]:
    roots = {size: root_of(row.leaf_hash for row in rows[:size]) for size in sizes}
    return [sign_note(checkpoint_text(NAME, size, roots[size]), NAME, key) for size in sizes]


def found(rows: list[LogRow], key: SigningKey, checkpoints: list[str]) -> list[tuple[str, str]]:
    return [(each.object, each.problem) for each in verify_log(rows, checkpoints, key.public(NAME))]


def test_a_sound_log_has_no_findings(key: SigningKey) -> None:
    assert found(ROWS, key, notes(key, 0, 4, 10)) == []
    assert found([], key, []) == []


def test_an_altered_field_is_named(key: SigningKey) -> None:
    altered = ROWS[3]._replace(fields={**ROWS[3].fields, "tokens": 99})
    findings = found([*ROWS[:3], altered, *ROWS[4:]], key, notes(key, 10))
    assert findings == [
        ("completion sha256:3", "leaf 3 is altered: its fields do not match its hash")
    ]


def test_a_field_altered_with_its_hash_is_bounded_by_the_checkpoints(key: SigningKey) -> None:
    forged = [*ROWS[:5], row(5, "another answer"), *ROWS[6:]]
    findings = found(forged, key, notes(key, 4, 8, 10))
    assert findings[0][0] == "checkpoint of size 8"
    assert "a leaf from 4 to 7" in findings[0][1]
    assert len(findings) == 2


def test_a_missing_leaf_is_named(key: SigningKey) -> None:
    findings = found([*ROWS[:6], *ROWS[7:]], key, notes(key, 4))
    assert findings == [("leaf 6", "is missing before completion sha256:7")]


def test_a_leaf_that_is_there_twice_is_named(key: SigningKey) -> None:
    findings = found([*ROWS[:6], ROWS[5], *ROWS[6:]], key, notes(key, 10))
    assert findings == [("completion sha256:5", "leaf 5 is there twice or out of order")]


def test_an_end_that_was_cut_off_is_noticed(key: SigningKey) -> None:
    findings = found(ROWS[:8], key, notes(key, 4, 10))
    assert findings == [("checkpoint of size 10", "the log has only 8 leaves: its end was cut off")]


def test_a_checkpoint_that_somebody_else_signed_is_noticed(tmp_path: Path, key: SigningKey) -> None:
    strange = new_key(tmp_path / "strange.pem")
    findings = found(ROWS, key, [*notes(key, 4), *notes(strange, 10)])
    assert [name for name, _ in findings] == ["checkpoint 2"]


def test_every_character_of_a_leaf_is_covered(key: SigningKey) -> None:
    fields = dict(ROWS[3].fields)
    text = str(fields["content"])
    for place in range(len(text)):
        fields["content"] = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        altered = ROWS[3]._replace(fields=dict(fields))
        assert len(found([*ROWS[:3], altered], key, [])) == 1


def test_a_content_is_held_to_its_commitment() -> None:
    commitment = commit(SALT, b"answer")
    assert check_content("completion a", commitment, SALT, b"answer") == []
    assert check_content("completion a", commitment, SALT, b"answes")[0].object == "completion a"
    assert check_content("completion a", commitment, b"", b"answer")[0].object == "completion a"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "demo"
    folder.mkdir(parents=True)
    (folder / "train.parquet").write_bytes(b"rows")
    write_manifest(folder, {"kind": "dataset", "name": "demo", "files": describe_files(folder)})
    return folder


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> Path:
    folder = tmp_path / "runs" / "sft"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "model.safetensors").write_bytes(b"weights")
    source = {"name": "demo", "digest": read_manifest(dataset)["digest"]}
    files = describe_files(folder)
    write_manifest(folder, {"kind": "run", "dataset": source, "files": files})
    return folder


def test_sound_directories_have_no_findings(dataset: Path, run: Path) -> None:
    assert verify_dataset(dataset) == []
    assert verify_run(run, dataset.parent) == []


def test_one_changed_byte_of_a_dataset_names_the_file(dataset: Path) -> None:
    (dataset / "train.parquet").write_bytes(b"rowz")
    (finding,) = verify_dataset(dataset)
    assert finding.object == str(dataset / "train.parquet")
    assert finding.problem.startswith("is altered")


def test_one_changed_byte_of_the_weights_names_the_file(run: Path) -> None:
    (run / "student" / "model.safetensors").write_bytes(b"weightz")
    (finding,) = verify_run(run)
    assert finding.object.endswith("student/model.safetensors")


def test_a_changed_manifest_is_noticed(dataset: Path) -> None:
    path = dataset / "manifest.json"
    path.write_text(path.read_text().replace('"name": "demo"', '"name": "demo2"'))
    (finding,) = verify_dataset(dataset)
    assert finding.object == str(path)
    assert "its digest is" in finding.problem


def test_a_run_on_another_dataset_is_noticed(dataset: Path, run: Path) -> None:
    (dataset / "train.parquet").write_bytes(b"other rows")
    write_manifest(dataset, {**read_manifest(dataset), "files": describe_files(dataset)})
    (finding,) = verify_run(run, dataset.parent)
    assert finding.object == "dataset demo"
    assert "not the one the run was trained on" in finding.problem


def test_a_missing_dataset_or_directory_is_named(tmp_path: Path, run: Path) -> None:
    assert verify_run(run, tmp_path / "gone")[0].object == "dataset demo"
    assert verify_dataset(tmp_path / "gone")[0].object == str(tmp_path / "gone")


def test_a_run_does_not_pass_for_a_dataset(run: Path) -> None:
    assert "not of a dataset" in verify_dataset(run)[0].problem


def test_the_verifier_imports_no_writer() -> None:
    tree = ast.parse(Path(verify.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {"digest", "errors", "keys", "log", "manifest", "proofs"}
    ours = {str(name).removeprefix("policy.") for name in imported if str(name)[:6] == "policy"}
    assert ours <= allowed
