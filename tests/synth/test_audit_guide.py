"""The auditor's guide prints what the commands print."""

from pathlib import Path

from tests.synth.audit_guide import BLOCK, GUIDE, alike, build, output


def test_every_output_of_the_guide_is_real(tmp_path: Path) -> None:
    build(tmp_path)
    text = GUIDE.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) >= 22
    for line, shown in blocks:
        assert alike(output(tmp_path, line)) == alike(shown), line


def test_every_question_has_its_number() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert [f"### {number}. " in text for number in range(1, 23)] == [True] * 22
