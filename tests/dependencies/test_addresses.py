"""Tests of whose an e-mail address is: it belongs to the subject that proved it last."""

from collections.abc import Callable
from itertools import permutations
from uuid import uuid4

import httpx
import pytest

from tests.support.service import at_once
from tests.support.tokens import SigningKey

Event = tuple[str, str, bool]
"""A subject, an address, and whether the token says that it is verified; "" signs up."""
Send = Callable[[str, Event], httpx.Response]

OWNER, AGAIN = ("owner", "a", True), ("again", "a", True)
EVENTS: list[Event] = [
    ("", "a", False),
    ("attacker", "a", False),
    ("attacker", "b", True),
    OWNER,
    AGAIN,
]


class Model:
    """The rules in a few lines."""

    def __init__(self) -> None:
        self.addresses: dict[str, str | None] = {}
        """The address of each account, by its subject; "sign-up" has none."""

    def holder(self, address: str) -> str | None:
        return next((name for name, held in self.addresses.items() if held == address), None)

    def apply(self, event: Event) -> int:
        """Return the status that the event is answered with."""
        subject, address, is_verified = event
        holder = self.holder(address)
        if not subject:
            if holder is not None:
                return 409
            self.addresses["sign-up"] = address
            return 201
        is_known = subject in self.addresses
        if holder not in {None, subject} and not is_verified:
            return 200 if is_known else 403
        if not is_known and holder == "sign-up":
            del self.addresses["sign-up"]
        elif holder is not None:
            self.addresses[holder] = None
        if not is_known or is_verified or self.addresses[subject] is None or holder == subject:
            self.addresses[subject] = address
        return 200


@pytest.fixture
def send(client: httpx.Client, key: SigningKey) -> Send:
    """Carry out an event, with names that no other test has; a token may have no address."""

    def send(run: str, event: Event) -> httpx.Response:
        subject, address, is_verified = event
        email = f"{address}-{run}@example.com" if address else None
        if not subject:
            body = {"email": email, "password": "a password of some length"}
            return client.post("/api/auth/signup", json=body)
        token = key.token(sub=f"{subject}-{run}", email=email, emailVerified=is_verified)
        return client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})

    return send


@pytest.mark.slow
def test_every_order_of_the_events_ends_as_the_rules_say(send: Send) -> None:
    # "owner" and "again" differ in their names alone.
    for order in (each for each in permutations(EVENTS) if each.index(OWNER) < each.index(AGAIN)):
        run, model = uuid4().hex, Model()
        for event in order:
            response = send(run, event)
            assert response.status_code == model.apply(event), (order, event, response.text)
        for subject in model.addresses.keys() - {"sign-up"}:
            email = send(run, (subject, "", False)).json()["email"]
            assert (email and email.partition("-")[0]) == model.addresses[subject], order


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_of_all_of_them_at_once_none_fails_and_the_last_to_prove_it_has_the_address(
    send: Send, number: int
) -> None:
    run, events = uuid4().hex, [*EVENTS, *EVENTS[number:]] * 2
    responses = at_once(len(events), lambda n: send(run, events[n]))
    for event, response in zip(events, responses, strict=True):
        allowed: set[int] = {201, 409} if not event[0] else {200} if event[2] else {200, 403}
        assert response.status_code in allowed, (event, response.text)
    # A subject that is remembered is looked up again after a minute; this one is new.
    assert send(run, ("last", "a", True)).json()["email"] == f"a-{run}@example.com"
