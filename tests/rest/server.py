"""A FHIR server of a test and its client: the whole application, without a socket."""

from dataclasses import dataclass
from typing import Any

import msgspec
from quart.datastructures import Headers
from quart.typing import TestClientProtocol

from engine.limits import EngineLimits
from engine.ports import Ports, TenantStore
from engine.tenant import DEFAULT_TENANT, TenantId
from web.app import PenstockApp, create_app
from web.services import Services
from web.settings import Settings

BASE = "https://fhir.example.org/base/fhir"
TENANTS = (DEFAULT_TENANT, TenantId("acme"))
FHIR_JSON = "application/fhir+json"
JSON_PATCH = "application/json-patch+json"
SETTINGS = Settings(base_url=BASE, tenants=TENANTS, tenant_validation=("acme=off",))


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def etag(self) -> str:
        return self.headers["ETag"]

    @property
    def issue(self) -> dict[str, Any]:
        """The first issue of an OperationOutcome."""
        assert self.json["resourceType"] == "OperationOutcome"
        return dict(self.json["issue"][0])

    @property
    def names(self) -> list[str]:
        """`Type/id` of a Bundle's entries, those of an outcome left out."""
        resources = [entry["resource"] for entry in self.json.get("entry", [])]
        return [
            f"{one['resourceType']}/{one['id']}"
            for one in resources
            if one["resourceType"] != "OperationOutcome"
        ]

    def link(self, relation: str) -> str | None:
        """The path of a link, as this server's client has to ask for it."""
        for link in self.json["link"]:
            if link["relation"] == relation:
                assert link["url"].startswith(BASE)
                return "/fhir" + str(link["url"]).removeprefix(BASE)
        return None


@dataclass
class FhirServer:
    """One process's web on some backend."""

    ports: Ports
    app: PenstockApp

    @classmethod
    def of(cls, ports: Ports, settings: Settings = SETTINGS) -> "FhirServer":
        """Over these ports."""
        services = Services(
            ports=ports,
            limits=EngineLimits(),
            settings=settings,
            tell=lambda _: None,
            ready=lambda: True,
        )
        return cls(ports, create_app(services))

    @property
    def client(self) -> TestClientProtocol:
        return self.app.test_client()

    async def store(self) -> TenantStore:
        return await self.ports.tenants.store(DEFAULT_TENANT)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request. Paths start below /fhir; a body that is no bytes is sent as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        if data is not None:
            named.setdefault("Content-Type", FHIR_JSON)
        address = path if path.startswith("/fhir") else f"/fhir{path}"
        response = await self.client.open(address, method=method, headers=named, data=data)
        return Answer(response.status_code, response.headers, await response.get_data())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def put(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.ask("PUT", path, body, **headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.ask("POST", path, body, **headers)

    async def patch(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.ask("PATCH", path, body, **{"Content_Type": JSON_PATCH, **headers})

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.ask("DELETE", path, **headers)

    async def stored(self, type: str, id: str) -> Any:
        """What the store holds, decoded; None if nothing is live."""
        found = await (await self.store()).read(type, id)
        return None if found is None or found.body is None else msgspec.json.decode(found.body)

    async def rows(self) -> dict[str, int]:
        """How many live resources there are of each type."""
        return (await (await self.store()).statistics()).rows


def patient(id: str = "p1", **members: Any) -> dict[str, Any]:
    """A Patient as a client sends it."""
    return {"resourceType": "Patient", "id": id, **members}


def identified(value: str, **members: Any) -> dict[str, Any]:
    """A Patient with an identifier and without an id."""
    identifier = [{"system": "urn:mrn", "value": value}]
    return {"resourceType": "Patient", "identifier": identifier, **members}


def observation(id: str, subject: str = "Patient/p1", **members: Any) -> dict[str, Any]:
    """An Observation of a patient."""
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": subject},
        **members,
    }
