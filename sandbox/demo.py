"""Demo data: a month of believable life, lived through the public API in a moved time.

`manage.py demo` starts the service on an empty database, with its clock a month back, and lets this be
its users: they sign up, pay in the sandbox, call, run campaigns and complain, day after day, until it is
today. Nothing is written past the API, so what is there is what the service would have written.
"""

import asyncio
import csv
import dataclasses
import datetime as dt
import io
import itertools
import json
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final
from unittest import mock

import httpx

from core import clock
from sandbox import demo_data
from sandbox.demo_data import PASSWORD, Person

DAYS: Final = 29  # an access token of the first day is valid for 30
_WAIT_SECONDS_MAX: Final = 180.0
_QUIET_SECONDS: Final = 0.7  # what the service has begun, it has done by then
_OVER: Final = ("settled", "released")
_DECLINED_CARDS: Final = ("4000 0000 0000 0002", "4000 0000 0000 9995")
_GOOD_CARD: Final = "4111 1111 1111 1111"


class CannotFill(Exception):
    """The demo data could not be made; the text says why."""


class MovedClock:
    """The clock of this process, moved; while it is entered, `clock.now` is what it says."""

    def __init__(self) -> None:
        self._real = clock.now
        self._ahead = dt.timedelta()
        self._patch = mock.patch.object(clock, "now", self.now)

    def __enter__(self) -> "MovedClock":
        self._patch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._patch.stop()

    def now(self) -> dt.datetime:
        """What time it is here."""
        return self._real() + self._ahead

    def go_to(self, moment: dt.datetime) -> None:
        """Make it that moment."""
        self._ahead = moment - self._real()

    def jump(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._ahead += dt.timedelta(seconds=seconds)

    def come_back(self) -> None:
        """The time of everybody again."""
        self._ahead = dt.timedelta()


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Somebody who is logged in."""

    id: str
    headers: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """How much life there is."""

    days: int = DAYS
    batches_a_day: int = 1
    contacts: int = 60
    waiting: int = 400  # contacts of the campaign that is still running


SMALL: Final = Scale(days=2, contacts=12, waiting=20)


class Demo:
    """One filling of a database."""

    def __init__(
        self,
        base_url: str,
        moved: MovedClock,
        admin: tuple[str, str],
        scale: Scale,
        tell: Callable[[str], None],
    ) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False)
        self._clock, self._scale = moved, scale
        self._admin_login, self._tell = admin, tell
        self._draw = random.Random(20_26)  # noqa: S311 - the same month every time
        self._keys = itertools.count(1)
        self._first_day = clock.ist_date(moved.now() - dt.timedelta(days=scale.days))
        self._people: dict[str, Account] = {}
        self.admin: Account
        self.second_admin: Account

    # --- the story ---

    async def fill(self) -> dict[str, int]:
        """Live the month; what there is of everything in the end. Raises CannotFill."""
        async with self._client:
            self._go_to(0, 9, 5)
            await self._open()
            for day in range(self._scale.days):
                await self._live(day)
            await self._end_of_month()
            self._clock.come_back()
            self._tell("  today")
            await self._today()
            return await self._count()

    async def _open(self) -> None:
        """The staff, and what calls cost."""
        self.admin = await self._log_in(*self._admin_login)
        self.second_admin = await self._hire(*demo_data.SECOND_ADMIN, role="admin")
        await self._hire(*demo_data.OPERATOR, role="operator")
        await self._upload_rates(demo_data.RATE_CARD, "Prices of the launch")

    async def _live(self, day: int) -> None:
        self._tell(f"  {self._first_day + dt.timedelta(days=day):%d %B}")
        self._go_to(day, 9, 30)
        for person in demo_data.PEOPLE:
            if person.day == day:
                await self._sign_up(person)
        await self._happen(day)
        for batch in range(self._scale.batches_a_day):
            self._go_to(day, self._draw.randrange(10, 17) + batch, self._draw.randrange(50))
            await self._call_around(day)
        if day % 3 == 2:
            self._go_to(day, 18, 0)
            await self._ask("POST", "/sandbox/settle", json={})

    async def _happen(self, day: int) -> None:
        """What happens on this day alone."""
        stories: dict[int, Callable[[], Any]] = {
            0: self._own_rate,
            1: self._first_campaign,
            5: self._goodwill,
            6: self._appointments,
            9: self._won_dispute,
            10: self._refund,
            12: self._wishes,
            14: self._cheaper,
            16: self._results_campaign,
            18: self._complaints,
            20: self._failed_refund,
            22: self._open_dispute,
            24: self._freeze,
            25: self._payment_in_review,
        }
        if day in stories:
            await stories[day]()

    # --- people ---

    async def _sign_up(self, person: Person) -> None:
        body = {
            "email": person.email,
            "password": PASSWORD,
            "name": person.name,
            "phone": person.phone,
        }
        browser = {"user-agent": person.browser}
        found = await self._ask("POST", "/api/auth/signup", json=body, headers=browser)
        self._people[person.email] = _account(found, browser)
        if person.recharge:
            self._clock.jump(self._draw.randrange(120, 900))
            await self._recharge(person, person.recharge)

    async def _log_in(self, email: str, password: str) -> Account:
        body = {"email": email, "password": password}
        return _account(await self._ask("POST", "/api/auth/login", json=body), {})

    async def _hire(self, name: str, email: str, *, role: str) -> Account:
        body = {"email": email, "name": name, "role": role, "password": f"{PASSWORD} first"}
        await self._ask("POST", "/api/admin/users", self.admin, json=body)
        begun = await self._log_in(email, body["password"])
        change = {"current_password": body["password"], "new_password": PASSWORD}
        await self._ask("POST", "/api/auth/change-password", begun, json=change)
        return await self._log_in(email, PASSWORD)

    def _who(self, email: str) -> Account:
        return self._people[f"{email}@example.com"]

    # --- money ---

    async def _recharge(self, person: Person, rupees: int) -> str | None:
        """Recharge in the sandbox, as people do: sometimes the first card is declined, sometimes it stays
        with that. The payment."""
        account = self._people[person.email]
        order = await self._ask(
            "POST", "/api/payment/create-order", account, json={"amount": rupees}
        )
        fate = self._draw.random()
        if fate < 0.3:
            declined = {"card_number": self._draw.choice(_DECLINED_CARDS)}
            await self._client.post(f"/sandbox/pay/{order['order_id']}", json=declined)
            self._clock.jump(40)
        if fate < 0.06:
            return None
        return await self._pay(account, order["order_id"])

    async def _pay(self, account: Account, order_id: str) -> str:
        paid = await self._ask("POST", f"/sandbox/pay/{order_id}", json={"card_number": _GOOD_CARD})
        proof = {name: value for name, value in paid.items() if name.startswith("razorpay_")}
        await self._ask("POST", "/api/payment/verify", account, json=proof)
        return str(paid["razorpay_payment_id"])

    async def _payment_of(self, email: str, rupees: int) -> str:
        """A payment of somebody, made now."""
        account = self._who(email)
        order = await self._ask(
            "POST", "/api/payment/create-order", account, json={"amount": rupees}
        )
        return await self._pay(account, order["order_id"])

    async def _refund(self) -> None:
        payment_id = await self._payment_of("lakshmi", 800)
        body = {"payment_id": payment_id, "amount": 500, "reason": "Recharged twice by mistake"}
        await self._once("POST", "/api/payment/refunds", self.admin, json=body)

    async def _failed_refund(self) -> None:
        for fault, email, rupees in (("refund_fails", "imran", 400), ("refund_slow", "rohan", 900)):
            payment_id = await self._payment_of(email, rupees)
            await self._ask("POST", "/sandbox/faults", json={"kind": fault})
            body = {"payment_id": payment_id, "amount": 300, "reason": "Asked for by e-mail"}
            await self._once("POST", "/api/payment/refunds", self.admin, json=body)
            self._clock.jump(60)
            await asyncio.sleep(0.5)

    async def _won_dispute(self) -> None:
        await self._dispute("asha", 600, "won")

    async def _open_dispute(self) -> None:
        await self._dispute("gurpreet", 350, "lost")
        await self._dispute("kavya", 700, None)

    async def _dispute(self, email: str, rupees: int, end: str | None) -> None:
        payment_id = await self._payment_of(email, rupees)
        self._clock.jump(3_600)
        path = f"/sandbox/payments/{payment_id}/disputes"
        found = await self._ask(
            "POST", path, json={"reason_code": "goods_or_services_not_received"}
        )
        await self._heard(found["id"], lambda dispute: dispute["state"] == "reserved")
        if end is not None:
            self._clock.jump(7_200)
            await self._ask("POST", f"/sandbox/disputes/{found['id']}", json={"status": end})
            await self._heard(found["id"], lambda dispute: dispute["state"] != "reserved")

    async def _heard(self, dispute_id: str, is_so: Callable[[dict[str, Any]], bool]) -> None:
        async def is_heard() -> bool:
            found = await self._ask("GET", "/api/admin/disputes", self.admin)
            return any(
                each["dispute_id"] == dispute_id and is_so(each) for each in found["disputes"]
            )

        await self._until(is_heard, f"dispute {dispute_id}")

    async def _payment_in_review(self) -> None:
        """A payment that is larger than its order: a person has to decide."""
        account = self._who("fatima")
        order = await self._ask("POST", "/api/payment/create-order", account, json={"amount": 750})
        await self._ask("POST", "/sandbox/faults", json={"kind": "fee_on_top"})
        paid = await self._ask(
            "POST", f"/sandbox/pay/{order['order_id']}", json={"card_number": _GOOD_CARD}
        )
        proof = {name: value for name, value in paid.items() if name.startswith("razorpay_")}
        await self._client.post("/api/payment/verify", json=proof, headers=account.headers)

    async def _own_rate(self) -> None:
        path = f"/api/admin/users/{self._who('asha').id}/call-rate"
        await self._ask("POST", path, self.admin, json={"rate": 0.95})

    async def _goodwill(self) -> None:
        await self._adjust("imran", "credit", 50, "Goodwill for the outage of Tuesday")
        await self._adjust("lakshmi", "debit", 12.5, "Call of 3 minutes was charged too little")

    async def _adjust(self, email: str, kind: str, rupees: float, reason: str) -> None:
        path = f"/api/admin/users/{self._who(email).id}/adjustments"
        body = {"type": kind, "amount": rupees, "reason": reason}
        await self._once("POST", path, self.admin, json=body)

    async def _cheaper(self) -> None:
        await self._upload_rates(
            demo_data.CHEAPER_RATE_CARD, "Cheaper from the middle of the month on"
        )

    async def _upload_rates(self, text: str, note: str) -> None:
        file = {"file": ("rates.csv", text.encode(), "text/csv")}
        await self._ask(
            "POST", "/api/admin/rate-cards", self.admin, files=file, data={"note": note}
        )

    async def _freeze(self) -> None:
        path = f"/api/admin/users/{self._who('harish').id}/freeze"
        await self._ask("POST", path, self.admin, json={"reason": "Reported a stolen card"})

    # --- calls ---

    async def _call_around(self, day: int) -> None:
        """Everybody calls a few people; who has too little money recharges first."""
        placed = 0
        for person in demo_data.PEOPLE:
            if person.email not in self._people or not person.calls:
                continue
            for _ in range(self._draw.randrange(person.calls + 1)):
                placed += await self._call(person, day)
        if placed:
            await self._let_them_end(placed)

    async def _call(self, person: Person, day: int) -> int:
        account = self._people[person.email]
        body = {"to": self._number(), "message": person.says, "simulate": self._scenario()}
        answer = await self._client.post("/api/call", json=body, headers=account.headers)
        if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
            if answer.json()["code"] == "insufficient_balance" and day % 4 != 3:
                await self._recharge(person, person.recharge)
            return 0
        _require(answer)
        self._clock.jump(self._draw.uniform(0.5, 6))
        return 1

    def _scenario(self) -> dict[str, Any]:
        outcome = self._draw.choices(("completed", "no_answer", "busy", "failed"), (70, 17, 10, 3))[
            0
        ]
        seconds = round(self._draw.triangular(8, 190, 45))
        # In real time: it rings as long as people do.
        return {
            "outcome": outcome,
            "duration_seconds": seconds,
            "wall_seconds": round(seconds / 0.7, 1),
        }

    def _number(self) -> str:
        start = self._draw.choice(("98", "99", "97", "94"))
        return f"+91{start}{self._draw.randrange(10**8):08d}"

    async def _let_them_end(self, count: int) -> None:
        """Let the time pass until the newest calls are over and paid."""

        async def are_dialled() -> bool:
            return not await self._is_dialling()

        async def are_over() -> bool:
            return all(call["billing_status"] in _OVER for call in await self._calls(count))

        await self._until(are_dialled, "dialling")
        await asyncio.sleep(_QUIET_SECONDS)
        self._clock.jump(290)
        await self._until(are_over, "the end of the calls")

    async def _is_dialling(self) -> bool:
        """Whether the network is being asked for a call: time must not jump in between."""
        for status in ("created", "submitting"):
            if (await self._ask("GET", f"/api/calls?status={status}&limit=1", self.admin))["calls"]:
                return True
        return False

    async def _calls(self, count: int) -> list[dict[str, Any]]:
        found = await self._ask("GET", f"/api/calls?limit={min(count, 200)}", self.admin)
        calls: list[dict[str, Any]] = found["calls"]
        return calls

    # --- campaigns ---

    async def _first_campaign(self) -> None:
        options = {"message": "Rao Diagnostics: free sugar test for all above 40, this Sunday."}
        await self._whole_campaign("asha", "Free sugar test", **options)

    async def _appointments(self) -> None:
        options = {
            "message": "Namaste {{name}}, your appointment is tomorrow. Press 1 to confirm, 9 to stop.",
            "keys": {"1": "confirm", "9": "stop"},
            "machine_detection": "report",
        }
        await self._whole_campaign("asha", "Appointments of the week", **options)

    async def _results_campaign(self) -> None:
        options = {
            "message": "नमस्ते, मेहता क्लासेस: परीक्षा का परिणाम आ गया है।",
            "language": "hi-IN",
            "budget": 12,
        }
        await self._whole_campaign("rohan", "Results of the mock test", **options)

    async def _whole_campaign(self, email: str, name: str, **options: Any) -> None:
        """A campaign from its list to its end, or to where its budget ends."""
        campaign = await self._upload_list(email, name, self._scale.contacts, **options)
        path = f"/api/campaigns/{campaign['campaign_id']}"

        before: list[Any] = []

        async def is_over() -> bool:
            found = await self._ask("GET", path, self.admin)
            if found["status"] not in ("running", "importing"):
                return True
            now = [found["counts"], await self._is_dialling()]
            if now != before or now[1]:
                before[:] = now
                await asyncio.sleep(_QUIET_SECONDS)
                return False
            before.clear()
            self._clock.jump(120 if found["counts"]["in_call"] else 300)
            await asyncio.sleep(_QUIET_SECONDS)
            return False

        await self._until(is_over, f"the campaign {name}")

    async def _upload_list(
        self, email: str, name: str, contacts: int, **options: Any
    ) -> dict[str, Any]:
        simulate = {
            "outcome": "mixed",
            "duration_seconds": 80,
            "wall_seconds": 114,
            "press_key": "1",
        }
        retry = {
            "max_attempts": 2,
            "delays_minutes": {"busy": [15], "no_answer": [30], "failed": [5]},
        }
        given = {"purpose": "service", "simulate": simulate, "retry": retry, "max_concurrent": 80}
        given |= options
        fields = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in given.items()
        }
        file = {"file": (f"{name.lower().replace(' ', '-')}.csv", self._list(contacts), "text/csv")}
        account = self._who(email)
        made: dict[str, Any] = await self._ask(
            "POST", "/api/campaigns/upload", account, files=file, data={"name": name, **fields}
        )

        async def is_read() -> bool:
            found = await self._ask("GET", f"/api/campaigns/{made['campaign_id']}", account)
            return bool(found["status"] != "importing")

        await self._until(is_read, f"the list of {name}")
        return made

    def _list(self, count: int) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("name", "phone", "city"))
        for place in range(count):
            first, last = (
                self._draw.choice(names) for names in (demo_data.FIRST_NAMES, demo_data.LAST_NAMES)
            )
            city = self._draw.choice(
                ("Bengaluru", "Chennai", "Delhi", "Hyderabad", "Mumbai", "Pune")
            )
            writer.writerow((f"{first} {last}", self._number(), city))
            if place < len(demo_data.BAD_ROWS):
                writer.writerow((*demo_data.BAD_ROWS[place], city))
        return text.getvalue().encode()

    # --- who does not want to be called ---

    async def _wishes(self) -> None:
        for email, source in (("asha", "by telephone"), ("asha", "e-mail"), ("rohan", "manual")):
            numbers = [self._number() for _ in range(4)]
            body = {"numbers": numbers, "source": source, "note": "Asked not to be called"}
            await self._ask("POST", "/api/do-not-call", self._who(email), json=body)
        body = {
            "numbers": [self._number(), self._number()],
            "list": "platform",
            "source": "regulator",
        }
        await self._ask("POST", "/api/do-not-call", self.admin, json=body)

    async def _complaints(self) -> None:
        calls = (await self._ask("GET", "/api/calls?limit=40&status=completed", self.admin))[
            "calls"
        ]
        for call, text in zip(
            calls[::9], ("Called at lunch time", "I never gave my number"), strict=False
        ):
            body = {
                "number": call["to"],
                "source": "e-mail",
                "text": text,
                "user_id": call["user_id"],
            }
            await self._ask("POST", "/api/complaints", self.admin, json=body)

    # --- until now ---

    async def _end_of_month(self) -> None:
        """What waits for somebody today."""
        self._go_to(self._scale.days - 1, 18, 30)
        await self._adjust("asha", "credit", 6_000, "Refund of the annual plan, agreed by e-mail")
        order = {"amount": 1_500}
        await self._ask("POST", "/api/payment/create-order", self._who("imran"), json=order)

    async def _today(self) -> None:
        """Campaigns in every state; the running one goes on when the service is started."""
        tomorrow = clock.now() + dt.timedelta(days=1)
        says = {"message": "Rao Diagnostics: your yearly check is due. Press 1 and we call back."}
        slow = {"keys": {"1": "call_back"}, "max_concurrent": 4}
        running = await self._upload_list(
            "asha", "Yearly checks", self._scale.waiting, **says, **slow
        )
        paused = await self._upload_list("imran", "Monsoon service", 80, max_concurrent=2)
        await self._upload_list("imran", "Battery check", 60, start=False)
        await self._upload_list("asha", "Reminder of tomorrow", 45, start_at=clock.iso(tomorrow))
        path = f"/api/campaigns/{running['campaign_id']}"

        async def has_begun() -> bool:
            found = await self._ask("GET", path, self.admin)
            return bool(found["counts"].get("in_call"))

        await self._until(has_begun, "the running campaign")
        await self._ask("POST", f"/api/campaigns/{paused['campaign_id']}/pause", self._who("imran"))

    async def _count(self) -> dict[str, int]:
        """What there is; raises CannotFill when the books are not right."""
        report = await self._ask("GET", "/api/admin/audit", self.admin)
        if not report["ok"]:
            raise CannotFill(f"the books are not right: {report['violations'][:3]}")
        people = await self._ask("GET", "/api/admin/users?limit=100", self.admin)
        return {"users": len(people["users"]), "entries": report["entries"]}

    # --- requests ---

    def _go_to(self, day: int, hour: int, minute: int) -> None:
        """Make it that time of that day in India; never back."""
        start = clock.ist_day_start(self._first_day + dt.timedelta(days=day))
        moment = start + dt.timedelta(hours=hour, minutes=minute)
        if day == 0 or moment > self._clock.now():
            self._clock.go_to(moment)

    async def _once(self, method: str, path: str, account: Account, **options: Any) -> Any:
        key = {"Idempotency-Key": f"demo-{next(self._keys)}"}
        return await self._ask(method, path, account, headers=key, **options)

    async def _ask(
        self, method: str, path: str, account: Account | None = None, **options: Any
    ) -> Any:
        headers = {**(account.headers if account else {}), **options.pop("headers", {})}
        answer = await self._client.request(method, path, headers=headers, **options)
        _require(answer)
        return answer.json() if answer.content else None

    async def _until(self, question: Callable[[], Any], what: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _WAIT_SECONDS_MAX
        while not await question():
            if loop.time() > end:
                raise CannotFill(f"{what} took too long")
            await asyncio.sleep(0.15)


def greeting(admin: tuple[str, str], counts: dict[str, int], seconds: float) -> list[str]:
    """What there is now, and who may log in."""
    staff = ((*demo_data.SECOND_ADMIN, "second admin"), (*demo_data.OPERATOR, "operator"))
    people = [(each.name, each.email, "") for each in demo_data.PEOPLE]
    return [
        f"{counts['users']} users, {counts['entries']} entries in {seconds:.0f} s; the books are right.",
        "",
        f"  {admin[0]:<24}{admin[1]:<24}first admin (ADMIN_* in .env)",
        *(
            f"  {email:<24}{PASSWORD:<24}{name} {what}".rstrip()
            for name, email, what in (*staff, *people)
        ),
        "",
        "  ./setup_wallet.sh run starts the service; one campaign goes on by itself.",
    ]


def _account(admission: dict[str, Any], headers: dict[str, str]) -> Account:
    token = {"Authorization": f"Bearer {admission['access_token']}"}
    return Account(admission["user"]["id"], headers | token)


def _require(answer: httpx.Response) -> None:
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        asked = f"{answer.request.method} {answer.request.url.path}"
        raise CannotFill(f"{asked} was answered {answer.status_code}: {answer.text[:300]}")
