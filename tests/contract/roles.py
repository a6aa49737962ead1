"""Who asks in the generated requests, and what each of them has, so that there is something to find."""

from auth.api_keys import SCOPES
from core import config
from tests.contract.generated import Plan
from tests.support.service import Service, new_key, test_settings

NUMBER = "+919876543210"


def settings(mongodb_uri: str) -> config.Settings:
    """Settings that count nobody's requests."""
    return test_settings(
        mongodb_uri,
        login_attempts_per_minute=1_000_000,
        unpaid_orders_per_hour=1_000_000,
        unpaid_orders_per_day=1_000_000,
        payment_lookups_per_minute=1_000_000,
    )


async def people(service: Service) -> dict[str, dict[str, str]]:
    """The headers of each role; users and admins have money, an order, a call and a campaign, and a
    key is a user's, with every scope that a user's may have."""
    admin, user, operator = await service.admin(), await service.signup(), await service.operator()
    for person in (admin, user):
        await service.fund(person, 1_000)
        for path, body in (
            ("/api/payment/create-order", {"amount": 100}),
            ("/api/call", {"to": NUMBER, "message": "Hello"}),
            ("/api/campaigns", {"name": "Diwali", "numbers": [NUMBER], "start": False}),
        ):
            answer = await service.post(path, person, json=body, headers=new_key())
            assert answer.status_code in (201, 202), answer.text
    wanted = {"name": "CRM", "scopes": [scope for scope in SCOPES if scope != "admin:read"]}
    made = await service.post("/api/api-keys", user, json=wanted)
    assert made.status_code == 201, made.text
    return {
        "nobody": {},
        "user": user.headers,
        "operator": operator.headers,
        "key": {"Authorization": f"Bearer {made.json()['key']}"},
        "admin": admin.headers,
    }


def plans(people: dict[str, dict[str, str]], *, examples: int, seed: int) -> list[Plan]:
    """Every edge of the schema as one role, and random and connected requests as each."""
    roles = list(people)
    of_edges = roles[-seed % len(roles)]
    found = [
        Plan(role=of_edges, headers=people[of_edges], phases=("coverage",), examples=1, seed=seed)
    ]
    found += [
        Plan(
            role=role,
            headers=headers,
            phases=("examples", "fuzzing", "stateful"),
            examples=examples,
            seed=seed + number,
        )
        for number, (role, headers) in enumerate(people.items(), 1)
    ]
    return found
