"""docs/settings.md and the code say the same of every setting."""

import re
import tomllib
from pathlib import Path

from web.settings import Settings, flatten, load_settings

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([a-z_.]+)` \| `(.+?)` \| (.+) \|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "settings.md").read_text()
    return {name: (default, meaning) for name, default, meaning in ROW.findall(text)}


def test_every_setting_is_in_the_settings_reference_and_no_other():
    assert set(documented()) == {name for name, _ in flatten(Settings())}


def test_reference_names_the_default_of_every_setting():
    for name, value in flatten(Settings()):
        default = tomllib.loads(f"x = {documented()[name][0]}")["x"]
        assert default == (list(value) if isinstance(value, tuple) else value), name


def test_reference_explains_every_setting():
    for name, (_, meaning) in documented().items():
        assert len(meaning) > 15, name
        assert meaning.endswith("."), name


def test_example_file_of_the_reference_is_valid(tmp_path):
    text = (ROOT / "docs" / "settings.md").read_text()
    example = re.search(r"```toml\n(.+?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "penstock.toml"
    path.write_text(example[1])
    settings = load_settings(config=path, environ={})
    assert settings.tenants == ("default", "acme/research")
    assert settings.engine.retention_seconds == 86400
