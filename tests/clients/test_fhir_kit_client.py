"""fhir-kit-client, a client of the JavaScript world, against a real server.

Node runs npm/session.mjs once; the tests look at what it saw. npm installs the client once, from
the lock with its hashes, into `.cache/`; without npm or Node these tests are skipped.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "npm"
CACHE = Path(__file__).resolve().parents[2] / ".cache"
NODE_MAJOR_MIN = 20  # what the client asks for
INSTALL_SECONDS_MAX = 120
SESSION_SECONDS_MAX = 60


def installed() -> Path:
    """The folder with the client in it. Skips the test if it cannot be had."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs npm and Node to run fhir-kit-client")
    major = int(subprocess.check_output([node, "--version"], text=True)[1:].partition(".")[0])
    if major < NODE_MAJOR_MIN:
        pytest.skip(f"fhir-kit-client needs Node {NODE_MAJOR_MIN} or newer")
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = CACHE / "fhir-kit-client"
    kept = folder / "package-lock.json"
    if not kept.exists() or kept.read_bytes() != lock:
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as room:
            _install(npm, Path(room, "client"))
            Path(room, "client").rename(folder)
    return folder


def _install(npm: str, room: Path) -> None:
    room.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, room)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(
            command, cwd=room, check=True, capture_output=True, timeout=INSTALL_SECONDS_MAX
        )
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm does not get fhir-kit-client: {type(error).__name__}")


@pytest.fixture(scope="module")
def seen(tenants: Iterator[str]) -> dict[str, Any]:
    """What the client saw in its session."""
    folder = installed()
    session = shutil.copy(SOURCE / "session.mjs", folder)
    done = subprocess.run(
        ["node", session, next(tenants)],
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_server_says_what_it_is(seen: dict[str, Any]) -> None:
    assert seen["capability"] == ["CapabilityStatement", "4.0.1"]


def test_what_is_created_is_where_the_answer_says(seen: dict[str, Any]) -> None:
    assert seen["created"] == [201, "1"]
    assert seen["located"] is True
    assert seen["read"] == [{"system": "urn:mrn", "value": "1"}]


def test_a_conditional_create_finds_what_is_there(seen: dict[str, Any]) -> None:
    assert seen["createdAgain"] == [200, True]


def test_an_update_with_the_etag_of_a_read_wins_and_a_stale_one_fails(
    seen: dict[str, Any],
) -> None:
    assert seen["updated"] == [200, "female", "2"]
    assert seen["stale"] == {"status": 412, "code": "conflict"}
    assert seen["conditional"] == [200, True, "male"]


def test_a_json_patch_changes_a_member(seen: dict[str, Any]) -> None:
    assert seen["patched"] == [200, "other"]


def test_a_transaction_finds_and_creates(seen: dict[str, Any]) -> None:
    assert seen["transaction"] == ["200"] + ["201"] * 5


def test_pages_follow_one_another_to_the_end(seen: dict[str, Any]) -> None:
    assert seen["pages"] == [3, [1, 2, 3, 4, 5]]


def test_each_way_to_search_finds_the_same_world(seen: dict[str, Any]) -> None:
    assert seen["totals"] == {"posted": 1, "compartment": 5, "system": 6, "nothing": 0}
    assert seen["resolved"] is True
    assert seen["badSearch"] == {"status": 400, "code": "value"}


def test_operations_are_answered(seen: dict[str, Any]) -> None:
    assert seen["everything"] == 6
    assert seen["validated"] == "OperationOutcome"


def test_histories_hold_every_version(seen: dict[str, Any]) -> None:
    assert seen["history"] == ["male", "other", "female", None]
    assert seen["vread"] == "female"
    assert seen["typeHistory"] == ["DELETE", "PUT", "PUT", "PUT", "PUT"]


def test_what_is_deleted_is_gone_and_what_never_was_is_not_found(seen: dict[str, Any]) -> None:
    assert seen["deleted"] == {"status": 410, "code": "deleted"}
    assert seen["unknown"] == {"status": 404, "code": "not-found"}
