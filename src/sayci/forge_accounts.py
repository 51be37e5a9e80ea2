"""Ties together what lets people in by their accounts at the forge: the store, the forge's client, and who looks again."""

from __future__ import annotations

import math
import random
import time
from typing import Any

from twisted.web.iweb import IAgent

from sayci.bus import Bus
from sayci.forge_people import ForgePeople
from sayci.forges.asking import Asking
from sayci.forges.github_accounts import Client, GitHubAccounts
from sayci.identity import ForgePlace
from sayci.options import ServerSettings
from sayci.sign_in import SignIn
from sayci.store.sql_store import SqlStore


def forge_people(
    settings: ServerSettings, store: SqlStore, sign_in: SignIn, bus: Bus, agent: IAgent, reactor: Any
) -> ForgePeople | None:
    """Who lets people in that way; None where the operator has said nothing of it."""
    given = settings.github
    if given is None:
        return None
    place = ForgePlace(settings.github_url, settings.github_api)
    client = Client(given.client_id, given.client_secret, given.scope)
    accounts = GitHubAccounts(place, client, Asking(agent, reactor), time.time)
    return ForgePeople(
        *(store, store.identities(place.url), accounts, place, sign_in, bus, reactor),
        wall=time.time,
        interval=given.recheck,
        random=random.random,
    )


async def start(people: ForgePeople | None, store: SqlStore) -> None:
    """Begin to look; where nobody looks, what the forge has said earlier does not hold.  Raises Unavailable."""
    if people is None:
        await store.identities("").lapse(math.inf)
    else:
        await people.start()
