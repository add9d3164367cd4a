"""No sequence of requests lets one user read, change, count or infer another's task.

Several people and an impostor use every endpoint that needs a token, in any order, with their own
and each other's ids; a model in plain Python says what everybody has to see.
"""

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models.user import MAX_ID
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
COLLECTION: Final = ["GET", "POST"]
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
"""Which of several things is meant, however many there are by then."""


def what_it_says(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Give all of an response that its receiver could learn something from."""
    headers = [
        (n, v) for n, v in response.headers.multi_items() if n not in ("x-request-id", "date")
    ]
    return response.status_code, headers, response.content


class Ownership(RuleBasedStateMachine):
    """People, their requests, and what has to come of them."""

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
        # Each one's tasks by their ids, in the order in which they were made.
        self.tasks: list[dict[int, dict[str, Any]]] = [{} for _ in self.people]
        self.deleted: list[int] = []

    # What people say, and what nobody may ever hear

    def say(self, who: int, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request with somebody's token; no mark of anybody else's is in the response."""
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
        """Write whose they are into texts."""
        return {
            name: self.marks[who] + text if isinstance(text, str) else text
            for name, text in body.items()
        }

    def one_of(self, who: int, pick: int) -> int | None:
        ids = list(self.tasks[who])
        return ids[pick % len(ids)] if ids else None

    def path(self, who: int, pick: int, suffix: str = "") -> str:
        """Give the address of somebody's tasks in either of its spellings."""
        user = self.subjects[who] if pick % 2 else self.people[who].id
        return f"/api/{user}/tasks{suffix}"

    # Everybody's own

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
                title=body["title"].strip(),
                description=body.get("description"),
                completed=body.get("completed", False),
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
            body = None if completed is None else {"completed": completed}
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
    def ask_who_one_is(self, who: int) -> None:
        response = self.say(who, "GET", "/api/auth/me")
        assert response.status_code == 200
        assert response.json()["id"] == self.people[who].id
        assert response.json()["email"] == self.emails[who]

    # What is somebody else's

    def strange_id(self, who: int, pick: int) -> int | None:
        """Give the id of a task that is another's, or that was deleted."""
        ids = [task_id for other in range(PEOPLE) if other != who for task_id in self.tasks[other]]
        ids += self.deleted
        return ids[pick % len(ids)] if ids else None

    @rule(who=people, operation=operations, body=bodies | wrong_bodies, pick=picks)
    def reach_for_a_strange_task_under_ones_own_path(
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
            assert what_it_says(responses[0]) == what_it_says(responses[1])

    @rule(who=people, operation=operations, pick=picks)
    def reach_for_a_strange_task_with_a_good_body(
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
    def reach_under_anothers_path(
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
            f"{self.path(other, pick)}/{theirs or 1}{suffix}",
            f"{self.path(other, pick)}/{own or 1}{suffix}",
            f"{self.path(other, pick)}/{nobody}{suffix}",
            f"/api/{nobody}/tasks/{theirs or 1}{suffix}",
        ]
        all_tasks = [self.path(other, pick), self.path(other, pick + 1), f"/api/{nobody}/tasks"]
        responses = [
            self.say(who, method, path, body)
            for path in (all_tasks if suffix is None else one_task)
        ]
        assert_problem(responses[0], 403)
        assert len({str(what_it_says(response)) for response in responses}) == 1

    @rule(
        other=people,
        operation=operations | st.sampled_from(COLLECTION).map(lambda method: (method, None)),
        is_verified=st.booleans(),
        pick=picks,
    )
    def come_as_an_impostor(
        self,
        other: int,
        operation: tuple[str, str | None],
        *,
        is_verified: bool,
        pick: int,
    ) -> None:
        """Somebody new with another's e-mail address, or with no token, or with a broken one."""
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
                end = "" if suffix is None else f"/{task_id}{suffix}"
                path = f"/api/{user}/tasks{end}"
                responses.append(self.client.request(method, path, json=body, headers=headers))
                self.counted[0] += 1
                self.check_marks(responses[-1], None)
            assert_problem(responses[0], status)
            assert what_it_says(responses[0]) == what_it_says(responses[1])
            assert self.client.get("/api/auth/me", headers=headers).status_code == status

    # What must always hold

    @invariant()
    def everybody_sees_their_own_tasks_as_they_left_them_and_no_other(self) -> None:
        for who, person in enumerate(self.people):
            response = self.say(who, "GET", f"/api/{person.id}/tasks")
            assert response.status_code == 200
            assert response.json() == list(self.tasks[who].values())


def test_no_sequence_of_requests_lets_anybody_at_what_is_not_theirs(
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
            derandomize=True,
            database=None,
        ),
    )
    record_property("requests", counted[0])
    assert counted[0] > EXAMPLES * STEPS


def test_every_operation_that_needs_a_token_is_among_those_that_are_tried(
    client: httpx.Client,
) -> None:
    document = client.get("/openapi.json").json()
    needing = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "security" in operation
    }
    tasks = "/api/{user_id}/tasks"
    tried = {(method, f"{tasks}/{{task_id}}{suffix}") for method, suffix in OPERATIONS}
    tried |= {(method, tasks) for method in COLLECTION}
    assert needing == tried | {("GET", "/api/auth/me")}
