// One session of fhir-kit-client with a server: what it saw, as JSON on standard output.
// The base address is the only argument. It is checked by test_fhir_kit_client.py.

import { Client } from 'fhir-kit-client';

const client = new Client({ baseUrl: process.argv[2] });
const Patient = { resourceType: 'Patient', identifier: [{ system: 'urn:mrn', value: '1' }] };
const seen = {};

// The status of a request that is refused, and the code of its outcome.
async function refused(request) {
  try {
    return { body: await request };
  } catch (error) {
    const { status, data } = error.response;
    return { status, code: data.issue[0].code };
  }
}

const status = (body) => Client.httpFor(body).response.status;

const statement = await client.capabilityStatement();
seen.capability = [statement.resourceType, statement.fhirVersion];

const created = await client.create({ resourceType: 'Patient', body: Patient });
const id = created.id;
seen.created = [status(created), created.meta.versionId];
const path = Client.httpFor(created).response.headers.get('location');
seen.located = (await client.request(path)).id === id;

const again = await client.create({
  resourceType: 'Patient',
  body: Patient,
  options: { headers: { 'If-None-Exist': 'identifier=urn:mrn|1' } },
});
seen.createdAgain = [status(again), again.id === id];

const read = await client.read({ resourceType: 'Patient', id });
seen.read = read.identifier;
const updated = await client.update({
  resourceType: 'Patient',
  id,
  body: { ...read, gender: 'female' },
  options: { headers: { 'If-Match': Client.httpFor(read).response.headers.get('etag') } },
});
seen.updated = [status(updated), updated.gender, updated.meta.versionId];
seen.stale = await refused(client.update({
  resourceType: 'Patient', id, body: read, options: { headers: { 'If-Match': 'W/"1"' } },
}));
const patched = await client.patch({
  resourceType: 'Patient', id, jsonPatch: [{ op: 'replace', path: '/gender', value: 'other' }],
});
seen.patched = [status(patched), patched.gender];
const conditional = await client.update({
  resourceType: 'Patient',
  searchParams: { identifier: 'urn:mrn|1' },
  body: { ...Patient, gender: 'male' },
});
seen.conditional = [status(conditional), conditional.id === id, conditional.gender];

const observation = (number) => ({
  resourceType: 'Observation',
  status: 'final',
  code: { text: 'level' },
  subject: { reference: 'urn:uuid:2f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10' },
  valueInteger: number,
});
const transaction = await client.transaction({
  body: {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [
      {
        fullUrl: 'urn:uuid:2f4e8a5c-0d0b-4a3a-9a53-8a5f6a6fbf10',
        resource: Patient,
        request: { method: 'POST', url: 'Patient', ifNoneExist: 'identifier=urn:mrn|1' },
      },
      ...[1, 2, 3, 4, 5].map((number) => ({
        resource: observation(number),
        request: { method: 'POST', url: 'Observation' },
      })),
    ],
  },
});
seen.transaction = transaction.entry.map((entry) => entry.response.status.slice(0, 3));

const values = [];
let pages = 0;
let page = await client.search({
  resourceType: 'Observation', searchParams: { subject: `Patient/${id}`, _count: 2 },
});
while (page) {
  pages += 1;
  values.push(...page.entry.map((entry) => entry.resource.valueInteger));
  page = await client.nextPage({ bundle: page });
}
seen.pages = [pages, values.sort()];

const searches = {
  posted: client.search({
    resourceType: 'Patient',
    searchParams: { identifier: 'urn:mrn|1' },
    options: { postSearch: true },
  }),
  compartment: client.compartmentSearch({
    resourceType: 'Observation', compartment: { resourceType: 'Patient', id },
  }),
  system: client.systemSearch({ searchParams: { _type: 'Patient,Observation', _total: 'accurate' } }),
  nothing: client.search({ resourceType: 'Patient', searchParams: { family: 'Nobody' } }),
};
seen.totals = {};
for (const [name, search] of Object.entries(searches)) {
  seen.totals[name] = (await search).total;
}
const first = await client.search({ resourceType: 'Observation', searchParams: { _count: 1 } });
const { subject } = first.entry[0].resource;
seen.resolved = (await client.resolve({ reference: subject.reference, context: first })).id === id;
seen.badSearch = await refused(
  client.search({ resourceType: 'Observation', searchParams: { date: 'yesterday' } }),
);

const everything = await client.operation({ name: 'everything', resourceType: 'Patient', id, method: 'GET' });
seen.everything = everything.entry.length;
const validated = await client.operation({ name: '$validate', resourceType: 'Patient', input: Patient });
seen.validated = validated.resourceType;

const versions = await client.history({ resourceType: 'Patient', id });
seen.history = versions.entry.map((entry) => entry.resource.gender ?? null);
const old = await client.vread({ resourceType: 'Patient', id, version: '2' });
seen.vread = old.gender;

await client.delete({ resourceType: 'Patient', id });
seen.deleted = await refused(client.read({ resourceType: 'Patient', id }));
seen.unknown = await refused(client.read({ resourceType: 'Patient', id: 'nobody' }));
seen.typeHistory = (await client.typeHistory({ resourceType: 'Patient' })).entry
  .map((entry) => entry.request.method);

console.log(JSON.stringify(seen));
