"""Other people's validators, in an environment of their own: they bring pandas and old pins.

    python -m venv .venv-validators && .venv-validators/bin/pip install \
        -c tests/validators-constraints.txt mlcroissant pyarrow llm securesystemslib \
        in-toto-attestation cryptography 'cyclonedx-python-lib[json-validation]'
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.command import environment

PYTHON = Path(__file__).parent.parent.parent / ".venv-validators" / "bin" / "python"

CROISSANT = """
import json, sys
import mlcroissant
found = mlcroissant.Dataset(jsonld=sys.argv[1])
def plain(value):
    if isinstance(value, bytes): return value.decode("utf-8", "replace")
    if isinstance(value, dict): return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list): return [plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value
print(json.dumps({
    "issues": found.metadata.ctx.issues.report(),
    "again": found.metadata.to_json(),
    "records": {one.name if isinstance(one.name, str) else one.id:
                [plain(row) for row in found.records(one.id)]
                for one in found.metadata.record_sets},
}, default=str))
"""

CYCLONEDX = """
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
print(json.dumps(str(error) if error else ""))
"""

DSSE = """
import json, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from google.protobuf import json_format
envelope = Envelope.from_dict(json.load(open(sys.argv[1])))
raw = bytes.fromhex(sys.argv[2])
keyid = next(iter(envelope.signatures))
key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw), keyid=keyid)
try:
    verified = sorted(envelope.verify([key], 1))
except Exception as error:
    print(json.dumps({"verified": [], "why": type(error).__name__})); sys.exit()
said = json_format.Parse(envelope.payload, statement_pb2.Statement())
Statement.copy_from_pb(said).validate()
predicate = json.loads(envelope.payload)["predicate"]
parsed = json_format.ParseDict(predicate, provenance_pb2.Provenance())
print(json.dumps({"verified": verified, "subjects": [one.name for one in said.subject],
                  "dependencies": len(parsed.build_definition.resolved_dependencies)}))
"""


def validate(script: str, *arguments: str | Path) -> Any:
    """What a validator says, as JSON; skipped where it is not installed."""
    if not PYTHON.exists():
        pytest.skip("no .venv-validators: make servers")
    done = subprocess.run(
        [PYTHON, "-c", script, *map(str, arguments)],
        env={**environment(), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
