"""A new key signs the log: the old one signs the hand-over, and everything still verifies."""

from pathlib import Path

import pytest

from policy.keys import load_key, new_key, sign_note
from policy.verify import main as verify_alone
from synth.checkpoints import KEY, NEXT, PUBLIC, checkpoint, rotate
from synth.notices import NoticeRow
from tests.command import spiritsafe
from tests.synth.parts import bench_of

WORDS = ("--by", "A. Jurist", "--because", "once a year")


def grow(path: Path, name: str) -> None:
    bench = bench_of(path)
    with bench.open() as ledger:
        said = NoticeRow("policy_change", "file", name, "", "", 1, "A", "b", "{}")
        ledger.append_all([said])
        checkpoint(ledger, path.parent)


def test_what_either_key_signed_verifies(path: Path) -> None:
    old = (path.parent / PUBLIC).read_text().strip()
    done = spiritsafe("keys", "rotate", path, *WORDS)
    new = done.out.splitlines()[0]
    assert new != old
    assert (path.parent / PUBLIC).read_text().split() == [old, new]
    grow(path, "more")
    spiritsafe("verify", path)
    assert spiritsafe("keys", "show", path).out.split() == [old, new]


def test_who_has_the_old_line_can_follow_to_the_new_one(path: Path, tmp_path: Path) -> None:
    old = (path.parent / PUBLIC).read_text().strip()
    before = max((path.parent / "checkpoints").glob("*.note"))
    new = spiritsafe("keys", "rotate", path, *WORDS).out.splitlines()[0]
    handed_over = max((path.parent / "checkpoints").glob("*.note"))
    proof = tmp_path / "grown.json"
    spiritsafe("verify", "consistency", path, before, handed_over, "--out", proof)
    assert verify_alone(["consistency", str(proof), "--key", old]) == 0
    grow(path, "more")
    spiritsafe("verify", "consistency", path, handed_over, "--out", proof)
    assert verify_alone(["consistency", str(proof), "--key", new]) == 0
    assert verify_alone(["consistency", str(proof), "--key", old]) == 5


def test_the_old_key_signs_nothing_afterwards(path: Path) -> None:
    home = path.parent
    stolen = load_key(home / KEY)
    spiritsafe("keys", "rotate", path, *WORDS)
    grow(path, "more")
    note = max((home / "checkpoints").glob("*.note"))
    text, _, signature = note.read_text().rpartition("\n\n")
    name = signature.split(" ")[1]
    forged = sign_note(text + "\n", name, stolen)
    note.write_text(forged)
    with bench_of(path).open() as ledger:
        ledger._connection.execute("UPDATE signed SET note = ? WHERE size = ?",
                                   [forged, int(note.stem)])  # fmt: skip
    out = spiritsafe("verify", path, code=5).out
    assert f"checkpoint of size {int(note.stem)}: is signed by a key that had been handed" in out


def test_a_key_that_nobody_handed_over_to_is_named(path: Path) -> None:
    public = path.parent / PUBLIC
    old = public.read_text()
    strange = new_key(path.parent / "strange.pem").public(old.split("+")[0])
    public.write_text(f"{old}{strange}\n")
    out = spiritsafe("verify", path, code=5).out
    assert "key 2 of the log: no checkpoint is signed by it and by the key before it" in out
    assert "key 2 of the log: is in no entry of it" in out


@pytest.mark.parametrize("announced", [True, False])
def test_a_kill_in_the_middle_is_ended_by_the_next_run(path: Path, announced: bool) -> None:
    home = path.parent
    old = (home / KEY).read_bytes()
    before = (home / PUBLIC).read_text()
    with bench_of(path).open() as ledger:
        rotate(ledger, home, "A. Jurist", "once a year")
    (home / KEY).rename(home / NEXT)  # as it lies before the last step
    (home / KEY).write_bytes(old)
    if not announced:
        (home / PUBLIC).write_text(before)
    spiritsafe("verify", path)
    grow(path, "more")
    spiritsafe("verify", path)
    spiritsafe("keys", "rotate", path, *WORDS)
    grow(path, "again")
    spiritsafe("verify", path)
    assert not (home / NEXT).exists()
