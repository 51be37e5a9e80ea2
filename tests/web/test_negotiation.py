"""negotiation.py: which of the offered forms a request likes best (RFC 9110, 12.5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayci.web.negotiation import EVENTS, FORMS, HTML, JSON, preferred

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    (
        ("", HTML),
        ("*/*", HTML),  # curl
        (CHROMIUM, HTML),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", HTML),
        ("application/json", JSON),
        ("Application/JSON; charset=UTF-8", JSON),
        ('application/json;charset="utf-8"', JSON),
        ("application/json, text/plain, */*", JSON),  # axios: what is named counts more than what is let through
        ("application/*", JSON),
        ("text/*;q=0.3, application/json;q=0.7", JSON),
        ("application/json;q=0.5, text/html", HTML),
        ("application/json, text/html", HTML),
        ("text/html;q=0, */*", EVENTS),
        ("text/html;q=0, text/event-stream;q=0, */*", JSON),
        ("text/event-stream", EVENTS),
        ("text/*;q=0.5, text/html;q=0.2, */*;q=0.1", EVENTS),  # the closest range counts alone
        ("application/json, text/event-stream;q=0.9", JSON),
        ("image/png", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("application/json;version=2", HTML),  # nothing that can be taken is left of it: all is welcome
        ("application/json;version=2, image/png", None),
        ("application/json;q=2, image/png", None),
        ("nonsense", HTML),
        (",,;q=1,", HTML),
        ("text/html;q=0.123, application/json;q=0.124", JSON),
        ("application/json ; Q=0.2 , text/html ; q=0.1", JSON),
    ),
)
def test_the_form_that_is_liked_best(accept, form):
    assert preferred(accept, FORMS) == form


WEIGHTS = st.integers(0, 1000).map(lambda number: number / 1000)


@given(st.dictionaries(st.sampled_from([*FORMS, "text/*", "application/*", "*/*"]), WEIGHTS))
def test_what_is_chosen_is_accepted_and_nothing_that_is_named_weighs_more(weights):
    form = preferred(", ".join(f"{name};q={weight:g}" for name, weight in weights.items()), FORMS)

    def weight_of(name):
        ranges = (name, name.partition("/")[0] + "/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0 if weights else 1.0)

    best = max(map(weight_of, FORMS))
    assert (form is None) == (best == 0.0)
    assert form is None or weight_of(form) == best


@given(st.text(max_size=300))
def test_whatever_is_sent_is_looked_at(accept):
    assert preferred(accept, FORMS) in (*FORMS, None)
