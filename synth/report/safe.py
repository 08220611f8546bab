"""What makes a page with a stranger's words in it harmless: escaping everywhere, and a policy.

engine = environment("synth.report")     every value is escaped and made visible by the engine
csp_hash(style)                          names the one style or script that may apply
"""

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined

from synth.report.text import shown


def environment(package: str) -> Environment:
    """Templates of a package; nothing comes out of them unescaped but our own markup."""
    return Environment(
        loader=PackageLoader(package, package_path="."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def visible(value: object) -> object:
    """Applied by the engine to everything it puts out; only our own markup passes as it is."""
    return shown(value) if type(value) is str else value


def csp_hash(text: str) -> str:
    """SHA-256 as a Content-Security-Policy names it (W3C CSP Level 3, section 2.3.1)."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
