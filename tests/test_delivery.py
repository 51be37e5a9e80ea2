"""delivery.py: a webhook as it came."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from sayci.delivery import BODY_LIMIT, Accepted, Delivery, Message, NewDelivery, Verdict
from tests.factories import a_change, a_delivery, new_delivery


def test_the_largest_body_is_githubs():
    assert BODY_LIMIT == 25 * 1024 * 1024


def test_verdicts_are_the_words_of_the_api_and_the_database():
    assert [verdict.value for verdict in Verdict] == ["received", "built", "ignored", "superseded", "failed"]


@pytest.mark.parametrize("value", (new_delivery(), a_delivery(), Message("push"), Accepted(a_delivery(), fresh=True)))
def test_a_delivery_does_not_change(value):
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)


def test_a_body_is_not_printed_by_the_way():
    assert "swordfish" not in repr(new_delivery(body=b"swordfish"))


def test_a_kept_delivery_is_told_from_a_new_one_by_what_it_has_come_to():
    names = {field.name for field in fields(Delivery)} - {field.name for field in fields(NewDelivery)}
    assert names == {"id", "build_number", "size"}


def test_a_message_has_a_change_or_an_explanation():
    assert Message("push", a_change()).explanation == ""
    assert Message("ping", explanation="Hello.").change is None


def test_deliveries_with_the_same_fields_are_equal():
    assert a_delivery() == a_delivery()
    assert a_delivery(id=1) != a_delivery(id=2)
