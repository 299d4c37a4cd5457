"""SQL lives in sql/*.sql: statements named by a line `-- name --`, each with its reason."""

import re
from importlib import resources

_NAME = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def load_queries(file: str) -> dict[str, str]:
    """The statements of one file by their names."""
    text = (resources.files("backends.sqlite") / "sql" / f"{file}.sql").read_text(encoding="utf-8")
    _, *pieces = _NAME.split(text)
    queries = dict(zip(pieces[::2], map(str.strip, pieces[1::2]), strict=True))
    assert len(queries) * 2 == len(pieces), f"a name comes twice in {file}.sql"
    return queries
