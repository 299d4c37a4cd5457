"""JSON Patch: the rules of RFC 6902, and that nothing else of a resource changes."""

import copy
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest, PatchFailed, ResourceInvalid, ResourceTooLarge
from engine.fhir.body import DEPTH_MAX, minified
from engine.fhir.patch import OPERATIONS_MAX, parse_patch

BODY = (
    b'{"resourceType":"Observation","id":"o1","status":"final","note":[{"text":"a\\u00e9\\/b"}],'
    b'"valueQuantity":{"value":1.50,"unit":"mm"},"category":[{"text":"x"},{"text":"y"}]}'
)


def patched(*operations: object, body: bytes = BODY, bytes_max: int = 10_000) -> bytes:
    return parse_patch(msgspec.json.encode(operations)).applied(body, bytes_max=bytes_max)


def op(name: str, path: str, **more: object) -> dict[str, object]:
    return {"op": name, "path": path} | {
        ("from" if key == "source" else key): value for key, value in more.items()
    }


def test_replaces_one_value_and_keeps_every_other_byte():
    assert patched(op("replace", "/status", value="amended")) == BODY.replace(b"final", b"amended")
    changed = patched(op("replace", "/valueQuantity/unit", value="cm"))
    assert changed == BODY.replace(b'"mm"', b'"cm"')  # 1.50 and the escapes are as they were


def test_adds_to_an_array_before_an_item_or_behind_the_last():
    first = patched(op("add", "/category/0", value={"text": "w"}))
    assert first == BODY.replace(b'[{"text":"x"}', b'[{"text":"w"},{"text":"x"}')
    last = patched(op("add", "/category/-", value={"text": "z"}))
    assert last == BODY.replace(b'{"text":"y"}]', b'{"text":"y"},{"text":"z"}]')


def test_adds_a_member_at_the_end_and_an_existing_one_in_its_place():
    assert patched(op("add", "/language", value="de")) == BODY[:-1] + b',"language":"de"}'
    assert patched(op("add", "/status", value="amended")) == BODY.replace(b"final", b"amended")


def test_keeps_the_digits_that_a_patch_gives():
    patch = parse_patch(b'[{"op":"replace","path":"/valueQuantity/value","value":2.5000}]')
    assert b'"value":2.5000' in patch.applied(BODY, bytes_max=10_000)


def test_removes_moves_and_copies():
    assert b"status" not in patched(op("remove", "/status"))
    moved = json.loads(patched(op("move", "/category/0", source="/category/1")))
    assert [item["text"] for item in moved["category"]] == ["y", "x"]
    copied = json.loads(patched(op("copy", "/code", source="/category/1")))
    assert copied["code"] == {"text": "y"} and len(copied["category"]) == 2


def test_a_copy_is_a_value_of_its_own():
    operations = (
        op("copy", "/code", source="/category/1"),
        op("replace", "/code/text", value="z"),
    )
    assert json.loads(patched(*operations))["category"][1] == {"text": "y"}


def test_compares_numbers_by_value_and_objects_in_any_order():
    patch = b'[{"op":"test","path":"/valueQuantity","value":{"unit":"mm","value":15e-1}}]'
    assert parse_patch(patch).applied(BODY, bytes_max=10_000) == BODY
    assert patched(op("test", "/note/0/text", value="aé/b")) == BODY


@pytest.mark.parametrize("value", ["amended", True, 1, None, ["final"], {"final": 1}])
def test_a_test_that_fails_stops_the_patch(value):
    with pytest.raises(PatchFailed, match=r"operation 1 of the patch \(test\)") as caught:
        patched(op("remove", "/note"), op("test", "/status", value=value))
    assert "final" not in str(caught.value)  # content of the resource


def test_a_number_is_not_a_boolean():
    with pytest.raises(PatchFailed):
        patched(op("test", "/a", value=True), body=b'{"a":1}')


@pytest.mark.parametrize(
    "operation",
    [
        op("remove", "/nothing"),
        op("replace", "/nothing", value=1),
        op("replace", "/category/2", value=1),
        op("replace", "/category/-", value=1),
        op("add", "/category/3", value=1),
        op("add", "/category/01", value=1),
        op("add", "/category/x", value=1),
        op("add", "/nothing/deeper", value=1),
        op("add", "/status/deeper", value=1),
        op("move", "/code", source="/nothing"),
        op("copy", "/code", source="/category/7"),
        op("move", "/category/0/text", source="/category/0"),
        op("remove", ""),
    ],
    ids=str,
)
def test_a_path_that_leads_nowhere_fails(operation):
    with pytest.raises(PatchFailed, match="operation 0"):
        patched(operation)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"null",
        b'["x"]',
        b'[{"op":"add","path":"/a"}]',
        b'[{"op":"turn","path":"/a","value":1}]',
        b'[{"path":"/a","value":1}]',
        b'[{"op":"test","value":1}]',
        b'[{"op":"move","path":"/a"}]',
        b'[{"op":"add","path":"a","value":1}]',
        b'[{"op":"add","path":"/~2","value":1}]',
        b'[{"op":1,"path":"/a"}]',
    ],
)
def test_refuses_what_is_no_patch(raw):
    with pytest.raises(BadRequest):
        parse_patch(raw)


def test_says_where_a_text_is_no_json():
    with pytest.raises(ResourceInvalid, match="line 2, column 7"):
        parse_patch(b'[\n{"op":]')


@pytest.mark.parametrize(
    "operation",
    [
        op("replace", "/id", value="o2"),
        op("remove", "/id"),
        op("replace", "/resourceType", value="Patient"),
        op("move", "/language", source="/id"),
        op("replace", "", value=[]),
        op("add", "", value={"resourceType": "Observation", "id": "o2"}),
    ],
    ids=str,
)
def test_a_patch_cannot_make_another_resource_of_it(operation):
    with pytest.raises(BadRequest):
        patched(operation)


def test_the_whole_resource_may_be_replaced_by_itself():
    whole = {"resourceType": "Observation", "id": "o1", "status": "amended"}
    assert json.loads(patched(op("replace", "", value=whole))) == whole


def test_escapes_of_a_pointer_are_read():
    body = b'{"resourceType":"Basic","id":"b","a/b":1,"m~n":2,"":3}'
    changed = patched(op("replace", "/a~1b", value=4), op("remove", "/m~0n"), body=body)
    assert changed == b'{"resourceType":"Basic","id":"b","a/b":4,"":3}'
    assert b'"":5' in patched(op("replace", "/", value=5), body=body)


def test_copies_of_copies_are_bounded():
    double = op("copy", "/note/-", source="/note")
    with pytest.raises(ResourceTooLarge):
        patched(*[double] * 100)


def test_paths_and_patches_are_bounded():
    with pytest.raises(BadRequest, match="steps"):
        patched(op("add", "/a" * (DEPTH_MAX + 1), value=1))
    with pytest.raises(BadRequest, match="at most"):
        patched(*[op("remove", "/a")] * (OPERATIONS_MAX + 1))


def test_adding_to_a_large_array_keeps_the_rest_of_it():
    members = b",".join(b'{"entity":{"reference":"Patient/%d"}}' % n for n in range(20_000))
    body = b'{"resourceType":"Group","id":"g","member":[%b]}' % members
    new = {"entity": {"reference": "Patient/x"}}
    changed = patched(op("add", "/member/-", value=new), body=body)
    assert changed == body[:-2] + b',{"entity":{"reference":"Patient/x"}}]}'


# Against a model: the same operations on Python values.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text('ab~/é\\"', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner),
    max_leaves=8,
)


def pointers(value, path=""):
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            step = name.replace("~", "~0").replace("/", "~1")
            yield from pointers(inner, f"{path}/{step}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from pointers(inner, f"{path}/{number}")


def parent_of(value, path):
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    for step in steps[:-1]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value, int(steps[-1]) if isinstance(value, list) else steps[-1]


@given(st.data())
def test_does_what_the_same_operations_do_to_plain_values(data):
    resource = {"resourceType": "Basic", "id": "b", "x": data.draw(VALUES)}
    body = minified(json.dumps(resource).encode())
    path = data.draw(st.sampled_from(list(pointers(resource["x"], "/x"))))
    name = data.draw(st.sampled_from(["remove", "replace", "add", "test"]))
    value = data.draw(VALUES)
    model = copy.deepcopy(resource)
    parent, key = parent_of(model, path)
    if name == "test":
        value = parent[key]
    elif name == "remove":
        del parent[key]
    elif name == "add" and isinstance(parent, list):
        parent.insert(key, value)
    else:
        parent[key] = value
    assert json.loads(patched(op(name, path, value=value), body=body)) == model
