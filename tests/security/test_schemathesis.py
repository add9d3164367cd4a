"""Schemathesis generates requests from the OpenAPI document of the service.

No response is a 5xx or undocumented, valid input is accepted, invalid input is refused, and nothing
works without the token.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.support.operations import OPERATIONS
from tests.support.programs import run
from tests.support.service import Person
from tests.support.tokens import SigningKey

pytestmark = pytest.mark.slow

# JSON Schema cannot say that NUL is refused, which has its own tests, nor which addresses,
# passwords and cursors are valid: those may be refused.
CONFIGURATION = """
headers = {{ Authorization = "Bearer {token}" }}
continue-on-failure = true
seed = {seed}

[parameters]
"path.user_id" = "me"
"path.task_id" = {task}

[generation]
allow-x00 = false
database = "none"

[phases.fuzzing.generation]
max-examples = 40

[phases.stateful.generation]
max-examples = 20

# A condition may fail, and a body may be too large as well as wrong.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 412]

[checks.negative_data_rejection]
expected-statuses = [304, 400, 401, 403, 404, 405, 412, 413]

# What is deleted is another user's, or little would be left for the other operations.
[[operations]]
include-operation-id = "delete_me"
headers = {{ Authorization = "Bearer {leaving}" }}

[[operations]]
include-operation-id = "delete_tasks"
headers = {{ Authorization = "Bearer {clearing}" }}
checks.positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 409, 412]
checks.negative_data_rejection.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 409, 412]

[[operations]]
include-operation-id = "delete_task"
headers = {{ Authorization = "Bearer {deleting}" }}
parameters = {{ "path.task_id" = {deleted} }}

[[operations]]
include-operation-id = "list_tasks"
checks.positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 401, 403, 404]
# An empty parameter is none.
checks.negative_data_rejection.expected-statuses = [200, 304, 400, 401, 403, 404]

# What a title, a tag, a date or a filter may be is more than a schema says, and null is read too.
[[operations]]
include-operation-id = [
  "create_task", "update_tasks", "replace_task", "update_task", "complete_task",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 409, 412, 413]
checks.negative_data_rejection.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 409, 412, 413]

[[operations]]
include-path = "/api/auth/signup"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 409]
phases.fuzzing.generation.max-examples = 8

[[operations]]
include-path = "/api/auth/login"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401]
phases.fuzzing.generation.max-examples = 8
"""


def test_schemathesis_finds_no_failure(
    own_database: str, serve: Serve, key: SigningKey, tmp_path: Path
) -> None:
    service = serve(own_database)
    alice, leaving, clearing, deleting = (Person(service, key) for _ in range(4))
    configuration = CONFIGURATION.format(
        seed=os.environ.get("FUZZ", "5"),
        token=alice.token,
        task=alice.create()["id"],
        leaving=leaving.token,
        clearing=clearing.token,
        deleting=deleting.token,
        deleted=deleting.create()["id"],
    )
    (tmp_path / "schemathesis.toml").write_text(configuration)
    report = tmp_path / "report.json"
    run(
        *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
        *("run", f"{service.base_url}/openapi.json", "--checks", "all"),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--report", "json", "--report-json-path", report),
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        timeout=240,
    )
    results = json.loads(report.read_text())
    assert (results["complete"], results["failures"], results["errors"]) == (True, [], [])
    assert {phase["status"] for phase in results["phases"].values()} == {"success"}
    assert results["test_cases"]["generated"] > 500
    # With a token that is not let in, or another's path, all of it would be 401 and 403.
    accepted = {
        operation: sum(phase["accepted"] for phase in phases.values())
        for operation, phases in results["valid_rates"].items()
    }
    assert set(accepted) == {str(each) for each in OPERATIONS}
    assert [each for each, count in accepted.items() if not count] == []
    assert service.get("/health/ready").status_code == 200
    assert alice.tasks("GET").status_code == 200
