"""Where an organisation is established, as the groups of countries that clauses speak of.

>>> "EU" in regions_of("de"), "EEA" in regions_of("NO"), regions_of("")
(True, True, ())

What is not understood counts as not said, and a clause that is tied to a region takes that at its
worst.
"""

import re

EU = frozenset(
    {"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE"}
    | {"IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}
)
EEA = EU | {"IS", "LI", "NO"}
NAMES = {
    "UK": "GB",
    "UNITED KINGDOM": "GB",
    "EL": "GR",
    "EUROPE": "EU",
    "EUROPEAN UNION": "EU",
    "USA": "US",
    "UNITED STATES": "US",
    "SWITZERLAND": "CH",
    "GERMANY": "DE",
    "FRANCE": "FR",
    "ITALY": "IT",
    "SPAIN": "ES",
    "IRELAND": "IE",
    "NETHERLANDS": "NL",
    "POLAND": "PL",
    "SWEDEN": "SE",
    "AUSTRIA": "AT",
    "BELGIUM": "BE",
}


_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())
"""ISO 3166-1 alpha-2, as published at https://www.iso.org/obp/ui/."""
OUTERMOST = {"GP", "MQ", "GF", "RE", "YT", "MF", "AX"}
"""Codes of their own for parts of the Union (Treaty, article 355(1) and (4))."""
NOT_SAID = {"", "ANY", "NONE", "OTHER", "UNKNOWN", "UNSTATED", "GLOBAL", "WORLD", "WORLDWIDE"}


def regions_of(region: str) -> tuple[str, ...]:
    """The country and the groups it belongs to; nothing where nothing is said that is known."""
    code = _code(region)
    if code == "EU":
        return ("EU", "EEA")
    if code == "EEA":  # it may be one of the twenty-seven: the worst case
        return ("EEA", "EU")
    if code not in COUNTRIES:
        return ()
    groups = [code]
    groups += ["EU"] if code in EU or code in OUTERMOST else []
    groups += ["EEA"] if code in EEA or code in OUTERMOST else []
    return tuple(groups)


def is_region(region: str) -> bool:
    """Whether it names a country or a group of countries."""
    return _code(region) in COUNTRIES | {"EU", "EEA"}


def is_unsaid(region: str) -> bool:
    """Whether it says that nothing is said."""
    return region.strip().upper() in NOT_SAID


def _code(region: str) -> str:
    """ "DE" of "de", "DE-BY", "Germany" and "DE (Berlin)"."""
    word = " ".join(region.strip().upper().split())
    if word in NAMES:
        return NAMES[word]
    first = re.split(r"[^A-Z]", word, maxsplit=1)[0]
    return NAMES.get(first, first)
