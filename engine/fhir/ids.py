"""The names a resource goes by: types, ids and the urls of our own extensions.

Sources: FHIR R4 `resource.html#id` for ids; a type is a word of letters that
begins with a capital, so that no type looks like a tenant (DESIGN 10).
"""

import re

TYPE_PATTERN = r"[A-Z][A-Za-z]{0,63}"
ID_PATTERN = r"[A-Za-z0-9\-.]{1,64}"

ID_RULE = "1 to 64 letters, digits, '-' and '.'"
TYPE_RULE = "a resource type such as Patient: letters only, a capital first"

# Where `meta.versionId` and `meta.lastUpdated` of a source are kept on request: as extensions
# on meta. URNs, because the project owns no host name that a URL could stand under.
SOURCE_VERSION_URL = "urn:penstock:source-version-id"
SOURCE_UPDATED_URL = "urn:penstock:source-last-updated"

_TYPE = re.compile(TYPE_PATTERN)
_ID = re.compile(ID_PATTERN)
# What a member of a FHIR resource may be called, and so what an error message may repeat.
_MEMBER = re.compile(r"_?[a-z][A-Za-z0-9]{0,63}")


def is_type(text: str) -> bool:
    """Whether this could be the name of a resource type."""
    return _TYPE.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether this is a FHIR id."""
    return _ID.fullmatch(text) is not None


def member_label(name: str) -> str:
    """A member as an error message may name it: content never gets into one by this way."""
    return f"'{name}'" if _MEMBER.fullmatch(name) else "a member with an unusual name"
