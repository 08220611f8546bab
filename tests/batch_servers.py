"""Four batch APIs over a real loopback socket, with faults by a script and a count of their own.

    with BatchServer("openai", results={3: refused(429)}, faults={"create": [LOST]}) as server:
        ...                             # a project with base_url = server.base_url collects
    assert max(server.billed.values()) == 1

A request is billed when the server has worked on it, which is when its batch ends; the key of the
count is the digest of its body. What a request gets is told by its number in order of arrival, or
by a function. `on` is called with the name of each step before the server answers: a test kills the
client there.
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests import fake_teacher as fake
from tests.dialect_servers import BODIES

Json = dict[str, Any]
MODEL = "smollm2-135m"
LOST, CUT, DENIED, HANG = "lost", "cut", "denied", "hang"
"""Faults: the request is carried out and the connection closed without a word; the body ends early;
401; no reply at all."""
ROOTS = {"openai": "/v1", "mistral": "/v1", "anthropic": "", "gemini": "/v1beta"}
TEACHERS: dict[str, Json] = {
    "openai": {"adapter": "openai"},
    "mistral": {"adapter": "openai", "batch_api": "mistral"},
    "anthropic": {"adapter": "anthropic"},
    "gemini": {"adapter": "gemini"},
}


@dataclass(frozen=True)
class Result:
    """What becomes of one request."""

    kind: str = "ok"  # ok, error, expired, canceled, absent, or raw: a line as it stands
    status: int = 200
    error: Json = field(default_factory=dict)
    text: str = "A short answer."
    model: str = ""
    raw: bytes = b""
    billed: bool = True


def refused(status: int, code: str = "scripted", kind: str = "") -> Result:
    error = {"message": f"scripted {status}", "code": code, "type": kind or code}
    return Result("error", status, error, billed=False)


EXPIRED = Result("expired", billed=False)
CANCELED = Result("canceled", billed=False)
ABSENT = Result("absent")
Script = Callable[[int, Json], Result] | Mapping[int, Result]


@dataclass
class Batch:
    id: str
    requests: list[tuple[str, Json]]
    tag: str = ""
    created: int = 0
    polls: int = 0
    cancelled: bool = False
    word: str = ""
    results: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    failed: str = ""


class BatchServer:
    """One provider. `polls` questions pass before a batch ends; `word` is how it ends."""

    def __init__(
        self,
        api: str,
        *,
        results: Script | None = None,
        polls: int = 1,
        word: str = "",
        faults: Mapping[str, Sequence[str | int]] | None = None,
        extra_lines: Sequence[bytes] = (),
        failed: Sequence[str] = (),
        api_key: str = "",
        unlisted: bool = False,
        retry_after: str = "",
        done_when_cancelled: int = 0,
        skew: float = 0.0,
    ) -> None:
        self.api, self.script, self.polls, self.word = api, results or {}, polls, word
        self.faults = {step: list(given) for step, given in (faults or {}).items()}
        self.extra_lines, self.failed, self.api_key = extra_lines, list(failed), api_key
        self.unlisted, self.retry_after = unlisted, retry_after
        self.done_when_cancelled = done_when_cancelled
        self.skew = skew
        self.times: list[float] = []
        self.files: dict[str, bytes] = {}
        self.batches: list[Batch] = []
        self.billed: Counter[str] = Counter()
        self.usage: list[Json] = []
        self.steps: list[str] = []
        self.bodies: list[tuple[str, bytes]] = []
        self.on: Callable[[str], None] = lambda step: None
        self._arrived = 0
        self._over = threading.Event()
        self._lock = threading.RLock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}{ROOTS[self.api]}"

    @property
    def teacher(self) -> Json:
        """The keys of a [teacher] section that reach it."""
        return TEACHERS[self.api]

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self, b"")

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length", "0"))
                server.answer(self, self.rfile.read(size))

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    # ---- one exchange

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            step = self._step(handler.command, handler.path)
            self.steps.append(step)
            self.times.append(time.monotonic())
            self.bodies.append((step, body))
            fault = self.faults[step].pop(0) if self.faults.get(step) else None
            self.on(step)
            status, reply = 401, b'{"error": {"code": "invalid_api_key", "message": "no"}}'
            if fault != DENIED and self._authorised(handler):
                status, reply = (
                    (fault, b"{}")
                    if isinstance(fault, int)
                    else self._do(step, handler.path, handler.headers.get("content-type", ""), body)
                )
        with suppress(OSError):  # the client is gone, perhaps killed by `on`
            if fault == HANG:
                self._over.wait()
            if fault in (LOST, HANG):
                handler.close_connection = True
                handler.connection.close()
                return
            self._send(handler, status, reply, cut=fault == CUT)

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, reply: bytes, *, cut: bool
    ) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(reply)))
        if self.retry_after and status == 429:
            handler.send_header("retry-after", self.retry_after)
        handler.end_headers()
        half = len(reply) // 2
        handler.wfile.write(reply[:half])
        handler.wfile.flush()
        self.on("half")
        if cut:
            handler.close_connection = True
            return
        handler.wfile.write(reply[half:])

    def _authorised(self, handler: BaseHTTPRequestHandler) -> bool:
        if not self.api_key:
            return True
        given = handler.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or handler.headers.get("x-api-key", "")
        given = given or handler.headers.get("x-goog-api-key", "")
        return given == self.api_key

    def _step(self, method: str, path: str) -> str:
        """upload, create, list, poll, cancel or results."""
        bare = path.removeprefix(ROOTS[self.api]).split("?")[0]
        if method == "POST" and re.fullmatch(r".*/(batches|jobs)/[^/]+[/:]cancel", bare):
            return "cancel"
        if re.fullmatch(r"/files/[^/]+/content|/v1/messages/batches/[^/]+/results", bare):
            return "results"
        if bare == "/files":
            return "upload"
        if re.fullmatch(r"/batches|/batch/jobs|/v1/messages/batches|/models/.*:batch.*", bare):
            return "create" if method == "POST" else "list"
        return "poll"

    def _do(self, step: str, path: str, kind: str, body: bytes) -> tuple[int, bytes]:
        tail = path.split("?")[0].rstrip("/").split("/")
        if step == "upload":
            return 200, self._upload(kind, body)
        if step == "create":
            batch = self._create(json.loads(body))
            self.on("created")
            return 200, json.dumps(self._shown(batch)).encode()
        if step == "list":
            if self.unlisted:
                return 404, b'{"error": {"code": "not_found", "message": "no such path"}}'
            for one in self.batches:
                self._asked(one)
            return 200, json.dumps(self._page(path)).encode()
        if step == "cancel":
            tail = [*tail[:-1], *tail[-1].split(":")]
        name = tail[-2] if step in ("results", "cancel") else tail[-1]
        if step == "results" and self.api in ("openai", "mistral"):
            return 200, self.files[name]
        found = [one for one in self.batches if one.id.split("/")[-1] == name]
        if not found:
            return 404, b'{"error": {"code": "not_found", "message": "no such batch"}}'
        if step == "cancel":
            return self._cancel(found[0])
        if step == "results":
            return 200, b"".join(line + b"\n" for line in found[0].results)
        self._asked(found[0])
        return 200, json.dumps(self._shown(found[0])).encode()

    def _asked(self, batch: Batch) -> None:
        """Time passes with each question."""
        batch.polls += 1
        if (batch.cancelled or batch.polls >= self.polls) and not batch.word:
            self._work(batch)

    def _cancel(self, batch: Batch) -> tuple[int, bytes]:
        if batch.word:
            return 400, b'{"error": {"code": "invalid", "message": "it has ended"}}'
        batch.cancelled = True
        return 200, b"{}" if self.api == "gemini" else json.dumps(self._shown(batch)).encode()

    # ---- making

    def _upload(self, kind: str, body: bytes) -> bytes:
        head = f"content-type: {kind}\r\n\r\n".encode()
        form = email.parser.BytesParser().parsebytes(head + body)
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in form.walk()
            if not part.is_multipart()
        }
        assert parts["purpose"] == b"batch", parts.keys()
        content = parts["file"]
        assert isinstance(content, bytes)
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return json.dumps({"id": name, "object": "file", "bytes": len(content)}).encode()

    def _create(self, body: Json) -> Batch:
        requests = list(self._requests(body))
        for name, _ in requests:
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name), name
        assert len({name for name, _ in requests}) == len(requests)
        tag = (body.get("metadata") or {}).get("spiritsafe", "")
        tag = tag or body.get("batch", {}).get("displayName", "")
        number = len(self.batches)
        name = f"batches/b{number}" if self.api == "gemini" else f"batch_{number}"
        failed = self.failed.pop(0) if self.failed else ""
        batch = Batch(name, requests, tag, int(time.time() + self.skew), failed=failed)
        self.batches.append(batch)
        return batch

    def _requests(self, body: Json) -> Iterator[tuple[str, Json]]:
        if self.api == "anthropic":
            for one in body["requests"]:
                yield one["custom_id"], one["params"]
        elif self.api == "gemini":
            for one in body["batch"]["inputConfig"]["requests"]["requests"]:
                yield one["metadata"]["key"], one["request"]
        else:
            mistral = self.api == "mistral"
            name = body["input_files"][0] if mistral else body["input_file_id"]
            assert body["endpoint"] == "/v1/chat/completions"
            for line in self.files[name].splitlines():
                one = json.loads(line)
                assert mistral or (one["method"], one["url"]) == ("POST", body["endpoint"])
                assert ("model" in one["body"]) != mistral
                yield one["custom_id"], one["body"] | ({"model": body["model"]} if mistral else {})

    # ---- working

    def _work(self, batch: Batch) -> None:
        """The batch ends: what is answered is billed now."""
        words = {"openai": "completed", "mistral": "SUCCESS", "anthropic": "ended",
                 "gemini": "BATCH_STATE_SUCCEEDED"}  # fmt: skip
        if batch.failed:
            batch.word = {"mistral": "FAILED", "gemini": "BATCH_STATE_FAILED"}.get(
                self.api, "failed"
            )
            return
        batch.word = self.word or words[self.api]
        if batch.cancelled:
            batch.word = {"openai": "cancelled", "mistral": "CANCELLED",
                          "gemini": "BATCH_STATE_CANCELLED"}.get(self.api, "ended")  # fmt: skip
        for number, (name, body) in enumerate(batch.requests):
            result = self._result(body)
            if batch.cancelled and number >= self.done_when_cancelled:
                lines = self.api == "anthropic"  # the others say nothing of what was not begun
                result = CANCELED if lines else Result("absent", billed=False)
            if result.billed:
                self.billed[digest(body)] += 1
            if line := self._line(name, body, result):
                good = result.kind in ("ok", "raw")
                (batch.results if good or self.api in ("anthropic", "gemini") else batch.errors
                 ).append(line)  # fmt: skip
        random.Random(7).shuffle(batch.results)
        batch.results += self.extra_lines
        if batch.results:
            self.files[f"out-{batch.id}"] = b"".join(line + b"\n" for line in batch.results)
        if batch.errors:
            self.files[f"err-{batch.id}"] = b"".join(line + b"\n" for line in batch.errors)

    def _result(self, body: Json) -> Result:
        number, self._arrived = self._arrived, self._arrived + 1
        if callable(self.script):
            return self.script(number, body)
        return self.script.get(number, Result())

    def reply(self, body: Json, result: Result) -> Json:
        """What the same request gets online."""
        model, prompt = result.model or body.get("model", MODEL), len(json.dumps(body)) // 8
        if self.api in ("anthropic", "gemini"):
            return BODIES[self.api](result.text, model, prompt)
        made = fake._completion(body | {"model": model}, result.text, "stop", bool(
            body.get("logprobs")))  # fmt: skip
        self.usage.append(made["usage"])
        return made

    def _line(self, name: str, body: Json, result: Result) -> bytes:
        if result.kind == "raw":
            return result.raw
        if result.kind == "absent":
            return b""
        return json.dumps(LINES[self.api](name, result, self.reply(body, result))).encode()

    # ---- showing

    def _shown(self, batch: Batch) -> Json:
        return SHOWN[self.api](batch)

    def _page(self, path: str) -> Json:
        newest = [self._shown(one) for one in reversed(self.batches)]
        if self.api == "mistral":
            return {"object": "list", "total": len(newest), "data": newest}
        if self.api == "gemini":
            return {"operations": newest} if newest else {}
        query = dict(re.findall(r"(after|after_id)=([^&]+)", path))
        start = next((n + 1 for n, one in enumerate(newest) if one["id"] in query.values()), 0)
        page = newest[start : start + 2]  # small pages: a client must turn them
        more = len(newest) > start + 2
        return {"data": page, "has_more": more, "last_id": page[-1]["id"] if page else None}


def digest(body: Json) -> str:
    """One name for a request's content, in whatever order its fields stand."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _openai_line(name: str, result: Result, reply: Json) -> Json:
    line: Json = {"id": f"batch_req_{name}", "custom_id": name, "response": None, "error": None}
    if result.kind == "ok":
        return line | {"response": {"status_code": 200, "request_id": f"r-{name}", "body": reply}}
    if result.kind == "error":
        body = {"error": result.error}
        return line | {"response": {"status_code": result.status, "request_id": "r", "body": body}}
    code = {"expired": "batch_expired", "canceled": "batch_cancelled"}[result.kind]
    return line | {"error": {"code": code, "message": "This request could not be executed."}}


def _anthropic_line(name: str, result: Result, reply: Json) -> Json:
    if result.kind == "ok":
        return {"custom_id": name, "result": {"type": "succeeded", "message": reply}}
    if result.kind == "error":
        kinds = {400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}
        told = result.error | {"type": kinds.get(result.status, "api_error")}
        error = {"type": "error", "request_id": "r", "error": told}
        return {"custom_id": name, "result": {"type": "errored", "error": error}}
    return {"custom_id": name, "result": {"type": result.kind}}


def _gemini_line(name: str, result: Result, reply: Json) -> Json:
    line: Json = {"metadata": {"key": name}}
    if result.kind == "ok":
        return line | {"response": reply}
    codes = {400: 3, 403: 7, 429: 8, 500: 13, 503: 14}
    code = codes[result.status] if result.kind == "error" else {"expired": 4, "canceled": 1}[
        result.kind]  # fmt: skip
    return line | {"error": {"code": code, "message": result.error.get("message", "gone")}}


LINES: dict[str, Callable[[str, Result, Json], Json]] = {
    "openai": _openai_line,
    "mistral": _openai_line,
    "anthropic": _anthropic_line,
    "gemini": _gemini_line,
}


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _openai_shown(batch: Batch) -> Json:
    word, done = batch.word or "in_progress", bool(batch.word) and not batch.failed
    errors = {"object": "list", "data": [{"code": batch.failed, "message": "scripted"}]}
    return {
        "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions",
        "input_file_id": "file-0", "completion_window": "24h", "status": word,
        "created_at": batch.created,
        "output_file_id": f"out-{batch.id}" if batch.results else None,
        "error_file_id": f"err-{batch.id}" if batch.errors else None,
        "errors": errors if batch.word == "failed" else None,
        "metadata": {"spiritsafe": batch.tag},
        "request_counts": {"total": len(batch.requests), "completed": len(batch.results) * done,
                           "failed": len(batch.errors)},
    }  # fmt: skip


def _mistral_shown(batch: Batch) -> Json:
    return {
        "id": batch.id, "object": "batch", "input_files": ["file-0"], "created_at": batch.created,
        "endpoint": "/v1/chat/completions", "model": MODEL, "status": batch.word or "RUNNING",
        "errors": [{"message": batch.failed, "count": 1}] if batch.failed else [],
        "metadata": {"spiritsafe": batch.tag}, "total_requests": len(batch.requests),
        "completed_requests": len(batch.results) + len(batch.errors),
        "succeeded_requests": len(batch.results), "failed_requests": len(batch.errors),
        "output_file": f"out-{batch.id}" if batch.results else None,
        "error_file": f"err-{batch.id}" if batch.errors else None,
    }  # fmt: skip


def _anthropic_shown(batch: Batch) -> Json:
    ended = batch.word == "ended"
    counts = dict.fromkeys(("canceled", "errored", "expired", "processing", "succeeded"), 0)
    counts["succeeded" if ended else "processing"] = len(batch.requests)
    return {
        "id": batch.id, "type": "message_batch", "request_counts": counts,
        "processing_status": "ended" if ended else "in_progress",
        "created_at": _utc(batch.created), "expires_at": "2999-01-02T00:00:00Z",
        "results_url": f"http://elsewhere.invalid/{batch.id}" if ended else None,
    }  # fmt: skip


def _gemini_shown(batch: Batch) -> Json:
    inlined = {"inlinedResponses": [json.loads(line) for line in batch.results]}
    shown: Json = {
        "name": batch.id,
        "metadata": {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "displayName": batch.tag, "state": batch.word or "BATCH_STATE_RUNNING",
            "createTime": _utc(batch.created), "model": f"models/{MODEL}",
            "batchStats": {"requestCount": str(len(batch.requests)),
                           "successfulRequestCount": str(len(batch.results))},
        },
        "done": bool(batch.word),
    }  # fmt: skip
    if batch.failed and batch.word:
        return shown | {"error": {"code": 8 if "RESOURCE" in batch.failed else 3,
                                  "status": batch.failed, "message": "scripted"}}  # fmt: skip
    if batch.word:
        shown["metadata"]["output"] = {"inlinedResponses": inlined}
    return shown


SHOWN: dict[str, Callable[[Batch], Json]] = {
    "openai": _openai_shown,
    "mistral": _mistral_shown,
    "anthropic": _anthropic_shown,
    "gemini": _gemini_shown,
}
