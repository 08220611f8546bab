"""Proofs about one thing, as files that somebody checks who has only policy/verify.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from policy.keys import verify_note
from policy.verify import check_consistency, check_inclusion, main
from synth.checkpoints import public_key
from tests.command import environment, spiritsafe
from tests.synth.audit_guide import build
from tests.synth.parts import bench_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("proofs")
    build(home)
    return home


def notes(home: Path) -> list[Path]:
    return sorted((home / "checkpoints").glob("*.note"))


def proof_of(home: Path, row: str = "p0001") -> str:
    out = home / f"{row}.tlog-proof"
    spiritsafe("verify", "row", home / "project.toml", row, "--out", out)
    return out.read_text()


def test_a_row_is_proved_to_somebody_with_the_key_alone(home: Path) -> None:
    text = proof_of(home)
    assert text.count("c2sp.org/tlog-proof@v1\n") == 3  # attempt, outcome, verdict
    assert check_inclusion(text, public_key(home)) == []
    path = home / "p0001.tlog-proof"
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, "row", str(path), "--key", public_key(home)],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n")


_ALONE = """
import sys
from policy.verify import main
code = main(sys.argv[1:])
print(sorted(name for name in sys.modules if name.split(".")[0] in ("synth", "train", "duckdb")))
sys.exit(code)
"""


@pytest.mark.parametrize("place", range(0, 400, 37))
def test_a_changed_proof_is_refused(home: Path, place: int) -> None:
    text = proof_of(home)
    letter = "B" if text[place] != "B" else "C"
    changed = text[:place] + letter + text[place + 1 :]
    assert check_inclusion(changed, public_key(home))


def test_a_row_that_came_later_is_not_in_an_old_checkpoint(home: Path) -> None:
    done = spiritsafe("verify", "row", home / "project.toml", "m1", "--checkpoint", notes(home)[1],
                      code=5)  # fmt: skip
    assert "no entry of it is among the first" in done.out


def test_every_older_checkpoint_is_a_beginning(home: Path) -> None:
    for old in notes(home):
        out = home / "grown.json"
        spiritsafe("verify", "consistency", home / "project.toml", old, "--out", out)
        proof = json.loads(out.read_text())
        assert check_consistency(proof, public_key(home)) == []
        assert main(["consistency", str(out), "--key", public_key(home)]) == 0
        proof["proof"] = [*proof["proof"][1:], "00" * 32]
        if proof["old_size"] not in (0, proof["new_size"]):
            assert check_consistency(proof, public_key(home))


def test_another_history_is_refused(home: Path, tmp_path: Path) -> None:
    """A checkpoint of another log, even one under the same key, is no beginning of this one."""
    build(tmp_path)
    done = spiritsafe("verify", "consistency", home / "project.toml", notes(tmp_path)[-1], code=5)
    assert "no signature by" in done.out


def test_a_student_is_proved_down_to_its_rows(home: Path) -> None:
    done = spiritsafe("verify", "model", home / "project.toml", "sft", "--manifest", "bot")
    assert "of train.parquet" in done.err
    weights = home / "runs" / "sft" / "student" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"Weights")
    try:
        done = spiritsafe("verify", "model", home / "project.toml", "sft", code=5)
    finally:
        weights.write_bytes(kept)
    assert "model.safetensors: is altered" in done.out


def test_what_was_published_is_held_against_its_duties(home: Path) -> None:
    spiritsafe("verify", "publish", home / "project.toml", "ClinicBot")


def test_a_second_person_countersigns(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "auditor.pem"
    made = spiritsafe("keys", "make", key, "--name", "auditor.example/log")
    log_key = spiritsafe("keys", "show", home / "project.toml").out.strip()
    out = tmp_path / "kept.note"
    spiritsafe("keys", "cosign", notes(home)[-1], "--key", key, "--name", "auditor.example/log",
               "--log-key", log_key, "--out", out)  # fmt: skip
    text = out.read_text()
    assert verify_note(text, "auditor.example/log", made.out.strip())
    assert verify_note(text, log_key.split("+")[0], log_key)
    done = spiritsafe("verify", "consistency", home / "project.toml", out)
    assert "the log only grew" in done.err
    spiritsafe("keys", "cosign", home / "project.toml", "--key", key, "--name", "a", code=2)


def test_no_private_key_is_in_the_ledger(home: Path) -> None:
    pem = (home / "keys" / "log.pem").read_text().splitlines()[1].encode()
    assert pem not in (home / "ledger.duckdb").read_bytes()
    assert (home / "keys" / "log.pem").stat().st_mode & 0o077 == 0
    assert bench_of(home / "project.toml")
