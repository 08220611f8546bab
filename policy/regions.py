"""Where an organisation is established, as the groups of countries that clauses speak of.

>>> "EU" in regions_of("de"), "EEA" in regions_of("NO"), regions_of("")
(True, True, ())
"""

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


def regions_of(region: str) -> tuple[str, ...]:
    """The country and the groups it belongs to; nothing where nothing is said."""
    word = region.strip().upper()
    code = NAMES.get(word, word)
    country = code.split("-", 1)[0]
    if not country:
        return ()
    if country == "EU":
        return ("EU", "EEA")
    if country == "EEA":  # it may be one of the twenty-seven: the worst case
        return ("EEA", "EU")
    groups = [country]
    groups += ["EU"] if country in EU else []
    groups += ["EEA"] if country in EEA else []
    return tuple(groups)
