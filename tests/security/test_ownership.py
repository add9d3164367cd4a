"""No sequence of requests lets one user read, change, count or infer another's task.

Several users and an impostor use every operation that names its user, in any order, with their own
and each other's ids and cursors. What a user's own requests do is for other tests to say.
"""

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
TASKS: Final = "/api/me/tasks"
CREATE: Final = Operation("POST", "/api/{user_id}/tasks")

people = st.integers(0, PEOPLE - 1)
picks = st.integers(0, 1000)
"""Chooses one of several things, however many there are by then."""
texts = st.text("ab 'é%_\\\U0001f600", max_size=20)
# Nobody asked for the id of a user: it is ignored.
changes = st.fixed_dictionaries(
    {},
    optional={"description": texts, "completed": st.booleans(), "user_id": st.integers(1, 100)},
)
bodies: st.SearchStrategy[Any] = changes | st.sampled_from(
    [None, [], {"title": None}, {"title": "a", "completed": "yes"}, {"title": "taken"}]
)
# One that deletes all tasks would leave little for the others; many create some.
own = st.sampled_from(
    [*(each for each in OWNED if each.item or each.method != "DELETE"), *[CREATE] * 5]
)


def content_of(response: httpx.Response) -> str:
    """Return all of a response that its receiver could learn something from."""
    headers = [each for each in response.headers.items() if each[0] not in ("x-request-id", "date")]
    return f"{response.status_code} {headers} {response.text}"


class User(Person):
    """A user, with what belongs to them."""

    def __init__(self, client: httpx.Client, key: SigningKey, email: str, mark: str) -> None:
        self.subject = uuid4().hex
        super().__init__(client, key, sub=self.subject, email=email)
        self.email = email
        self.mark = mark
        """Stands in each text of theirs, so that no other user may ever receive it."""
        created = [self.create(title=mark) for _ in range(3)]
        self.owned: dict[int, dict[str, Any]] = {task["id"]: task for task in created}
        """Their tasks by id, in the order of creation."""
        self.link = self.tasks("GET", params={"limit": 2}).links["next"]["url"]
        """The address of a next page of their list."""

    def pick(self, pick: int) -> int | None:
        """Return the id of one of their tasks."""
        return list(self.owned)[pick % len(self.owned)] if self.owned else None


class Ownership(RuleBasedStateMachine):
    """Users, their requests, and the expected results."""

    def __init__(self, client: httpx.Client, key: SigningKey) -> None:
        super().__init__()
        self.client = client
        self.key = key
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
        for owner in self.users:
            assert owner is user or owner.mark not in f"{response.headers} {response.text}"
        return response

    def listed(self, user: User) -> dict[int, dict[str, Any]]:
        """Return the tasks of a user as the service lists them."""
        response = self.send(user, "GET", f"{TASKS}?sort=created_at&order=asc")
        assert all(task["user_id"] == user.id for task in response.json())
        return {task["id"]: task for task in response.json()}

    def act(self, user: User, method: str, url: str, body: Any) -> tuple[httpx.Response, list[int]]:
        """Do something as a user; return the response, and the ids of tasks that changed."""
        before = user.owned
        response = self.send(user, method, url, body)
        assert response.is_success, response.text
        user.owned = self.listed(user)
        new = user.owned.keys() - before.keys()
        assert new.isdisjoint(self.deleted)
        self.deleted += before.keys() - user.owned.keys()
        return response, [
            task_id
            for task_id in before.keys() | user.owned.keys()
            if before.get(task_id) != user.owned.get(task_id)
        ]

    # Each user's own

    @rule(who=people, operation=own, body=changes, pick=picks)
    def use_own(self, who: int, operation: Operation, body: dict[str, Any], pick: int) -> None:
        user = self.users[who]
        task_id = user.pick(pick)
        if task_id or not operation.item:
            body = {**(operation.body or {}), "title": user.mark, **body}
            body["description"] = user.mark + body.get("description", "")
            url = operation.url(("me", user.subject, user.id)[pick % 3], task_id)
            response, changed = self.act(user, operation.method, url, body)
            if operation.item:
                assert changed in ([], [task_id])
            elif operation.method == "PATCH":
                assert response.json() == {"updated": len(changed)}

    @rule(who=people, other=people, method=st.sampled_from(["GET", "PATCH", "DELETE"]))
    def search_for_the_text_of_another(self, who: int, other: int, method: str) -> None:
        user = self.users[who]
        url = f"{TASKS}?status=all&search={self.users[other].mark}"
        response, changed = self.act(user, method, url, {"completed": True})
        if who != other:
            assert response.json() in ([], {"updated": 0}, {"deleted": 0})
            assert changed == []
        elif method == "DELETE":
            assert response.json() == {"deleted": len(changed)}

    @rule(
        who=people,
        sort=st.sampled_from(["created_at", "updated_at"]),
        order=st.sampled_from(["asc", "desc"]),
        limit=st.integers(1, 3),
    )
    def list_own_by_pages(self, who: int, sort: str, order: str, limit: int) -> None:
        user = self.users[who]
        link: str | None = f"{TASKS}?sort={sort}&order={order}&limit={limit}"
        listed = []
        while link:
            response = self.send(user, "GET", link)
            listed += response.json()
            link = response.links.get("next", {}).get("url")
        assert {task["id"]: task for task in listed} == user.owned
        assert len(listed) == len(user.owned)

    @rule(who=people)
    def export_own(self, who: int) -> None:
        user = self.users[who]
        export = self.send(user, "GET", "/api/auth/me/export").json()
        expected = {"id": user.id, "email": user.email, "auth_subject": user.subject}
        assert export["account"].items() >= expected.items()
        assert {task["id"] for task in export["tasks"]} == user.owned.keys()

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
                response = self.send(user, operation.method, url, operation.body)
                assert_problem(response, 401)

    @rule(who=people, other=people)
    def use_the_cursor_of_another(self, who: int, other: int) -> None:
        if who != other:
            user, query = self.users[who], self.users[other].link.partition("?")[2]
            assert_problem(self.send(user, "GET", f"{TASKS}?{query}"), 400, "cursor")
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
            for name in (owner.subject, owner.id, MAX_ID - pick):
                for task_id in ids:
                    url = operation.url(name, task_id)
                    response = self.send(user, operation.method, url, body)
                    assert_problem(response, 403)
                    contents.add(content_of(response))
            assert len(contents) == 1

    @invariant()
    def each_user_sees_their_own_tasks_unchanged_and_no_other(self) -> None:
        for user in self.users:
            assert self.listed(user) == user.owned


@pytest.mark.slow
def test_no_sequence_of_requests_reaches_the_tasks_of_another_user(
    client: httpx.Client, key: SigningKey
) -> None:
    class Attack(Ownership):
        def __init__(self) -> None:
            super().__init__(client, key)

    run_state_machine_as_test(
        Attack,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # To shrink a failure takes minutes of requests; its steps are few as it is.
            phases=[Phase.generate],
        ),
    )
