"""Settings that differ by tenant, from a file to what a search finds."""

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.errors import SettingInvalid
from engine.tenant import DEFAULT_TENANT, TenantId
from tests.rest.server import FhirServer, observation, patient
from web.compose import compose
from web.settings import Settings, load_settings

ACME = TenantId("acme")
BASE = "https://fhir.example.org/base/fhir"


def test_a_tenants_own_value_counts_for_it_alone() -> None:
    settings = Settings(tenant_validation=("acme=off",), tenant_zones=("acme=Europe/Berlin",))
    settings.check()
    assert settings.validation_of(ACME) == "off"
    assert settings.validation_of(DEFAULT_TENANT) == "structure"
    assert settings.zone_of(ACME) == ZoneInfo("Europe/Berlin")
    assert settings.zone_of(DEFAULT_TENANT) == UTC


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANT_VALIDATION", "acme=maybe"),
        ("TENANT_VALIDATION", "acme"),
        ("TENANT_VALIDATION", "ACME=off"),
        ("TENANT_ZONES", "acme=Nowhere/At_All"),
        ("TENANT_ZONES", "acme=../../etc/passwd"),
        ("ZONE", "Nowhere"),
        ("ZONE", ""),
        ("VALIDATION", "strict"),
        ("PAGE_COUNT", "2000"),
        ("SEARCH_SECONDS", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        load_settings(environ={f"PENSTOCK_{variable}": value})
    assert refused.value.setting == variable.lower()


async def test_dates_and_references_are_each_tenants_own(tmp_path: Path) -> None:
    settings = Settings(
        store=f"sqlite:{tmp_path / 'data'}",
        base_url=BASE,
        tenants=(DEFAULT_TENANT, ACME),
        tenant_zones=("acme=Asia/Tokyo",),
    )
    async with compose(settings) as ports:
        server = FhirServer.of(ports, settings)
        # 20:00 in Greenwich is the next day in Tokyo.
        seen = observation("o1", f"{BASE}/Patient/p1", effectiveDateTime="2020-01-01T20:00:00Z")
        for tenant, day, base in (
            ("", "2020-01-01", BASE),
            ("/acme", "2020-01-02", f"{BASE}/acme"),
        ):
            await server.put(f"/fhir{tenant}/Patient/p1", patient())
            await server.put(f"/fhir{tenant}/Observation/o1", seen)
            found = await server.get(f"/fhir{tenant}/Observation?date={day}")
            assert found.names == ["Observation/o1"]
            other = await server.get(f"/fhir{tenant}/Observation?subject=Patient/p1")
            assert (other.names == ["Observation/o1"]) is (base == BASE)
