"""Resources of many types, dense in what makes searching hard, the same for the same seed.

Dates of every precision and zone, periods open at an end, decimals with zeros at their end, the
same code in two systems and in none, names with marks, references of every form. All of it is
valid R4. What happens to the resources is a list of steps: written, written again, deleted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

BASE = "http://penstock.example/fhir"  # of the server that the resources are sent to
FOREIGN = "http://elsewhere.example/fhir"
LOINC, SNOMED, ACME = "http://loinc.org", "http://snomed.info/sct", "http://acme.example/codes"
UCUM, TYPES = "http://unitsofmeasure.org", "http://terminology.hl7.org/CodeSystem/v2-0203"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
MRN, TAX = "http://acme.example/mrn", "urn:oid:2.16.840.1.113883.4.4"

Body = dict[str, Any]

SYSTEMS = (LOINC, SNOMED, ACME, None)
CODES = ("8480-6", "8462-4", "85354-9", "a,b", "x|y", "a$b", r"c\d", "final", "42", "Äther")
DATE_TIMES = (
    *("2013", "2013-01", "2013-01-14", "2013-01-15", "2000-02-29", "1899-12", "2025-12"),
    *("2013-01-14T10:00:00Z", "2013-01-14T00:00:00Z", "2013-01-14T23:59:59.999+02:00"),
    *("2012-12-31T23:30:00-05:00", "2013-01-15T00:00:00Z", "2013-01-14T10:00:00.123Z"),
    *("2013-01-14T10:00:00.1234567Z", "2013-01-14T10:00:30Z", "2026-01-31T08:29:59Z"),
    "2013-03-31T02:30:00+14:00",
    # A day of 23 hours in New York, and the second before and after its end.
    *("2013-03-10", "2013-03-11T03:59:59Z", "2013-03-11T04:00:00Z"),
)
DATES = ("1960", "1960-05", "1960-05-17", "1974-12-25", "2000-02-29", "2013-01-14", "2024-12-31")
INSTANTS = ("2013-01-14T10:00:00Z", "2013-01-14T10:00:00.500+01:00", "2020-06-30T23:59:59.999Z")
DECIMALS = (
    *("100", "100.0", "99.5", "100.5", "99.95", "100.49", "5.4", "5.40", "5.35", "5.45", "0"),
    *("-1.5", "0.0054", "120", "60", "1E+2", "95", "105", "5.399999", "119.5"),
)
FAMILIES = ("Müller", "Muller", "MÜLLER", "O'Brien", "van  der Berg", "Åström", "Eve", "Nguyễn")
GIVENS = ("Eve", "Evelyn", "Severine", "eve", "José", "Jose", "Ole Bull", "Straße", "Анна", "Zoë")
CITIES = ("Malmö", "Malmo", "New York", "NEW YORK CITY", "São Paulo", "Paris,Texas", "Bonn")
GENDERS = ("male", "female", "other", "unknown")
UNITS = (
    ("mg", UCUM, "mg"),
    ("milligram", UCUM, "mg"),
    ("mmHg", UCUM, "mm[Hg]"),
    ("mg", None, None),
    (None, ACME, "mg"),
    (None, None, None),
)
URLS = (
    "http://acme.example/fhir/ValueSet/123",
    "http://acme.example/fhir/ValueSet/12",
    "http://acme.example/fhir",
    "http://acme.example/fhir/ValueSet/123/_history/5",
    "http://acme.example/FHIR/ValueSet/123",
    "urn:oid:1.2.3.4.5",
    "urn:oid:1.2.3.4.5.6",
)
PROFILES = (
    "http://acme.example/sd/vitals",
    "http://acme.example/sd/vitals|1.0",
    "http://x.example/p",
)


@dataclass(frozen=True)
class Step:
    """Something that happens to one resource. `body` None: it is deleted."""

    type: str
    id: str
    body: bytes | None


_encoder = msgspec.json.Encoder(decimal_format="number")


def encoded(body: Body) -> bytes:
    """A resource as a client sends it, its decimals with all their digits."""
    return _encoder.encode(body)


class Generator:
    """Makes resources. All its choices come from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._ids: dict[str, list[str]] = {}

    def steps(self, rounds: int = 6) -> Iterator[Step]:
        """`rounds` times one or more of every type; some of them change, some go, some return."""
        makers = self._makers()
        for type, (_, count) in makers.items():
            self._ids[type] = [self._id(type, number) for number in range(count * rounds)]
        order = [(type, id) for type, ids in self._ids.items() for id in ids]
        self._random.shuffle(order)
        for type, id in order:
            yield self._written(type, id)
        for type, id in self._some(order, 0.2):
            yield self._written(type, id)
        gone = self._some(order, 0.08)
        for type, id in gone:
            yield Step(type, id, None)
        for type, id in gone[::3]:
            yield self._written(type, id)

    def _id(self, type: str, number: int) -> str:
        """The first two of each type have ids that other types have, too, but for their case."""
        return ("x1", "X1")[number] if number < 2 else f"{type[:4].lower()}-{number}"

    def _written(self, type: str, id: str) -> Step:
        maker, _ = self._makers()[type]
        body = {"resourceType": type, "id": id, **maker()}
        meta = self._meta()
        if meta:
            body["meta"] = meta
        return Step(type, id, encoded({name: one for name, one in body.items() if one != []}))

    def _makers(self) -> dict[str, tuple[Callable[[], Body], int]]:
        return {
            "Patient": (self._patient, 5),
            "Practitioner": (self._practitioner, 2),
            "Organization": (self._organization, 2),
            "Location": (self._location, 2),
            "Device": (self._device, 1),
            "Group": (self._group, 1),
            "Encounter": (self._encounter, 3),
            "Observation": (self._observation, 10),
            "Condition": (self._condition, 4),
            "Medication": (self._medication, 1),
            "MedicationRequest": (self._medication_request, 2),
            "Provenance": (self._provenance, 2),
            "DocumentReference": (self._document, 2),
            "Appointment": (self._appointment, 1),
            "List": (self._list, 2),
            "RiskAssessment": (self._risk, 3),
            "ValueSet": (self._value_set, 3),
            "Questionnaire": (self._questionnaire, 2),
            "QuestionnaireResponse": (self._response, 1),
            "Immunization": (self._immunization, 1),
            "Binary": (self._binary, 1),
        }

    # Choices.

    def _maybe(self, chance: float = 0.5) -> bool:
        return self._random.random() < chance

    def _one(self, choices: Any) -> Any:
        return self._random.choice(choices)

    def _some(self, choices: list[Any], part: float) -> list[Any]:
        return [one for one in choices if self._maybe(part)]

    def _several(self, make: Callable[[], Any], least: int = 0, most: int = 3) -> list[Any]:
        return [make() for _ in range(self._random.randint(least, most))]

    def _fill(self, body: Body, chance: float = 0.6, **makers: Callable[[], Any]) -> Body:
        """Members that may be there or not."""
        for name, make in makers.items():
            if self._maybe(chance) and (value := make()) != []:
                body[name.rstrip("_")] = value
        return body

    # Data types.

    def _meta(self) -> Body:
        return self._fill(
            {},
            0.3,
            tag=lambda: self._several(self._coding, 1, 2),
            security=lambda: self._several(self._coding, 1, 1),
            profile=lambda: self._several(lambda: self._one(PROFILES), 1, 2),
            source=lambda: self._one(URLS),
        )

    def _coding(self) -> Body:
        coding = {"code": self._one(CODES)}
        system = self._one(SYSTEMS)
        if system:
            coding["system"] = system
            if self._maybe(0.05):
                del coding["code"]
        return coding | ({"display": "as people say"} if self._maybe(0.3) else {})

    def _concept(self) -> Body:
        codings = self._several(self._coding, 0, 2)
        return {"coding": codings} if codings else {"text": "nothing coded"}

    def _identifier(self) -> Body:
        body = {"value": self._one(("123", "a,b", "0042", "42", "x|y"))}
        if self._maybe(0.7):
            body["system"] = self._one((MRN, TAX))
        if self._maybe(0.5):
            types = (
                {"system": TYPES, "code": "MR"},
                {"system": TYPES, "code": "SS"},
                {"code": "MR"},
            )
            body["type"] = {"coding": [self._one(types) for _ in range(2)]}
        return body

    def _decimal(self) -> Decimal:
        return Decimal(self._one(DECIMALS))

    def _quantity(self) -> Body:
        unit, system, code = self._one(UNITS)
        parts = {"value": self._decimal(), "unit": unit, "system": system, "code": code}
        return {name: one for name, one in parts.items() if one is not None}

    def _age(self) -> Body:
        return {"value": self._decimal(), "unit": "a", "system": UCUM, "code": "a"}

    def _date_time(self) -> str:
        return self._one(DATE_TIMES)

    def _period(self) -> Body:
        early = ("2012", "2013-01", "2013-01-14", "2013-01-13T22:00:00Z", "2013-01-14T10:00:00Z")
        late = ("2013-01-14", "2013-02", "2013-01-15T00:00:00Z", "2014", "2026-05-01")
        start, end = self._one(early), self._one(late)
        form = self._random.randrange(4)
        if form == 0:
            return {"start": start}
        if form == 1:
            return {"end": end}
        return {"start": start, "end": end}

    def _name(self) -> Body:
        return self._fill(
            {"family": self._one(FAMILIES)},
            0.5,
            given=lambda: self._several(lambda: self._one(GIVENS), 1, 3),
            prefix=lambda: [self._one(("Dr.", "Prof"))],
            suffix=lambda: ["PhD"],
            text=lambda: f"{self._one(GIVENS)} {self._one(FAMILIES)}",
        )

    def _address(self) -> Body:
        return self._fill(
            {"city": self._one(CITIES)},
            0.4,
            line=lambda: self._several(lambda: self._one(("1 Main St", "Högatan 3")), 1, 2),
            district=lambda: "Skåne",
            state=lambda: self._one(("NY", "Skåne", "ny")),
            postalCode=lambda: self._one(("10001", "211 20")),
            country=lambda: self._one(("SE", "US")),
            use=lambda: self._one(("home", "work")),
        )

    def _telecom(self) -> Body:
        system = self._one(("phone", "email", "fax"))
        return {"system": system, "value": self._one(("555-1234", "a@b.example", "A@b.example"))}

    # References.

    def _reference(self, *types: str, contained: bool = False) -> Body:
        type = self._one(types)
        id = self._one(self._ids.get(type) or ["nobody"])
        form = self._random.randrange(20)
        if form == 0:
            return {"identifier": self._identifier(), "type": type}
        if form == 1:
            return {"display": "somebody"}
        if form == 2:
            return {"reference": f"{FOREIGN}/{type}/{id}"}
        if form in (3, 4):
            return {"reference": f"{BASE}/{type}/{id}"}
        if form == 5:
            return {"reference": f"{type}/{id}/_history/1"}
        if form == 6:
            return {"reference": "urn:uuid:5d1b4f6e-1111-4222-8333-444455556666"}
        if form == 7:
            return {"reference": f"{type}/never-there"}
        if form == 8 and contained:
            return {"reference": "#inner"}
        if form == 9:
            return {"reference": f"{type}/{id}", "identifier": self._identifier()}
        return {"reference": f"{type}/{id}"}

    def _subject(self) -> Body:
        return self._reference("Patient", "Patient", "Patient", "Group")

    # Resources.

    def _patient(self) -> Body:
        body = self._fill(
            {},
            identifier=lambda: self._several(self._identifier),
            active=lambda: self._maybe(),
            name=lambda: self._several(self._name, 1, 2),
            telecom=lambda: self._several(self._telecom),
            gender=lambda: self._one(GENDERS),
            birthDate=lambda: self._one(DATES),
            address=lambda: self._several(self._address, 1, 2),
            communication=lambda: [{"language": self._concept()}],
            generalPractitioner=lambda: self._several(
                lambda: self._reference("Practitioner", "Organization"), 1, 2
            ),
            managingOrganization=lambda: self._reference("Organization"),
        )
        if self._maybe(0.4):
            died = {"deceasedBoolean": self._maybe()}, {"deceasedDateTime": self._date_time()}
            body |= self._one(died)
        if self._maybe(0.1):
            extension = [{"url": "http://acme.example/why", "valueString": "not known"}]
            body.pop("birthDate", None)
            body["_birthDate"] = {"extension": extension}
        return body

    def _practitioner(self) -> Body:
        return self._fill(
            {},
            identifier=lambda: self._several(self._identifier),
            active=lambda: self._maybe(),
            name=lambda: self._several(self._name, 1, 2),
            telecom=lambda: self._several(self._telecom),
            gender=lambda: self._one(GENDERS),
        )

    def _organization(self) -> Body:
        return self._fill(
            {"name": self._one((*CITIES, *FAMILIES))},
            identifier=lambda: self._several(self._identifier),
            active=lambda: self._maybe(),
            type=lambda: self._several(self._concept, 1, 2),
            alias=lambda: self._several(lambda: self._one(GIVENS), 1, 2),
            address=lambda: self._several(self._address, 1, 1),
            partOf=lambda: self._reference("Organization"),
        )

    def _location(self) -> Body:
        return self._fill(
            {"name": self._one(CITIES)},
            status=lambda: self._one(("active", "suspended", "inactive")),
            address=self._address,
            type=lambda: self._several(self._concept, 1, 2),
            managingOrganization=lambda: self._reference("Organization"),
            partOf=lambda: self._reference("Location"),
        )

    def _device(self) -> Body:
        return self._fill(
            {},
            identifier=lambda: self._several(self._identifier),
            type=self._concept,
            patient=lambda: self._reference("Patient"),
            url=lambda: self._one(URLS),
            manufacturer=lambda: self._one(FAMILIES),
        )

    def _group(self) -> Body:
        return {
            "type": "person",
            "actual": True,
            "member": [{"entity": self._reference("Patient")} for _ in range(3)],
            "characteristic": [
                {"code": self._concept(), "exclude": self._maybe()} | value
                for value in (
                    {"valueBoolean": self._maybe()},
                    {"valueCodeableConcept": self._concept()},
                )
            ],
        }

    def _encounter(self) -> Body:
        return self._fill(
            {
                "status": self._one(("finished", "planned", "in-progress")),
                "class": self._coding(),
            },
            identifier=lambda: self._several(self._identifier),
            type=lambda: self._several(self._concept, 1, 2),
            subject=self._subject,
            period=self._period,
            length=self._age,
            partOf=lambda: self._reference("Encounter"),
            participant=lambda: self._several(
                lambda: {"individual": self._reference("Practitioner")}, 1, 2
            ),
            location=lambda: self._several(
                lambda: {"location": self._reference("Location"), "period": self._period()}, 1, 2
            ),
            serviceProvider=lambda: self._reference("Organization"),
        )

    def _observation(self) -> Body:
        body = self._fill(
            {
                "contained": [{"resourceType": "Patient", "id": "inner", "active": True}],
                "status": self._one(("final", "preliminary", "amended")),
                "code": self._concept(),
                "subject": self._reference("Patient", "Patient", "Group", "Device", contained=True),
            },
            identifier=lambda: self._several(self._identifier),
            category=lambda: self._several(self._concept, 1, 2),
            encounter=lambda: self._reference("Encounter"),
            performer=lambda: self._several(
                lambda: self._reference("Practitioner", "Organization", "Patient"), 1, 2
            ),
            device=lambda: self._reference("Device"),
            hasMember=lambda: self._several(lambda: self._reference("Observation"), 1, 2),
            component=lambda: self._several(self._component, 1, 3),
        )
        if body["subject"].get("reference") != "#inner":
            del body["contained"]
        body |= self._one(
            (
                {},
                {"effectiveDateTime": self._date_time()},
                {"effectiveDateTime": self._date_time()},
                {"effectivePeriod": self._period()},
                {"effectiveInstant": self._one(INSTANTS)},
                {"effectiveTiming": {"event": [self._date_time(), self._date_time()]}},
                {"effectiveTiming": {"repeat": {"boundsPeriod": self._period()}}},
            )
        )
        return body | self._value(("Quantity", "CodeableConcept", "String", "DateTime", "Period"))

    def _value(self, kinds: tuple[str, ...]) -> Body:
        kind = self._one((*kinds, "Quantity", ""))
        makers: dict[str, Callable[[], Any]] = {
            "Quantity": self._quantity,
            "CodeableConcept": lambda: self._concept() | {"text": self._one(GIVENS)},
            "String": lambda: self._one(GIVENS),
            "DateTime": self._date_time,
            "Period": self._period,
        }
        return {f"value{kind}": makers[kind]()} if kind else {}

    def _component(self) -> Body:
        return {"code": self._concept()} | self._value(("CodeableConcept",))

    def _condition(self) -> Body:
        body = self._fill(
            {"subject": self._subject()},
            identifier=lambda: self._several(self._identifier),
            clinicalStatus=lambda: {"coding": [{"system": CLINICAL, "code": "active"}]},
            category=lambda: self._several(self._concept, 1, 2),
            code=self._concept,
            encounter=lambda: self._reference("Encounter"),
            recordedDate=self._date_time,
            asserter=lambda: self._reference("Practitioner", "Patient"),
        )
        return body | self._one(
            (
                {},
                {"onsetAge": self._age()},
                {"onsetDateTime": self._date_time()},
                {"onsetPeriod": self._period()},
                {"onsetString": self._one(GIVENS)},
            )
        )

    def _medication(self) -> Body:
        return self._fill(
            {},
            code=self._concept,
            status=lambda: self._one(("active", "inactive")),
            manufacturer=lambda: self._reference("Organization"),
            batch=lambda: {"lotNumber": self._one(CODES), "expirationDate": self._date_time()},
        )

    def _medication_request(self) -> Body:
        medication = (
            {"medicationCodeableConcept": self._concept()},
            {"medicationReference": self._reference("Medication")},
        )
        return self._fill(
            {"status": "active", "intent": "order", "subject": self._subject()},
            authoredOn=self._date_time,
            requester=lambda: self._reference("Practitioner", "Organization"),
            encounter=lambda: self._reference("Encounter"),
            dosageInstruction=lambda: [{"timing": {"event": [self._date_time()]}}],
        ) | self._one(medication)

    def _provenance(self) -> Body:
        return self._fill(
            {
                "target": self._several(
                    lambda: self._reference("Observation", "Condition", "Patient"), 1, 3
                ),
                "recorded": self._one(INSTANTS),
                "agent": [{"who": self._reference("Practitioner", "Organization")}],
            },
            occurredDateTime=self._date_time,
        )

    def _document(self) -> Body:
        content = {"contentType": "text/plain", "url": "Binary/x1"}
        return self._fill(
            {
                "status": self._one(("current", "superseded")),
                "content": [{"attachment": self._fill(content, creation=self._date_time)}],
            },
            identifier=lambda: self._several(self._identifier),
            type=self._concept,
            description=lambda: self._one(GIVENS),
            subject=self._subject,
            date=lambda: self._one(INSTANTS),
            author=lambda: self._several(lambda: self._reference("Practitioner", "Device"), 1, 2),
            relatesTo=lambda: self._several(
                lambda: {
                    "code": self._one(("replaces", "appends")),
                    "target": self._reference("DocumentReference"),
                },
                1,
                2,
            ),
        )

    def _appointment(self) -> Body:
        return {
            "status": "booked",
            "start": self._one(INSTANTS),
            "end": "2030-01-01T00:00:00Z",
            "participant": [
                {"actor": self._reference("Patient"), "status": "accepted"},
                {"actor": self._reference("Patient"), "status": "declined"},
                {"actor": self._reference("Practitioner", "Location"), "status": "accepted"},
            ],
        }

    def _list(self) -> Body:
        return self._fill(
            {
                "status": self._one(("current", "retired")),
                "mode": "working",
                "entry": self._several(
                    lambda: {"item": self._reference("Patient", "Patient", "Observation")}, 2, 6
                ),
            },
            title=lambda: self._one(FAMILIES),
            code=self._concept,
            subject=lambda: self._reference("Patient"),
            date=self._date_time,
        )

    def _risk(self) -> Body:
        predictions = ({"probabilityDecimal": self._decimal()}, {})
        return self._fill(
            {"status": "final", "subject": self._subject()},
            occurrenceDateTime=self._date_time,
            prediction=lambda: self._several(
                lambda: dict(self._one(predictions), outcome=self._concept()), 1, 3
            ),
            condition=lambda: self._reference("Condition"),
            method=self._concept,
        )

    def _value_set(self) -> Body:
        return self._fill(
            {"status": self._one(("active", "draft", "retired")), "url": self._one(URLS)},
            version=lambda: self._one(("1.0", "2", "x")),
            name=lambda: self._one(FAMILIES),
            title=lambda: self._one(GIVENS),
            date=self._date_time,
            description=lambda: f"All of {self._one(CITIES)}",
            identifier=lambda: self._several(self._identifier),
            useContext=lambda: self._several(self._context, 1, 2),
        )

    def _context(self) -> Body:
        value = ({"valueCodeableConcept": self._concept()}, {"valueQuantity": self._quantity()})
        return {"code": {"system": ACME, "code": self._one(CODES)}} | self._one(value)

    def _questionnaire(self) -> Body:
        return self._fill(
            {"status": self._one(("active", "draft"))},
            url=lambda: self._one(URLS),
            version=lambda: self._one(("1.0", "2")),
            title=lambda: self._one(CITIES),
            subjectType=lambda: ["Patient"],
            effectivePeriod=self._period,
            code=lambda: self._several(self._coding, 1, 2),
        )

    def _response(self) -> Body:
        versions = ("", "|1.0", "|2")
        return self._fill(
            {"status": self._one(("completed", "in-progress"))},
            0.8,
            questionnaire=lambda: self._one(URLS) + self._one(versions),
            subject=self._subject,
            authored=self._date_time,
            author=lambda: self._reference("Practitioner", "Patient"),
        )

    def _immunization(self) -> Body:
        protocol = ({"doseNumberPositiveInt": 2}, {"doseNumberString": "second"})
        return self._fill(
            {
                "status": "completed",
                "vaccineCode": self._concept(),
                "patient": self._reference("Patient"),
                "occurrenceDateTime": self._date_time(),
            },
            protocolApplied=lambda: [dict(self._one(protocol), series="a")],
            lotNumber=lambda: self._one(CODES),
        )

    def _binary(self) -> Body:
        return {"contentType": self._one(("text/plain", "application/pdf")), "data": "aGFsbG8="}
