"""Tests of the task endpoints."""

from tests.support.service import Person


def test_a_stranger_sees_404_not_403_for_a_task_under_their_own_path(
    alice: Person, bob: Person
) -> None:
    task = alice.create(title="mine")
    assert bob.tasks("GET", task["id"]).status_code == 404
    assert alice.tasks("GET", task["id"]).json() == task
