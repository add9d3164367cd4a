"""No sequence of requests lets one user read, change, count or infer another's task.

Several users and an impostor use every operation that names its user, in any order, with their own
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
from tests.support.operations import OF_AN_ITEM, OWNED, Operation
from tests.support.problems import assert_problem
from tests.support.service import Person
from tests.support.tokens import SigningKey

PEOPLE: Final = 3
EXAMPLES: Final = 30
STEPS: Final = 20

people = st.integers(0, PEOPLE - 1)
picks = st.integers(0, 1000)
"""Chooses one of several things, however many there are by then."""
texts = st.text("ab 'é%_\\\U0001f600", max_size=20)
changes = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "description": st.none() | texts,
        "completed": st.booleans(),
        # Nobody asked for this: it is ignored.
        "user_id": st.integers(1, 100),
    },
)
bodies: st.SearchStrategy[Any] = changes | st.sampled_from(
    [None, [], {"title": None}, {"title": "a", "completed": "yes"}, {"title": "taken"}]
)
statuses = st.sampled_from(["all", "pending", "completed"])


def content_of(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of a response that its receiver could learn something from."""
    headers = [
        each for each in response.headers.multi_items() if each[0] not in ("x-request-id", "date")
    ]
    return response.status_code, headers, response.content


class User(Person):
    """A user, with what belongs to them."""

    def __init__(self, client: httpx.Client, key: SigningKey, email: str, mark: str) -> None:
        self.subject = uuid4().hex
        super().__init__(client, key, sub=self.subject, email=email)
        self.email = email
        self.mark = mark
        """Stands in each text of theirs, so that no other user may ever receive it."""
        self.owned: dict[int, dict[str, Any]] = {}
        """Their tasks by id, in the order of creation."""
        self.link: str | None = None
        """The address of some next page of their list."""

    def names(self) -> tuple[object, ...]:
        """Return what others might call them in a path."""
        return self.subject, self.id

    def marked(self, body: dict[str, Any]) -> dict[str, Any]:
        """Put the mark into texts."""
        return {
            name: (self.mark + text).strip() if isinstance(text, str) else text
            for name, text in body.items()
        }

    def pick(self, pick: int) -> int | None:
        """Return the id of one of their tasks."""
        return list(self.owned)[pick % len(self.owned)] if self.owned else None

    def matching(self, status: str, text: str) -> list[dict[str, Any]]:
        """Return their tasks of a status that have a text."""
        return [
            task
            for task in self.owned.values()
            if status in ("all", "completed" if task["completed"] else "pending")
            and (text in task["title"] or text in (task["description"] or ""))
        ]


class Ownership(RuleBasedStateMachine):
    """Users, their requests, and the expected results."""

    def __init__(self, client: httpx.Client, key: SigningKey, counted: list[int]) -> None:
        super().__init__()
        self.client = client
        self.key = key
        self.counted = counted
        self.users = [
            User(client, key, f"{uuid4().hex}@example.com", uuid4().hex) for _ in range(PEOPLE)
        ]
        self.deleted: list[int] = []
        """The ids of deleted tasks."""
        self.left: list[User] = []
        """Users whose account is deleted."""

    def send(
        self, user: User | None, method: str, url: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Send a request; nobody else's mark is in the response."""
        options = {} if body is None or method in ("GET", "DELETE") else {"json": body}
        headers = user.headers if user else headers
        response = self.client.request(method, url, headers=headers, **options)
        self.counted[0] += 1
        for owner in self.users:
            assert owner is user or owner.mark not in f"{response.headers} {response.text}"
        return response

    def send_own(self, user: User, method: str, rest: str = "", body: Any = None) -> httpx.Response:
        """Send a request about a user's own tasks, under one of their names."""
        name = ("me", *user.names())[self.counted[0] % 3]
        return self.send(user, method, f"/api/{name}/tasks{rest}", body)

    # Each user's own

    @rule(who=people, title=texts, body=changes)
    def create(self, who: int, title: str, body: dict[str, Any]) -> None:
        user = self.users[who]
        body = user.marked({"title": title, **body})
        response = self.send_own(user, "POST", "", body)
        assert response.status_code == 201
        task = response.json()
        expected = {"description": None, "completed": False, **body, "user_id": user.id}
        assert {name: task[name] for name in expected} == expected
        assert task["id"] not in self.deleted
        assert all(task["id"] not in each.owned for each in self.users)
        user.owned[task["id"]] = task

    def change(self, user: User, response: httpx.Response, task_id: int, **expected: Any) -> None:
        """Check the response to a change of a task, and expect it from now on."""
        assert response.status_code == 200
        task, before = response.json(), user.owned[task_id]
        assert task == {**before, **expected, "updated_at": task["updated_at"]}
        assert task["updated_at"] >= before["updated_at"]
        user.owned[task_id] = task

    @rule(who=people, is_put=st.booleans(), body=changes, pick=picks)
    def change_own(self, who: int, *, is_put: bool, body: dict[str, Any], pick: int) -> None:
        user = self.users[who]
        if task_id := user.pick(pick):
            body = user.marked({"title": "new", **body} if is_put else body)
            response = self.send_own(user, "PUT" if is_put else "PATCH", f"/{task_id}", body)
            body.pop("user_id", None)
            self.change(user, response, task_id, **body)

    @rule(who=people, completed=st.none() | st.booleans(), pick=picks)
    def complete_own(self, who: int, *, completed: bool | None, pick: int) -> None:
        user = self.users[who]
        if task_id := user.pick(pick):
            body = {} if completed is None else {"completed": completed}
            response = self.send_own(user, "PATCH", f"/{task_id}/complete", body)
            toggled = not user.owned[task_id]["completed"]
            self.change(
                user, response, task_id, completed=toggled if completed is None else completed
            )

    @rule(who=people, pick=picks)
    def delete_own(self, who: int, pick: int) -> None:
        user = self.users[who]
        if task_id := user.pick(pick):
            assert self.send_own(user, "DELETE", f"/{task_id}").status_code == 204
            del user.owned[task_id]
            self.deleted.append(task_id)

    @rule(who=people, completed=st.booleans())
    def complete_all_own(self, who: int, *, completed: bool) -> None:
        user = self.users[who]
        changed = [each for each in user.owned.values() if each["completed"] is not completed]
        response = self.send_own(user, "PATCH", "", {"completed": completed})
        assert (response.status_code, response.json()) == (200, {"updated": len(changed)})
        for task in changed:
            response = self.send_own(user, "GET", f"/{task['id']}")
            self.change(user, response, task["id"], completed=completed)

    @rule(who=people, other=people, status=statuses)
    def delete_some_own(self, who: int, other: int, status: str) -> None:
        user = self.users[who]
        text = self.users[other].mark
        expected = user.matching(status, text)
        response = self.send_own(user, "DELETE", f"?status={status}&search={text}")
        assert (response.status_code, response.json()) == (200, {"deleted": len(expected)})
        for task in expected:
            del user.owned[task["id"]]
            self.deleted.append(task["id"])

    @rule(
        who=people,
        text=st.none() | people,
        status=statuses,
        sort=st.sampled_from(["created_at", "updated_at"]),
        is_descending=st.booleans(),
        limit=st.integers(1, 3),
    )
    def list_own_by_pages(  # noqa: PLR0913 - the parameters of a list
        self, who: int, *, text: int | None, status: str, sort: str, is_descending: bool, limit: int
    ) -> None:
        user = self.users[who]
        # The text of another finds nothing, however many of their tasks have it.
        search = "" if text is None else self.users[text].mark
        expected = sorted(
            user.matching(status, search), key=itemgetter(sort, "id"), reverse=is_descending
        )
        order = "desc" if is_descending else "asc"
        query = f"?status={status}&search={search}&sort={sort}&order={order}&limit={limit}"
        response, listed = self.send_own(user, "GET", query), []
        while True:
            assert response.status_code == 200
            listed += response.json()
            if "next" not in response.links:
                break
            user.link = response.links["next"]["url"]
            response = self.send(user, "GET", user.link)
        assert listed == expected

    @rule(who=people)
    def export_own(self, who: int) -> None:
        user = self.users[who]
        response = self.send(user, "GET", "/api/auth/me/export")
        export = response.json()
        assert export["account"]["id"] == user.id
        assert export["account"]["email"] == user.email
        assert export["account"]["auth_subject"] == user.subject
        tasks = {each["id"]: each for each in export["tasks"]}
        assert tasks.keys() == user.owned.keys()
        assert all(tasks[number].items() >= task.items() for number, task in user.owned.items())

    @rule(who=people, pick=picks)
    def leave_and_come_back(self, who: int, pick: int) -> None:
        """Delete the account, and sign in again as a new user with the same e-mail address."""
        if pick % 4 == 0:
            user = self.users[who]
            assert self.send(user, "DELETE", "/api/auth/me").status_code == 204
            self.left.append(user)
            self.deleted += user.owned
            self.users[who] = User(self.client, self.key, user.email, user.mark)

    # What belongs to another user

    @rule(operation=st.sampled_from(OWNED), pick=picks)
    def use_the_token_of_a_deleted_account(self, operation: Operation, pick: int) -> None:
        if self.left:
            user = self.left[pick % len(self.left)]
            for name in ("me", user.id):
                url = operation.url(name, pick + 1)
                token = user.headers["Authorization"]
                response = self.send(
                    None, operation.method, url, operation.body, Authorization=token
                )
                assert_problem(response, 401)

    @rule(who=people, other=people)
    def use_the_cursor_of_another(self, who: int, other: int) -> None:
        user, link = self.users[who], self.users[other].link
        if who != other and link is not None:
            query = link.partition("?")[2]
            assert_problem(self.send_own(user, "GET", f"?{query}"), 400, "cursor")
            url = f"/api/{self.users[other].id}/tasks?{query}"
            assert_problem(self.send(user, "GET", url), 403)

    @rule(who=people, operation=st.sampled_from(OF_AN_ITEM), body=bodies, pick=picks)
    def use_the_id_of_anothers_task_under_the_own_path(
        self, who: int, operation: Operation, body: Any, pick: int
    ) -> None:
        user = self.users[who]
        ids = [task_id for each in self.users if each is not user for task_id in each.owned]
        ids += self.deleted
        if ids:
            for sent in (body, operation.body):
                responses = [
                    self.send(user, operation.method, operation.url(user.id, task_id), sent)
                    for task_id in (ids[pick % len(ids)], MAX_ID - pick)
                ]
                assert responses[0].status_code in {400, 404}
                assert content_of(responses[0]) == content_of(responses[1])
            assert_problem(responses[0], 404)

    @rule(who=people, other=people, operation=st.sampled_from(OWNED), body=bodies, pick=picks)
    def use_the_path_of_another(
        self, who: int, other: int, operation: Operation, body: Any, pick: int
    ) -> None:
        user, owner = self.users[who], self.users[other]
        if user is not owner:
            ids = (owner.pick(pick) or 1, user.pick(pick) or 1, MAX_ID)
            contents = set()
            for name in (*owner.names(), MAX_ID - pick):
                for task_id in ids:
                    url = operation.url(name, task_id)
                    response = self.send(user, operation.method, url, body)
                    assert_problem(response, 403)
                    contents.add(str(content_of(response)))
            assert len(contents) == 1

    @rule(other=people, operation=st.sampled_from(OWNED), pick=picks)
    def use_the_address_of_another_in_a_token(
        self, other: int, operation: Operation, pick: int
    ) -> None:
        """Use a new subject with another's e-mail address, a broken token, and none."""
        owner = self.users[other]
        token = self.key.token(email=owner.email)
        for headers, status in (
            ({"Authorization": f"Bearer {token}"}, 403),
            ({"Authorization": owner.headers["Authorization"][:-4] + "AAAA"}, 401),
            ({}, 401),
        ):
            contents = set()
            for name, task_id in ((owner.id, owner.pick(pick) or 1), (MAX_ID - pick, MAX_ID)):
                url = operation.url(name, task_id)
                response = self.send(None, operation.method, url, operation.body, **headers)
                assert_problem(response, status)
                contents.add(str(content_of(response)))
            assert len(contents) == 1

    @invariant()
    def each_user_sees_their_own_tasks_unchanged_and_no_other(self) -> None:
        for user in self.users:
            response = self.send_own(user, "GET", "?sort=created_at&order=asc")
            assert response.status_code == 200
            assert response.json() == list(user.owned.values())


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
