"""The project of docs/guides/audit.md, and its commands run in it.

    python -m tests.synth.audit_guide      # writes the outputs into the guide anew

Two teachers asked over the loopback, a frozen dataset, a run and a published student whose weights
are a few bytes: an audit reads manifests and never looks into weights.
"""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from policy.manifest import describe_files, read_manifest, write_manifest
from policy.terms import SHIPPED
from synth.bench import decision_of
from synth.checkpoints import checkpoint
from synth.freeze import log_receipt
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.command import SPIRITSAFE, environment
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import ask, asked, bench_of, project

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "audit.md"
BLOCK = re.compile(r"```console\n\$ (.*?)\n(.*?)```", re.DOTALL)


def build(home: Path) -> None:
    """Everything that the guide looks at."""

    def script(index: int, request: fake.Json) -> fake.Action:
        if index == 3:
            return fake.answer("I'm sorry, but I cannot help with that.")
        return fake.answer(f"Your card is on its way, Jane Doe ({index})." if index == 5 else "Ok")

    with FakeTeacher(script) as server:
        path = project(home, server.base_url, rows=8, dataset={"require": ["finish", "refusal"]},
                       limits={"concurrency": 1})  # fmt: skip
        ask(path)
    make_runs(path)
    entry = (SHIPPED / "openai-api.toml").read_text()
    (home / "terms").mkdir()
    hosts = re.sub(r"^hosts = .*$", 'hosts = ["127.0.0.1"]', entry, flags=re.MULTILINE)
    (home / "terms" / "openai-api.toml").write_text(hosts)
    (home / "more.jsonl").write_text(
        "".join(f'{{"id": "m{n}", "message": "More {n}", "intent": "late"}}\n' for n in range(4))
    )
    (home / "note.pdf").write_bytes(b"counsel's note")

    def another(index: int, request: fake.Json) -> fake.Action:
        return fake.answer(model="another-7b" if index == 2 else "")

    with FakeTeacher(another) as server:
        ask(path, f"teacher.base_url={server.base_url}", "teacher.offering=openai-api",
            "teacher.model=gpt-4o-mini", "use.purpose=evaluate", "limits.budget_usd=1",
            "limits.price={input = 1.0, output = 2.0}", "prompts.file=more.jsonl")  # fmt: skip
    day = asked(path, "SELECT strftime(epoch_ms(max(at_ms)), '%Y-%m-%d') FROM attempt")[0][0]
    (home / "usage.csv").write_text(
        f"date,model,num_model_requests\n{day},gpt-4o-mini-2024-07-18,5\n"
    )


def make_runs(path: Path) -> None:
    """A run on the dataset, and the student that was published of it."""
    home, bench = path.parent, bench_of(path)
    with bench.open() as ledger:
        freeze_step(bench, ledger, filter_step(bench, ledger))
        checkpoint(ledger, home)
        bot = read_manifest(home / "datasets" / "bot")
        decision = decision_of(bench, "train")
        for place, name in (("runs", "sft"), ("published", "ClinicBot")):
            folder = home / place / name
            (folder / "student").mkdir(parents=True)
            (folder / "student" / "model.safetensors").write_bytes(b"weights")
            (folder / "README.md").write_text("# A card\n")
            data = {"kind": "run", "name": name, "files": describe_files(folder),
                    "dataset": {"name": "bot", "digest": bot["digest"]},
                    "student": {"base": "smollm2", "base_digest": ""}, "licence": "apache-2.0",
                    "decision": decision.model_dump(mode="json"),
                    "obligations": list(decision.obligations)}  # fmt: skip
            write_manifest(folder, data)
            log_receipt(ledger, folder, "train" if place == "runs" else "publish")
        checkpoint(ledger, home)


def output(home: Path, line: str) -> str:
    """What a command of the guide prints; talk on standard error is part of it."""
    words = shlex.split(line)
    if words[0] == "spiritsafe":
        words[:1] = SPIRITSAFE
    elif words[0] == "python":
        words[0] = SPIRITSAFE[0]
    words = [
        next(iter(sorted(map(str, home.glob(word)), reverse=True)), word)
        if "*" in word else word
        for word in words
    ]  # fmt: skip
    if "KEY" in words:
        words[words.index("KEY")] = (home / "keys" / "log.pub").read_text().strip()
    done = subprocess.run(words, cwd=home, env=environment(), capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    text = (done.stdout + done.stderr).replace(f"{home}/", "")
    return "\n".join(one.rstrip() for one in text.splitlines())


def alike(text: str) -> str:
    """Without what differs each time: digests, days, moments, accounts, signatures; and without the
    widths that follow from them."""
    text = re.sub(r"(sha256:)?[0-9a-f]{8,}…?|sha256:[0-9a-f]*…", "HEX", text)
    text = re.sub(r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?|\d{4}-\d*…", "DAY", text)
    text = re.sub(r"20\d\d\S*…?", "DAY", text)
    text = re.sub(r"(DAY\s+)-?\d+", r"\1N", text)  # days that are left
    return " ".join(re.sub(r"\b(root|runner)\b|\S*\+AQ\S+|HEX\S*", "", text).split())


def filled(text: str, home: Path) -> str:
    """The guide with every output as it is now."""

    def block(found: re.Match[str]) -> str:
        return f"```console\n$ {found[1]}\n{output(home, found[1])}\n```"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        GUIDE.write_text(filled(GUIDE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
