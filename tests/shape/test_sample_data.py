"""The sample data is one coherent set."""

import gzip
import re
from collections import Counter
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"
FOLDER = DATA / "synthea-r4"
IDENTITY = re.compile(rb'^{"resourceType":"([A-Za-z]+)","id":"([^"]+)"')
REFERENCE = re.compile(rb'"reference":"([^"#]+)"')


def lines() -> list[tuple[str, bytes]]:
    return [
        (path.name.removesuffix(".ndjson.gz"), line)
        for path in sorted(FOLDER.glob("*.ndjson.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def test_no_reference_leads_out_of_the_sample_data():
    names, references = set(), set()
    for kind, line in lines():
        match = IDENTITY.match(line)
        assert match is not None
        assert match[1].decode() == kind
        names.add(match[1] + b"/" + match[2])
        references |= set(REFERENCE.findall(line))
    assert not references - names


def test_readme_of_the_sample_data_counts_right():
    counts = Counter(kind for kind, _ in lines())
    text = (DATA / "README.md").read_text()
    assert f"{counts.total():,} synthetic" in text
    assert f"of {len(counts)} types" in text
    assert f"{counts['Patient']} patients" in text
