"""Uploaded lists: previews, refused rows, and large lists that are read by a job."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from campaigns import creation, imports
from campaigns.contact_import import RejectedContact
from campaigns.contacts import NewContact
from campaigns.records import NewCampaign
from compliance import do_not_call
from core import database
from tests.support import calls as calling
from tests.support.campaigns import act, nothing_of, shown, upload
from tests.support.service import Person, Service, running
from tests.support.service import test_settings as settings_of_tests

Rows = Sequence[NewContact]
Refused = Sequence[RejectedContact]
LIST = (
    "name,phone,city\n"
    "Asha,9876543210,Pune\n"
    "Ravi,12345,Goa\n"
    "Asha again,+91 98765 43210,Pune\n"
    '"Rao, M",9812345678,Delhi\n'
    "Nobody,,Agra\n"
)


@pytest.fixture(scope="module")
async def service(mongodb_uri: str) -> AsyncIterator[Service]:
    """One service for all tests of this file; each test has users of its own."""
    async with running(settings_of_tests(mongodb_uri, signups_per_hour=100_000)) as started:
        yield started


@pytest.fixture
async def person(service: Service) -> Person:
    someone = await service.signup()
    await service.fund(someone, 1_000)
    return someone


@pytest.fixture
def as_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is large, and what fails is begun again at once."""
    monkeypatch.setattr(imports, "FILE_BYTES_WAITED_FOR", 0)
    monkeypatch.setattr(imports, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(imports, "_CHUNKS_PER_PROGRESS", 1)


async def preview(
    service: Service, person: Person, content: str | bytes, **fields: str
) -> dict[str, Any]:
    answer = await service.post(
        "/api/campaigns/preview", person, files={"file": ("a.csv", content)}, data=fields
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def sent(service: Service, person: Person, content: str, **fields: str) -> dict[str, Any]:
    """The job that reads this list."""
    answer = await service.post(
        "/api/campaigns/upload",
        person,
        files={"file": ("people.csv", content)},
        data={"name": "Diwali", "start": "false", **fields},
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def job_when(
    service: Service,
    person: Person,
    job: dict[str, Any],
    is_so: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = await service.get(f"/api/campaigns/imports/{job['job_id']}", person)
            found: dict[str, Any] = answer.json()
            if is_so(found):
                return found
            await asyncio.sleep(0.05)


async def file_is_deleted(job: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        while await database.db.import_files.count_documents({"import_id": job["job_id"]}):  # noqa: ASYNC110 - the job does not say
            await asyncio.sleep(0.05)


async def is_clean(service: Service, person: Person, job: dict[str, Any]) -> None:
    """Wait until nothing is left of a list that became no campaign."""
    of_campaign = {"campaign_id": job["campaign_id"]}
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 - the job does not say
            not await nothing_of(service, person)
            or await database.db.rejected_rows.count_documents(of_campaign)
        ):
            await asyncio.sleep(0.05)
    await file_is_deleted(job)


def numbered(count: int) -> str:
    return "name,phone\n" + "".join(f"N{i},98{i:08d}\n" for i in range(count)) + "Bad,12\n"


# --- previews -------------------------------------------------------------------------------------


async def test_a_preview_shows_what_would_be_read_and_stores_nothing(
    service: Service, person: Person
) -> None:
    found = await preview(service, person, LIST.replace(",", ";").replace("Rao; M", "Rao, M"))
    assert found["dialect"] == {"encoding": "utf-8", "delimiter": ";", "has_header": True}
    assert (found["columns"], found["phone_column"]) == (["name", "phone", "city"], "phone")
    assert (found["chosen_by"], found["question"]) == ("name", None)
    assert found["candidates"] == [{"column": "phone", "numbers": 3}]
    assert found["counts"] == {
        "rows": 5,
        "usable": 2,
        "duplicates": 1,
        "refused": {"invalid_number": 1, "duplicate_in_file": 1, "empty": 1},
    }
    assert [row["code"] for row in found["rows"]] == [
        None,
        "invalid_number",
        "duplicate_in_file",
        None,
        "empty",
    ]
    assert (found["rows"][3]["to"], found["rows"][3]["cells"][0]) == ("+919812345678", "Rao, M")
    assert await nothing_of(service, person)


async def test_a_preview_of_two_columns_of_numbers_is_a_question(
    service: Service, person: Person
) -> None:
    content = "phone;mobile\n9876543210;9812345678\n".encode("utf-16")
    found = await preview(service, person, content)
    assert found["dialect"]["encoding"] == "utf-16-le"
    assert (found["phone_column"], found["counts"]["usable"]) == (None, None)
    assert [one["column"] for one in found["candidates"]] == ["phone", "mobile"]
    assert "Name one" in found["question"]
    named = await preview(service, person, content, phone_column="mobile")
    assert (named["phone_column"], named["chosen_by"]) == ("mobile", "named")
    assert named["counts"]["usable"] == 1


async def test_a_preview_of_a_large_file_is_read_in_another_process(
    service: Service, person: Person
) -> None:
    found = await preview(service, person, numbered(12_000))
    assert (len(found["rows"]), found["counts"]["rows"]) == (20, 12_001)
    assert found["counts"]["refused"] == {"invalid_number": 1}


# --- rows -----------------------------------------------------------------------------------------


async def test_refused_rows_are_downloaded_whole_with_the_columns_of_the_file(
    service: Service, person: Person
) -> None:
    await calling.over(
        service, person, (await calling.place(service, person, {"outcome": "busy"}))["call_id"]
    )
    called = (await service.get("/api/calls", person)).json()["calls"][0]["to"]
    assert called == "+919876543210"
    await do_not_call.add_numbers(person.id, ["+919812345678"], source="manual", by=person.id)
    content = LIST.replace("9876543210,Pune", f"{called},Pune", 1) + "\n".join(
        f"=1+1,nobody {i},Surat" for i in range(1_200)
    )
    made = await upload(
        service, person, content + "\nLeft,9000000001,Leh\n", skip_called_within_days="7"
    )
    assert (made["counts"]["total"], len(made["rejected"])) == (1, 1_000)
    assert made["columns"] == ["name", "phone", "city"]
    assert made["rejected_by_code"] == {
        "called_recently": 1,
        "do_not_call": 1,
        "duplicate_in_file": 1,
        "empty": 1,
        "invalid_number": 1,
        "unparseable": 1_200,
    }
    answer = await service.get(f"/api/campaigns/{made['campaign_id']}/rejected", person)
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["row", "value", "code", "message", "name", "phone", "city"]
    assert len(rows) == 1 + made["rejected_count"]
    assert rows[4][:3] == ["5", "'+919812345678", "do_not_call"]
    assert rows[4][4:] == ["Rao, M", "9812345678", "Delhi"]
    assert rows[-1][4:] == ["'=1+1", "nobody 1199", "Surat"]
    kept = await database.db.contacts.find_one({"campaign_id": made["campaign_id"], "row": 1_207})
    assert kept is not None
    assert kept["cells"] == ["Left", "9000000001", "Leh"]


# --- large lists ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_a_job")
async def test_nothing_moves_a_campaign_until_its_list_is_read(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    stored = creation.store_rows

    async def waits(campaign: NewCampaign, usable: Rows, refused: Refused) -> None:
        await gate.wait()
        await stored(campaign, usable, refused)

    monkeypatch.setattr(creation, "store_rows", waits)
    job = await sent(service, person, LIST, start="true")
    campaign = await shown(service, person, job)
    assert (campaign["status"], campaign["import"]["job_id"]) == ("draft", job["job_id"])
    assert campaign["import"]["state"] in ("queued", "running")
    for verb in ("resume", "pause", "cancel"):
        assert await act(service, person, job, verb) == 409
    gate.set()
    done = await job_when(service, person, job, lambda found: found["state"] == "completed")
    assert (done["rows_done"], done["rows_total"], done["usable"]) == (5, 5, 2)
    campaign = await shown(service, person, job)
    assert campaign["status"] in ("running", "completed")
    assert (campaign["counts"]["total"], campaign["rejected_count"]) == (2, 3)
    assert (campaign["columns"], campaign["phone_column"]) == (["name", "phone", "city"], "phone")


@pytest.mark.usefixtures("as_a_job")
async def test_an_import_that_was_interrupted_goes_on_and_counts_every_row_once(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, sizes = creation.store_rows, list[int]()

    async def dies(campaign: NewCampaign, usable: Rows, refused: Refused) -> None:
        await stored(campaign, usable, refused)
        sizes.append(len(usable))
        if len(sizes) == 2:
            raise RuntimeError("the rows are stored, and not counted")

    monkeypatch.setattr(creation, "store_rows", dies)
    job = await sent(service, person, numbered(1_700))
    done = await job_when(service, person, job, lambda found: found["state"] == "completed")
    assert (done["rows_done"], done["usable"], done["rejected_count"]) == (1_701, 1_700, 1)
    assert sizes == [500, 500, 500, 500, 200]  # the chunk that was counted is not stored again
    campaign = await shown(service, person, job)
    assert (campaign["counts"]["pending"], campaign["counts"]["total"]) == (1_700, 1_700)
    await file_is_deleted(job)


@pytest.mark.usefixtures("as_a_job")
@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("phone\n12\n34\n", "no_usable_row"),
        ("home,away\n9876543210,9812345678\n", "phone_column_not_found"),
        ('phone\n"9876543210\n9812345678\n', "unreadable_file"),
    ],
)
async def test_an_import_that_fails_says_why_and_leaves_nothing(
    service: Service, person: Person, content: str, code: str
) -> None:
    job = await sent(service, person, content)
    failed = await job_when(service, person, job, lambda found: found["state"] == "failed")
    assert failed["error"]["code"] == code
    await is_clean(service, person, job)
    answer = await service.get(f"/api/campaigns/{job['campaign_id']}", person)
    assert answer.status_code == 404


@pytest.mark.usefixtures("as_a_job")
async def test_an_import_is_begun_ten_times_at_most(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*args: object) -> None:
        raise RuntimeError("always")

    monkeypatch.setattr(creation, "store_rows", dies)
    monkeypatch.setattr(imports, "_ATTEMPTS_MAX", 2)
    job = await sent(service, person, LIST)
    failed = await job_when(service, person, job, lambda found: found["state"] == "failed")
    assert failed["error"]["code"] == "import_stopped"
    await is_clean(service, person, job)


@pytest.mark.usefixtures("as_a_job")
async def test_an_import_is_canceled_in_the_middle(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, begun = creation.store_rows, asyncio.Event()

    async def slowly(campaign: NewCampaign, usable: Rows, refused: Refused) -> None:
        await stored(campaign, usable, refused)
        begun.set()
        await asyncio.sleep(0.2)

    monkeypatch.setattr(creation, "store_rows", slowly)
    monkeypatch.setattr(imports, "_LEASE_SECONDS", 2.0)
    job = await sent(service, person, numbered(5_000))
    await begun.wait()
    path = f"/api/campaigns/imports/{job['job_id']}/cancel"
    for _ in range(2):
        answer = await service.post(path, person)
        assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    await is_clean(service, person, job)
    record = await imports.get_import(job["job_id"])
    assert (record["state"], record["lease_until"]) == ("canceled", None)


@pytest.mark.usefixtures("as_a_job")
async def test_a_repeated_request_is_one_import_and_three_wait_at_most(
    service: Service, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def waits(*args: object) -> None:
        await gate.wait()

    monkeypatch.setattr(imports, "_read", waits)
    form = {"files": {"file": ("a.csv", LIST)}, "data": {"name": "A"}}
    first = [
        await service.post(
            "/api/campaigns/upload", person, headers={"Idempotency-Key": key}, **form
        )
        for key in ("one", "one", "two", "three", "four")
    ]
    assert [answer.status_code for answer in first] == [202, 202, 202, 202, 429]
    assert first[0].json()["job_id"] == first[1].json()["job_id"]
    for answer in (first[0], *first[2:4]):
        await imports.cancel_import(answer.json()["job_id"])
    gate.set()
