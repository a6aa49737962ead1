"""A database that release 0.2.1 wrote, as a file: how it is written, read, and asked about.

It imports nothing of the product, so it says the same whatever the product becomes.

Times. MongoDB removes events after 90 days, simulated calls after 30, and a reconciliation looks back
three days, so a database that stays as it was written cannot be opened a year later. `read` therefore
moves every moment in the file by the same whole number of seconds, so that the database was written
`AGE_SECONDS` ago, and every day in India that is kept as text to the day that it then is. The ledger's
hashes cover the time of the entries; they are made anew as `docs/money.md` describes, and a test holds
that without a move these are the hashes that 0.2.1 wrote. The address of the service, which calls keep
for their network's callbacks, is put in the place of the one it was written at.
"""

import asyncio
import dataclasses
import datetime as dt
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from bson import json_util
from bson.codec_options import CodecOptions
from pymongo import IndexModel, MongoClient
from pymongo.database import Database

Document = dict[str, Any]

FOLDER = Path(__file__).resolve().parent
AGE_SECONDS = 60
INDIA = ZoneInfo("Asia/Kolkata")

# Integers stay 32 or 64 bits wide, and times are readable.
_FORM = json_util.JSONOptions(
    json_mode=json_util.JSONMode.LEGACY,
    strict_number_long=True,
    datetime_representation=json_util.DatetimeRepresentation.ISO8601,
    tz_aware=True,
)
_MOMENT = re.compile(r"(?<!\d)(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)")
# What is farther away is no moment of this database: the first and the last day of a price, for example.
_DAYS_MAX = 60

# --- what is kept -------------------------------------------------------------------------------


@dataclasses.dataclass
class Question:
    """A request that changes nothing. A list is asked for page by page, up to its end.

    `leave_out`: members whose values depend on the moment of asking.
    """

    who: str
    path: str
    method: str = "GET"
    body: Document | None = None
    leave_out: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Snapshot:
    """A database of the service with the sandbox's, and what is known about it."""

    about: Document
    databases: dict[str, dict[str, Document]]

    @property
    def documents(self) -> dict[str, list[Document]]:
        """The documents of the service's collections."""
        return {name: kept["documents"] for name, kept in self.databases["service"].items()}


# --- writing ------------------------------------------------------------------------------------


def dump(database: Database[Document]) -> dict[str, Document]:
    """Every collection: its options (the validator), its indexes, its documents."""
    found = {}
    aware = CodecOptions[Document](tz_aware=True)
    for info in sorted(database.list_collections(), key=lambda each: str(each["name"])):
        name = info["name"]
        found[name] = {
            "options": info.get("options", {}),
            "indexes": [dict(index) for index in database[name].list_indexes()],
            "documents": list(database.get_collection(name, codec_options=aware).find()),
        }
    return found


def write(name: str, snapshot: Snapshot) -> int:
    """Keep it as `<name>.json.gz`; how many bytes that are."""
    text = json_util.dumps(dataclasses.asdict(snapshot), json_options=_FORM, sort_keys=False)
    file = FOLDER / f"{name}.json.gz"
    file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return file.stat().st_size


# --- reading ------------------------------------------------------------------------------------


def read(name: str, *, port: int, now: dt.datetime | None = None) -> Snapshot:
    """The file, as if written `AGE_SECONDS` before `now` at that port; as it was without `now`."""
    text = gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()).decode()
    about = json.loads(text)["about"]
    text = text.replace(f"127.0.0.1:{about['port']}", f"127.0.0.1:{port}")
    if now is not None:
        text = _moved(text, about, now)
    found = json_util.loads(text, json_options=_FORM)
    snapshot = Snapshot(found["about"], found["databases"])
    if now is not None:
        _chain_anew(snapshot.documents)
    return snapshot


def _moved(text: str, about: Document, now: dt.datetime) -> str:
    began, ended = (dt.datetime.fromisoformat(about[name]) for name in ("began_at", "ended_at"))
    shift = _seconds_between(ended, now - dt.timedelta(seconds=AGE_SECONDS))
    if (began + shift).astimezone(INDIA).date() != (ended + shift).astimezone(INDIA).date():
        # It was written on one day in India: then it ends just before the last midnight.
        midnight = dt.datetime.combine((ended + shift).astimezone(INDIA), dt.time(), INDIA)
        shift = _seconds_between(ended, midnight - dt.timedelta(seconds=2))

    def moment(found: re.Match[str]) -> str:
        at = dt.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
        if abs(at - ended) > dt.timedelta(days=_DAYS_MAX):
            return found[0]
        return (at + shift).strftime("%Y-%m-%dT%H:%M:%S")

    day, day_now = (at.astimezone(INDIA).date().isoformat() for at in (ended, ended + shift))
    return re.sub(rf"(?<!\d){day}(?![\dT])", day_now, _MOMENT.sub(moment, text))


def _seconds_between(earlier: dt.datetime, later: dt.datetime) -> dt.timedelta:
    """In whole seconds: Razorpay's times are."""
    return dt.timedelta(seconds=int((later - earlier).total_seconds()))


_HASHED = [
    "prev_hash",
    "user_id",
    "seq",
    "type",
    "category",
    "amount_paise",
    "balance_after_paise",
    "contra",
    "key",
    "description",
    "call_id",
    "campaign_id",
    "order_id",
    "payment_id",
    "refund_id",
]


def hash_of(entry: Document) -> str:
    """The hash of a ledger entry, as `docs/money.md` describes it."""
    at = entry["created_at"].astimezone(dt.UTC)
    time = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    text = json.dumps([entry[name] for name in _HASHED] + [time], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _chain_anew(documents: dict[str, list[Document]]) -> None:
    """The entries have other times now: each gets the hash of what it says, and names the one before."""
    head: dict[str, str] = {}
    for entry in sorted(documents["transactions"], key=lambda each: int(each["seq"])):
        user_id = entry["user_id"]
        entry["prev_hash"] = head.get(user_id, "0" * 64)
        entry["hash"] = head[user_id] = hash_of(entry)
    for wallet in documents["wallets"]:
        wallet["head_hash"] = head.get(wallet["user_id"], "0" * 64)


def load(snapshot: Snapshot, mongodb_uri: str, name: str) -> None:
    """Make the databases `name` and `name`_sandbox, with the validators and indexes of 0.2.1."""
    with MongoClient[Document](mongodb_uri) as client, ThreadPoolExecutor(8) as threads:
        loading = [
            threads.submit(_load_collection, client[database], collection, kept)
            for kind, database in (("service", name), ("sandbox", f"{name}_sandbox"))
            for collection, kept in snapshot.databases[kind].items()
        ]
        for each in loading:
            each.result()


def _load_collection(database: Database[Document], name: str, kept: Document) -> None:
    made = database.create_collection(name, **kept["options"])
    if models := [model for index in kept["indexes"] if (model := _model(index))]:
        made.create_indexes(models)
    if kept["documents"]:
        made.insert_many(kept["documents"])


def _model(index: Mapping[str, Any]) -> IndexModel | None:
    if index["name"] == "_id_":
        return None
    options = {name: value for name, value in index.items() if name not in ("v", "key")}
    return IndexModel(list(index["key"].items()), **options)


# --- asking -------------------------------------------------------------------------------------


class ApiClient:
    """The requests of the people of a snapshot to a running service."""

    def __init__(self, client: httpx.AsyncClient, tokens: dict[str, str] | None = None) -> None:
        self.client = client
        self.tokens = {} if tokens is None else tokens
        self.ids: dict[str, str] = {}

    def admit(self, who: str, admission: Document) -> None:
        """From now on `who` is whom this answer to a sign-up or a log-in admitted."""
        self.ids[who] = admission["user"]["id"]
        self.tokens[who] = admission["access_token"]

    async def log_in(self, people: dict[str, Document]) -> None:
        """Log all of them in with their passwords."""

        async def enter(who: str, person: Document) -> None:
            body = {name: person[name] for name in ("email", "password")}
            self.admit(who, await self.done("", "POST", "/api/auth/login", json=body))

        await asyncio.gather(*(enter(who, person) for who, person in people.items()))

    async def send(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        """One request of somebody; of nobody when `who` is empty."""
        headers = options.pop("headers", {})
        if who:
            headers = {"Authorization": f"Bearer {self.tokens[who]}", **headers}
        return await self.client.request(method, path, headers=headers, **options)

    async def done(self, who: str, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer to a request that has to succeed."""
        answer = await self.send(who, method, path, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def answer(self, question: Question) -> Document:
        """The status and the pages of the answer; what is left out is not in them."""
        pages: list[Any] = []
        cursor = None
        while True:
            more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
            url = httpx.URL(question.path).copy_merge_params(more)
            answer = await self.send(question.who, question.method, str(url), json=question.body)
            if "json" not in answer.headers.get("content-type", ""):
                pages.append(answer.text)
                break
            page = answer.json()
            cursor = page.get("next_cursor")
            if "next_cursor" in page:  # opaque: that there is one, or none, is what counts
                page["next_cursor"] = cursor is not None
            pages.append(_without(page, set(question.leave_out)))
            if cursor is None:
                break
        return {"status": answer.status_code, "pages": pages}


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, names) for k, v in value.items() if k not in names}
    if isinstance(value, list):
        return [_without(each, names) for each in value]
    return value
