"""Requests that schemathesis generates from our OpenAPI, and what is wrong with their answers.

A process of its own (`ask`): Hypothesis notices randomness that another thread uses, and the service
is then not slowed down by who attacks it.
"""

import asyncio
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.config import CacheConfig
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished

# What is refused although its schema allows it is documented, so `positive_data_acceptance` is not among
# them: no schema says that a cursor is ours, that a number exists or that an amount has two decimals.
# Methods and `Allow` are those of tests/api/test_problems.py.
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "use_after_free",
)
# Its answer ends after an hour.
NEVER_ENDS = "/api/events/stream"
# They end the session of the one who asks.
ENDS_SESSIONS = (
    "/api/auth/logout",
    "/api/auth/change-password",
    "/api/auth/sessions",
    "/api/auth/sessions/{session_id}",
    "/api/admin/users/{user_id}/sessions",
    "/api/api-keys/{key_id}",
    "/api/api-keys/{key_id}/rotate",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: who asks, and how much."""

    role: str
    headers: dict[str, str]
    phases: tuple[str, ...]
    examples: int
    seed: int


@dataclasses.dataclass(slots=True)
class Outcome:
    """How many requests there were, what they were answered with (by role and status), and what is
    wrong, with what was sent."""

    requests: int = 0
    answers: Counter[str] = dataclasses.field(default_factory=Counter)
    complaints: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        """Take in what another run found."""
        self.requests += other.requests
        self.answers.update(other.answers)
        self.complaints = other.complaints | self.complaints

    def look_at(self, role: str, event: ScenarioFinished) -> None:
        """Count the answers of a scenario, and note each of its failures once."""
        recorder = event.recorder
        for interaction in recorder.interactions.values():
            self.requests += 1
            if interaction.response is not None:
                self.answers[f"{role} {interaction.response.status_code}"] += 1
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.status != Status.SUCCESS and check.failure_info is not None:
                    failure = check.failure_info.failure
                    name = (
                        f"{recorder.label}: {check.name}: {failure.title}: {failure.message[:200]}"
                    )
                    self.complaints.setdefault(
                        name, _sent(recorder.interactions.get(case_id), role)
                    )


def _sent(interaction: Any, role: str) -> str:
    if interaction is None:
        return role
    asked, answer = interaction.request, interaction.response
    said = "no answer" if answer is None else f"{answer.status_code} {answer.content[:300]!r}"
    return f"{role}: {asked.method} {asked.uri[:300]} {(asked.body or b'')[:300]!r}\n    -> {said}"


def run(plan: Plan, described: Mapping[str, Any], base_url: str) -> Outcome:
    """Send the requests of a plan."""
    config = schemathesis.Config(seed=plan.seed, cache=CacheConfig(enabled=False))
    schema: Any = schemathesis.openapi.from_dict(dict(described), config=config)
    if plan.headers:
        schema = schema.exclude(path=[*ENDS_SESSIONS, NEVER_ENDS])
    schema.config.update(
        base_url=base_url, headers=plan.headers, continue_on_failure=True, request_timeout=60
    )
    schema.config.checks.update(
        included_check_names=list(CHECKED),
        excluded_check_names=[name for name in CHECKS.get_all_names() if name not in CHECKED],
    )
    schema.config.phases.update(phases=list(plan.phases))
    schema.config.generation.update(max_examples=plan.examples, no_shrink=True, database="none")
    outcome = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, ScenarioFinished):
            outcome.look_at(plan.role, event)
        elif isinstance(event, NonFatalError):
            outcome.complaints[f"schemathesis: {event.label}"] = f"{plan.role}: {event.value}"
    return outcome


def told(complaints: Mapping[str, str]) -> str:
    """Every complaint with what was sent, for a failure of a test."""
    return "\n".join(f"- {name}\n    {sent}" for name, sent in sorted(complaints.items()))


async def ask(base_url: str, plans: Sequence[Plan]) -> Outcome:
    """Carry out the plans in another process, one after the other."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, base_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        written = json.dumps([dataclasses.asdict(plan) for plan in plans]).encode()
        said, _ = await process.communicate(written)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"the generator ended with {process.returncode}"
    found = json.loads(said.splitlines()[-1])
    return Outcome(found["requests"], Counter(found["answers"]), found["complaints"])


def main() -> None:
    """Read plans from the standard input, and write what came of them as the last line."""
    base_url = sys.argv[1]
    described = httpx.get(f"{base_url}/openapi.json", timeout=60).json()
    found = Outcome()
    for plan in json.load(sys.stdin):
        found.add(run(Plan(**plan), described, base_url))
    shown = {"requests": found.requests, "answers": found.answers, "complaints": found.complaints}
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
