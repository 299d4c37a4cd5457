"""Settings: where they come from, who wins, and what a mistake is told."""

from pathlib import Path

import pytest

from engine.errors import SettingInvalid
from web.settings import Given, Settings, load_settings


def load(
    environ: dict[str, str] | None = None,
    *,
    config: Path | None = None,
    flags: dict[str, str] | None = None,
) -> Settings:
    given = {name: Given(value, "flag --set", text=True) for name, value in (flags or {}).items()}
    return load_settings(config=config, environ=environ or {}, flags=given)


def write(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text)
    return path


def test_later_source_wins(tmp_path):
    config = write(tmp_path, 'store = "sqlite:a"\nlog_level = "error"\nsend_seconds = 5\n')
    environ = {"PENSTOCK_STORE": "sqlite:b", "PENSTOCK_SEND_SECONDS": "6"}
    settings = load(environ, config=config, flags={"store": "sqlite:c"})
    assert settings.store == "sqlite:c"
    assert settings.send_seconds == 6
    assert settings.log_level == "error"


def test_engine_table_reaches_the_engines_limits(tmp_path):
    config = write(tmp_path, "[engine]\nlanes_per_job = 3\npart_bytes = 70000\n")
    engine = load({"PENSTOCK_ENGINE_PART_BYTES": "80000"}, config=config).engine
    assert (engine.lanes_per_job, engine.part_bytes) == (3, 80000)


def test_lists_are_joined_by_commas_outside_the_file(tmp_path):
    assert load({"PENSTOCK_TENANTS": "default, acme/research"}).tenants == (
        "default",
        "acme/research",
    )
    config = write(tmp_path, 'bind = ["127.0.0.1:1", "unix:/run/x"]')
    assert load(config=config).bind == ("127.0.0.1:1", "unix:/run/x")


def test_config_is_named_by_the_environment_or_found_in_the_working_directory(
    tmp_path, monkeypatch
):
    named = write(tmp_path, 'store = "sqlite:named"')
    monkeypatch.chdir(tmp_path)
    assert load().store == "sqlite:./data"
    (tmp_path / "penstock.toml").write_text('store = "sqlite:here"')
    assert load().store == "sqlite:here"
    assert load({"PENSTOCK_CONFIG": str(named)}).store == "sqlite:named"


@pytest.mark.parametrize(
    ("environ", "setting", "words"),
    [
        ({"PENSTOCK_STOR": "x"}, "PENSTOCK_STOR", "did you mean PENSTOCK_STORE?"),
        ({"PENSTOCK_SEND_SECONDS": "soon"}, "send_seconds", "must be a number"),
        ({"PENSTOCK_SEND_SECONDS": "nan"}, "send_seconds", "finite"),
        ({"PENSTOCK_SEND_SECONDS": "0"}, "send_seconds", "more than 0"),
        ({"PENSTOCK_BODY_SECONDS": "-1"}, "body_seconds", "more than 0"),
        ({"PENSTOCK_RESOURCE_BYTES_MAX": "1.5"}, "resource_bytes_max", "whole number"),
        ({"PENSTOCK_REQUEST_BYTES_MAX": "1000"}, "request_bytes_max", "resource_bytes_max"),
        ({"PENSTOCK_LOG_LEVEL": "loud"}, "log_level", "'warning'"),
        ({"PENSTOCK_OUTPUT_CODING": "zip"}, "output_coding", "'gzip'"),
        ({"PENSTOCK_BIND": "8080"}, "bind", "host:port"),
        ({"PENSTOCK_BIND": "localhost:99999"}, "bind", "host:port"),
        ({"PENSTOCK_BIND": ""}, "bind", "at least one"),
        ({"PENSTOCK_BIND": "unix:/run/x"}, "base_url", "must be given"),
        ({"PENSTOCK_BASE_URL": "example.org/fhir"}, "base_url", "https://"),
        ({"PENSTOCK_BASE_URL": "http://[::1/fhir"}, "base_url", "https://"),
        ({"PENSTOCK_TENANTS": "Acme"}, "tenants", "'Acme'"),
        ({"PENSTOCK_TENANTS": "metadata"}, "tenants", "reserved"),
        ({"PENSTOCK_STORE": "data"}, "store", "URL"),
        ({"PENSTOCK_ENGINE_LEASE_SECONDS": "20"}, "engine.lease_seconds", "missed renewal"),
        ({"PENSTOCK_ENGINE_LANES_PER_JOB": "0"}, "engine.lanes_per_job", "more than 0"),
        ({"PENSTOCK_ENGINE_PART_BYTES": "10"}, "engine.part_bytes", "65536"),
    ],
)
def test_mistake_in_the_environment_names_the_setting(environ, setting, words):
    with pytest.raises(SettingInvalid) as caught:
        load(environ)
    assert caught.value.setting == setting
    assert str(caught.value).startswith(f"setting {setting}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        ("stroe = 'sqlite:x'", "stroe", "did you mean store?"),
        ("send_seconds = '60'", "send_seconds", "must be a number"),
        ("resource_bytes_max = true", "resource_bytes_max", "whole number"),
        ("tenants = 'default'", "tenants", "a list of texts"),
        ("engine = 5", "engine", "no such setting"),
        ("[engine]\nlease = 5", "engine.lease", "no such setting"),
        ("[server]\nbind = 'x'", "server", "no such setting"),
        ("= =", "config", "not TOML"),
    ],
)
def test_mistake_in_the_file_names_the_setting_and_the_file(tmp_path, text, setting, words):
    config = write(tmp_path, text)
    with pytest.raises(SettingInvalid) as caught:
        load(config=config)
    assert caught.value.setting == setting
    assert words in str(caught.value)
    assert str(config) in str(caught.value)


def test_message_says_where_the_winning_value_came_from(tmp_path):
    config = write(tmp_path, "send_seconds = 10")
    with pytest.raises(SettingInvalid, match="from flag --set"):
        load({"PENSTOCK_SEND_SECONDS": "5"}, config=config, flags={"send_seconds": "0"})
    with pytest.raises(SettingInvalid, match="environment variable PENSTOCK_SEND_SECONDS"):
        load({"PENSTOCK_SEND_SECONDS": "0"}, config=config)


def test_missing_config_file_stops_the_start(tmp_path):
    with pytest.raises(SettingInvalid, match="cannot read"):
        load(config=tmp_path / "none.toml")


def test_variables_of_a_kubernetes_service_are_passed_over():
    environ = {
        "PENSTOCK_SERVICE_HOST": "10.0.0.1",
        "PENSTOCK_SERVICE_PORT": "80",
        "PENSTOCK_PORT": "tcp://10.0.0.1:80",
        "PENSTOCK_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load(environ) == Settings()


def test_base_url_comes_from_the_first_address_unless_it_is_given():
    assert Settings().effective_base_url == "http://127.0.0.1:8080/fhir"
    given = load({"PENSTOCK_BASE_URL": "https://example.org/r4/"})
    assert given.effective_base_url == "https://example.org/r4"
    assert load({"PENSTOCK_BIND": "[::1]:81"}).effective_base_url == "http://[::1]:81/fhir"
