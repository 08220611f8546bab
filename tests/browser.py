"""A real browser that draws a page and resolves no name, so that nothing leaves the machine."""

import html as entities
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium to draw the page with")

QUIET = """
--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars
--enable-logging=stderr
"""


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A browser that resolves no name, so nothing leaves the machine."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET.split(), "--host-resolver-rules=MAP * ~NOTFOUND", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


MEASURE = """
const inner = document.querySelector("iframe").contentDocument, seen = inner.defaultView;
const channel = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const parts = colour => colour.match(/[\\d.]+/g).map(v => channel(v / 255));
const light = colour => parts(colour).reduce((sum, v, n) => sum + [.2126, .7152, .0722][n] * v, 0);
const ground = e => {
  const colour = seen.getComputedStyle(e).backgroundColor;
  return colour.startsWith("rgba") ? ground(e.parentElement) : colour;
};
const contrast = e => {
  const style = seen.getComputedStyle(e), drawn = e.closest("svg") ? style.fill : style.color;
  const [low, high] = [light(drawn), light(ground(e))].sort((a, b) => a - b);
  return [(high + .05) / (low + .05), e.tagName + " " + e.textContent.slice(0, 30)];
};
const written = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
const texts = [...inner.body.querySelectorAll("*")].filter(e => written(e) && e.tagName != "title");
const found = JSON.stringify({
  width: inner.documentElement.scrollWidth,
  contrast: texts.map(contrast).sort((a, b) => a[0] - b[0])[0],
  ground: seen.getComputedStyle(inner.body).backgroundColor,
  title: inner.title,
});
document.body.innerHTML = "<pre id=found></pre>";
document.querySelector("#found").textContent = found;
"""


def measured(page: str, folder: Path, *flags: str, width: int = 375) -> tuple[dict[str, Any], str]:
    """What a browser makes of the page in a frame of this width; the page has no script to ask."""
    frame = f'<iframe width="{width}" height="800" srcdoc="{entities.escape(page)}"></iframe>'
    script = "onload = () => {" + MEASURE + "}"
    outer = folder / "frame.html"
    outer.write_text(
        f"<!doctype html><meta charset=utf-8><body>{frame}<script>{script}</script>",
        encoding="utf-8",
    )
    done = chromium(f"--user-data-dir={folder}/profile", *flags, "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr
    return json.loads(entities.unescape(found[1])), done.stderr
