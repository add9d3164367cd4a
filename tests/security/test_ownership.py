"""No sequence of requests lets one user read, change, count or infer another's task.

Several users and an impostor use every endpoint that needs a token, in any order, with their own
and each other's ids and cursors; a model in plain Python knows what each of them has to see.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models.base import MAX_ID
from tests.support.problems import assert_problem
from tests.support.service import Person
from tests.support.tokens import SigningKey

PEOPLE: Final = 3
EXAMPLES: Final = 30
STEPS: Final = 20

COMPLETE: Final = "/complete"
OPERATIONS: Final = [
    ("GET", ""),
    ("PUT", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("PATCH", COMPLETE),
]
"""What can be done to one task: a method, and what follows its address."""
COLLECTION: Final = ["GET", "POST", "PATCH", "DELETE"]
"""What can be done to all tasks of a user."""

people = st.integers(0, PEOPLE - 1)
operations = st.sampled_from(OPERATIONS)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
bodies = st.fixed_dictionaries(
    {"title": texts},
    optional={
        "description": st.none() | texts,
        "completed": st.booleans(),
        # Nobody asked for these: they are ignored.
        "id": st.integers(1, 100),
        "user_id": st.integers(1, 100),
    },
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "description": st.none() | texts,
        "completed": st.booleans(),
        "user_id": st.integers(1, 100),
    },
)
wrong_bodies: st.SearchStrategy[Any] = st.sampled_from(
    [None, [], {"title": None}, {"title": 5}, {"title": "a", "completed": "yes"}, {"title": ""}]
)
picks = st.integers(0, 1000)
"""Chooses one of several things, however many there are by then."""
statuses = st.sampled_from(["all", "pending", "completed"])


def content_of(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of a response that its receiver could learn something from."""
    headers = [
        (n, v) for n, v in response.headers.multi_items() if n not in ("x-request-id", "date")
    ]
    return response.status_code, headers, response.content


class Ownership(RuleBasedStateMachine):
    """Users, their requests, and the expected results."""

    def __init__(self, client: httpx.Client, key: SigningKey, counted: list[int]) -> None:
        super().__init__()
        self.client = client
        self.key = key
        self.counted = counted
        self.subjects = [uuid4().hex for _ in range(PEOPLE)]
        self.emails = [f"{subject}@example.com" for subject in self.subjects]
        self.people = [
            Person(client, key, sub=subject, email=email)
            for subject, email in zip(self.subjects, self.emails, strict=True)
        ]
        self.marks = [uuid4().hex for _ in self.people]
        # Each user's tasks by id, in the order of creation.
        self.tasks: list[dict[int, dict[str, Any]]] = [{} for _ in self.people]
        self.deleted: list[int] = []
        self.links: list[str | None] = [None for _ in self.people]
        """The address of some next page of each user's list."""
        self.left: list[Person] = []
        """Users whose account is deleted."""

    # Requests, and texts that no other user may ever see

    def say(self, who: int, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request with a user's token; no mark of another's is in the response."""
        options = {} if body is None else {"json": body}
        response = self.people[who].call(method, path, **options)
        self.counted[0] += 1
        self.check_marks(response, who)
        return response

    def check_marks(self, response: httpx.Response, who: int | None) -> None:
        said = f"{response.headers} {response.text}"
        for owner, mark in enumerate(self.marks):
            assert owner == who or mark not in said

    def marked(self, who: int, body: dict[str, Any]) -> dict[str, Any]:
        """Put the mark of the owner into texts."""
        return {
            name: self.marks[who] + text if isinstance(text, str) else text
            for name, text in body.items()
        }

    def one_of(self, who: int, pick: int) -> int | None:
        ids = list(self.tasks[who])
        return ids[pick % len(ids)] if ids else None

    def path(self, who: int, pick: int, suffix: str = "") -> str:
        """Return the address of a user's tasks, as that user may spell it."""
        user = (self.subjects[who], self.people[who].id, "me")[pick % 3]
        return f"/api/{user}/tasks{suffix}"

    def path_of_another(self, other: int, pick: int, suffix: str = "") -> str:
        """Return the address of a user's tasks, as it names that user to everybody."""
        user = self.subjects[other] if pick % 2 else self.people[other].id
        return f"/api/{user}/tasks{suffix}"

    # Each user's own

    @rule(who=people, body=bodies, pick=picks)
    def make(self, who: int, body: dict[str, Any], pick: int) -> None:
        body = self.marked(who, body)
        response = self.say(who, "POST", self.path(who, pick), body)
        assert response.status_code == 201
        task = response.json()
        assert task == {
            "id": task["id"],
            "user_id": self.people[who].id,
            "title": body["title"].strip(),
            "description": body.get("description"),
            "completed": body.get("completed", False),
            "created_at": task["created_at"],
            "updated_at": task["created_at"],
        }
        assert all(task["id"] not in theirs for theirs in self.tasks)
        assert task["id"] not in self.deleted
        self.tasks[who][task["id"]] = task

    @rule(who=people, pick=picks)
    def read_own(self, who: int, pick: int) -> None:
        if task_id := self.one_of(who, pick):
            response = self.say(who, "GET", self.path(who, pick, f"/{task_id}"))
            assert (response.status_code, response.json()) == (200, self.tasks[who][task_id])

    def changed(self, response: httpx.Response, who: int, task_id: int, **expected: Any) -> None:
        assert response.status_code == 200
        task = response.json()
        before = self.tasks[who][task_id]
        assert task == {**before, **expected, "updated_at": task["updated_at"]}
        assert task["updated_at"] >= before["updated_at"]
        self.tasks[who][task_id] = task

    @rule(who=people, body=bodies, pick=picks)
    def replace_own(self, who: int, body: dict[str, Any], pick: int) -> None:
        if task_id := self.one_of(who, pick):
            body = self.marked(who, body)
            response = self.say(who, "PUT", self.path(who, pick, f"/{task_id}"), body)
            self.changed(
                response,
                who,
                task_id,
                **{
                    name: value.strip() if name == "title" else value
                    for name, value in body.items()
                    if name in ("title", "description", "completed")
                },
            )

    @rule(who=people, body=changes, pick=picks)
    def change_own(self, who: int, body: dict[str, Any], pick: int) -> None:
        if task_id := self.one_of(who, pick):
            body = self.marked(who, body)
            response = self.say(who, "PATCH", self.path(who, pick, f"/{task_id}"), body)
            told = {name: body[name] for name in body if name != "user_id"}
            if "title" in told:
                told["title"] = told["title"].strip()
            self.changed(response, who, task_id, **told)

    @rule(who=people, completed=st.none() | st.booleans(), pick=picks)
    def complete_own(self, who: int, *, completed: bool | None, pick: int) -> None:
        if task_id := self.one_of(who, pick):
            no_change: dict[str, bool] | None = None if pick % 2 else {}
            body = no_change if completed is None else {"completed": completed}
            response = self.say(who, "PATCH", self.path(who, pick, f"/{task_id}/complete"), body)
            before = self.tasks[who][task_id]["completed"]
            self.changed(
                response, who, task_id, completed=not before if completed is None else completed
            )

    @rule(who=people, pick=picks)
    def delete_own(self, who: int, pick: int) -> None:
        if task_id := self.one_of(who, pick):
            response = self.say(who, "DELETE", self.path(who, pick, f"/{task_id}"))
            assert (response.status_code, response.content) == (204, b"")
            del self.tasks[who][task_id]
            self.deleted.append(task_id)

    @rule(who=people)
    def read_own_account(self, who: int) -> None:
        response = self.say(who, "GET", "/api/auth/me")
        assert response.status_code == 200
        assert response.json()["id"] == self.people[who].id
        assert response.json()["email"] == self.emails[who]

    @rule(who=people, completed=st.booleans(), pick=picks)
    def complete_all_own(self, who: int, *, completed: bool, pick: int) -> None:
        before = list(self.tasks[who].values())
        response = self.say(who, "PATCH", self.path(who, pick), {"completed": completed})
        count = sum(task["completed"] is not completed for task in before)
        assert (response.status_code, response.json()) == (200, {"updated": count})
        for old in before:
            if old["completed"] is not completed:
                response = self.say(who, "GET", self.path(who, pick, f"/{old['id']}"))
                self.changed(response, who, old["id"], completed=completed)

    @rule(who=people, other=people, status=statuses, pick=picks)
    def delete_some_own(self, who: int, other: int, status: str, pick: int) -> None:
        expected = self.matching(who, status, self.marks[other])
        query = f"?status={status}&search={self.marks[other]}"
        response = self.say(who, "DELETE", self.path(who, pick, query))
        assert (response.status_code, response.json()) == (200, {"deleted": len(expected)})
        for task in expected:
            del self.tasks[who][task["id"]]
            self.deleted.append(task["id"])

    def matching(self, who: int, status: str, text: str) -> list[dict[str, Any]]:
        """Return a user's tasks of a status that have a text."""
        return [
            task
            for task in self.tasks[who].values()
            if status in ("all", "completed" if task["completed"] else "pending")
            and (text in task["title"] or text in (task["description"] or ""))
        ]

    @rule(
        who=people,
        other=people,
        status=statuses,
        sort=st.sampled_from(["created_at", "updated_at"]),
        order=st.sampled_from(["asc", "desc"]),
        limit=st.integers(1, 3),
        pick=picks,
    )
    def list_own_by_pages(  # noqa: PLR0913 - the parameters of a list
        self,
        who: int,
        other: int,
        *,
        status: str,
        sort: str,
        order: str,
        limit: int,
        pick: int,
    ) -> None:
        # The text of another finds nothing, however many of their tasks have it.
        text = self.marks[other] if pick % 2 else ""
        expected = sorted(self.matching(who, status, text), key=itemgetter(sort, "id"))
        expected = expected[::-1] if order == "desc" else expected
        query = f"?status={status}&search={text}&sort={sort}&order={order}&limit={limit}"
        url: str | None = self.path(who, pick, query)
        found = []
        while url is not None:
            response = self.say(who, "GET", url)
            assert response.status_code == 200
            found += response.json()
            url = response.links.get("next", {}).get("url")
            self.links[who] = url or self.links[who]
        assert found == expected

    @rule(who=people)
    def export_own(self, who: int) -> None:
        response = self.say(who, "GET", "/api/auth/me/export")
        assert response.status_code == 200
        export = response.json()
        assert export["account"]["email"] == self.emails[who]
        assert export["account"]["auth_subject"] == self.subjects[who]
        own = [
            {name: value for name, value in task.items() if not name.startswith("idempotency_")}
            for task in export["tasks"]
        ]
        assert own == list(self.tasks[who].values())

    @rule(who=people, pick=picks)
    def leave_and_come_back(self, who: int, pick: int) -> None:
        """Delete the account, and sign in again as a new user with the same e-mail address."""
        if pick % 4:
            return
        assert self.say(who, "DELETE", "/api/auth/me").status_code == 204
        self.left.append(self.people[who])
        self.deleted += self.tasks[who]
        self.tasks[who] = {}
        self.links[who] = None
        self.subjects[who] = uuid4().hex
        self.people[who] = Person(
            self.client, self.key, sub=self.subjects[who], email=self.emails[who]
        )

    @rule(operation=operations, pick=picks)
    def use_the_token_of_a_deleted_account(self, operation: tuple[str, str], pick: int) -> None:
        if self.left:
            method, suffix = operation
            left = self.left[pick % len(self.left)]
            for path in (f"/api/me/tasks/{pick}{suffix}", f"/api/{left.id}/tasks/{pick}{suffix}"):
                response = left.call(method, path, json={"title": "taken"})
                self.check_marks(response, None)
                assert_problem(response, 401)

    # What belongs to another user

    @rule(who=people, other=people)
    def use_the_cursor_of_another(self, who: int, other: int) -> None:
        link = self.links[other]
        if who == other or link is None:
            return
        query = link.partition("?")[2]
        assert_problem(self.say(who, "GET", f"/api/me/tasks?{query}"), 400, "cursor")
        assert_problem(self.say(who, "GET", self.path_of_another(other, 0, f"?{query}")), 403)

    def strange_id(self, who: int, pick: int) -> int | None:
        """Return the id of a task that is another's, or that was deleted."""
        ids = [task_id for other in range(PEOPLE) if other != who for task_id in self.tasks[other]]
        ids += self.deleted
        return ids[pick % len(ids)] if ids else None

    @rule(who=people, operation=operations, body=bodies | wrong_bodies, pick=picks)
    def use_the_id_of_anothers_task_under_the_own_path(
        self, who: int, operation: tuple[str, str], body: Any, pick: int
    ) -> None:
        method, suffix = operation
        body = body if method in ("PUT", "PATCH") else None
        if strange_id := self.strange_id(who, pick):
            responses = [
                self.say(who, method, self.path(who, pick, f"/{task_id}{suffix}"), body)
                for task_id in (strange_id, MAX_ID - pick)
            ]
            assert responses[0].status_code in {400, 404}
            assert content_of(responses[0]) == content_of(responses[1])

    @rule(who=people, operation=operations, pick=picks)
    def use_the_id_of_anothers_task_with_a_valid_body(
        self, who: int, operation: tuple[str, str], pick: int
    ) -> None:
        method, suffix = operation
        body = {"title": "taken", "completed": True} if method in ("PUT", "PATCH") else None
        if strange_id := self.strange_id(who, pick):
            path = self.path(who, pick, f"/{strange_id}{suffix}")
            assert_problem(self.say(who, method, path, body), 404)

    @rule(
        who=people,
        other=people,
        operation=operations | st.sampled_from(COLLECTION).map(lambda method: (method, None)),
        body=bodies | wrong_bodies,
        pick=picks,
    )
    def use_the_path_of_another(
        self, who: int, other: int, operation: tuple[str, str | None], body: Any, pick: int
    ) -> None:
        if who == other:
            return
        method, suffix = operation
        body = body if method in ("POST", "PUT", "PATCH") else None
        theirs = self.one_of(other, pick)
        own = self.one_of(who, pick)
        nobody = MAX_ID - pick
        one_task = [
            f"{self.path_of_another(other, pick)}/{theirs or 1}{suffix}",
            f"{self.path_of_another(other, pick)}/{own or 1}{suffix}",
            f"{self.path_of_another(other, pick)}/{nobody}{suffix}",
            f"/api/{nobody}/tasks/{theirs or 1}{suffix}",
        ]
        end = "?status=all" if method == "DELETE" else ""
        all_tasks = [self.path_of_another(other, pick + n, end) for n in (0, 1)]
        all_tasks.append(f"/api/{nobody}/tasks{end}")
        responses = [
            self.say(who, method, path, body)
            for path in (all_tasks if suffix is None else one_task)
        ]
        assert_problem(responses[0], 403)
        assert len({str(content_of(response)) for response in responses}) == 1

    @rule(
        other=people,
        operation=operations | st.sampled_from(COLLECTION).map(lambda method: (method, None)),
        is_verified=st.booleans(),
        pick=picks,
    )
    def use_the_address_of_another_in_a_token(
        self,
        other: int,
        operation: tuple[str, str | None],
        *,
        is_verified: bool,
        pick: int,
    ) -> None:
        """Use a new subject with another's e-mail address, a broken token, and none."""
        method, suffix = operation
        theirs = self.one_of(other, pick)
        body = {"title": "taken"} if method in ("POST", "PUT", "PATCH") else None
        token = self.key.token(email=self.emails[other], emailVerified=is_verified)
        broken = self.people[other].token[:-4] + "AAAA"
        for headers, status in (
            ({"Authorization": f"Bearer {token}"}, 403),
            ({"Authorization": f"Bearer {broken}"}, 401),
            ({}, 401),
        ):
            responses = []
            for user, task_id in ((self.people[other].id, theirs or 1), (MAX_ID - pick, MAX_ID)):
                end = "?status=all" if suffix is None else f"/{task_id}{suffix}"
                path = f"/api/{user}/tasks{end}"
                responses.append(self.client.request(method, path, json=body, headers=headers))
                self.counted[0] += 1
                self.check_marks(responses[-1], None)
            assert_problem(responses[0], status)
            assert content_of(responses[0]) == content_of(responses[1])
            assert self.client.get("/api/auth/me", headers=headers).status_code == status

    # Invariants

    @invariant()
    def each_user_sees_their_own_tasks_unchanged_and_no_other(self) -> None:
        for who, person in enumerate(self.people):
            response = self.say(who, "GET", f"/api/{person.id}/tasks")
            assert response.status_code == 200
            assert response.json() == list(self.tasks[who].values())


@pytest.mark.slow
def test_no_sequence_of_requests_reaches_the_tasks_of_another_user(
    client: httpx.Client, key: SigningKey, record_property: Callable[[str, object], None]
) -> None:
    counted = [0]

    class Attack(Ownership):
        def __init__(self) -> None:
            super().__init__(client, key, counted)

    run_state_machine_as_test(
        Attack,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # To shrink a failure takes minutes of requests; its steps are few as it is.
            phases=[Phase.generate],
        ),
    )
    record_property("requests", counted[0])
    assert counted[0] > EXAMPLES * STEPS


def test_every_operation_that_needs_a_token_is_part_of_the_test(
    client: httpx.Client,
) -> None:
    document = client.get("/openapi.json").json()
    needing = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation["security"]
    }
    tasks = "/api/{user_id}/tasks"
    tried = {(method, f"{tasks}/{{task_id}}{suffix}") for method, suffix in OPERATIONS}
    tried |= {(method, tasks) for method in COLLECTION}
    tried |= {("GET", "/api/auth/me"), ("DELETE", "/api/auth/me")}
    tried |= {("GET", "/api/auth/me/export")}
    assert needing == tried
