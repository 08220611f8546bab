"""What a person can do about each kind of failure, and the commonest ones of a run in a few lines.

failed: 12 in 2 ways
  8  rate_limited    429: too many requests
     the limit of your account is lower than what was asked: lower [limits] or wait
"""

from collections.abc import Mapping

COMMONEST = 10

WIDTH = 66  # characters of advice that fit on a line of 80

ADVICE: dict[str, str] = {
    "rate_limited": "refused at every try: lower [limits], or run again to go on",
    "overloaded": "the provider is short of capacity: run again later to go on",
    "no_connection": "nothing was sent: check base_url and the network, run again",
    "not_sent": "nothing was sent: the request could not be written",
    "proxy": "nothing was sent: check [teacher] proxy and proxy_auth_env",
    "tls": "nothing was sent: this system does not trust the certificate",
    "deadline": "held: raise [limits] deadline_seconds, or ask for less text",
    "readerror": "held, perhaps billed: the connection broke after sending",
    "remoteprotocolerror": "held, perhaps billed: the server broke off its answer",
    "decodingerror": "held, perhaps billed: the answer could not be unpacked",
    "server_error": "held, perhaps billed: the server failed on a request it had",
    "bad_request": "not taken as it is: read the server's words, see [sampling]",
    "out_of_money": "top up the account, then run again: it goes on from here",
    "asked_to_wait": "run again after the time that the server names",
    "bad_key": "check the variable named in [teacher] api_key_env",
    "forbidden": "ask the provider why; then `spiritsafe resume` with the answer",
    "daily_limit": "the provider's quota of the day is used up: run again tomorrow",
    "content_filter": "the provider's filter refused this prompt; it is not asked again",
    "unsupported": "change the setting that the model does not take, see [sampling]",
    "not_found": "check [teacher] model and base_url: perhaps it was withdrawn",
    "redirect": "put the address it points to in base_url, if you trust it",
    "bad_json": "paid, unusable: something cuts or rewrites what comes back",
    "bad_utf8": "paid, unusable: the server's text is not UTF-8",
    "bad_shape": "paid, unusable: does the server speak this dialect?",
    "html": "paid, unusable: a login page or a proxy stands in between",
    "error_in_200": "the server reports an error as a success: read its words",
    "no_choices": "paid, unusable: the server gave no answer at all",
    "empty": "no text: raise max_tokens if the model thinks before it speaks",
    "nul_in_text": "paid, unusable: no dataset can hold a NUL character",
    "too_large": "raise [limits] max_response_bytes if such answers are meant",
    "served_other_model": "list it in [teacher] served_as if it may answer",
}

_UNHEARD_OF = "read its words; `spiritsafe show` lists what is held"


def advice(kind: str) -> str:
    """What to do about one kind of failure."""
    return ADVICE.get(kind, _UNHEARD_OF)


def failure_lines(failures: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """The commonest kinds of failure: how many, an example in the server's words, what to do."""
    ranked = sorted(failures.items(), key=lambda one: (-one[1], one[0]))
    if not ranked:
        return []
    kinds = f" in {len(ranked)} ways" if len(ranked) > 1 else ""
    lines = [f"failed: {sum(failures.values()):,}{kinds}"]
    for kind, count in ranked[:COMMONEST]:
        lines += [
            f"{count:>7,}  {kind}: {examples.get(kind, '')[:160]}".rstrip(": "),
            f"         -> {advice(kind)}",
        ]
    if len(ranked) > COMMONEST:
        lines.append(f"         and {len(ranked) - COMMONEST} rarer kinds")
    return lines
