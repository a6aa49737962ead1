"""Which column of a list is called: by its name, by what stands in it, or nobody knows."""

import pytest

from campaigns import contact_import, phone_columns
from campaigns.phone_columns import NoPhoneColumn, PhoneColumn
from core import config
from core.csv_files import UnreadableFile

FIRST, SECOND = "9876543210", "9812345678"


@pytest.fixture(autouse=True)
def _settings() -> None:
    config.use(config.Settings(_env_file=None))


def chosen(content: str, named: str | None = None) -> PhoneColumn:
    chunks = list(contact_import.check_csv_rows(content.encode(), named))
    return chunks[0].column


def numbers(content: str, named: str | None = None) -> list[str]:
    chunks = list(contact_import.check_csv_rows(content.encode(), named))
    assert [r for chunk in chunks for r in chunk.rejected] == []
    return [number for chunk in chunks for _, number in chunk.usable]


def candidates(content: str, named: str | None = None) -> list[tuple[str, int]]:
    with pytest.raises(NoPhoneColumn) as refused:
        list(contact_import.check_csv_rows(content.encode(), named))
    return [(c["column"], c["numbers"]) for c in refused.value.extra["candidates"]]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Ph",
        "Ph No",
        "Ph. No.",
        "Mobile 1",
        "Mob No",
        "Mob.",
        "Customer Phone",
        "CustomerPhone",
        "customerphone",
        "mobile_number",
        "MobileNo",
        "WhatsApp No",
        "Contact Number",
        "contactno",
        "Bank Contact No",
        "Reg. Mobile",
        "Phone (with country code)",
        "मोबाइल",
        "मोबाइल नंबर",
        "मो. नं.",
        "फ़ोन",
        "पति का मोबाइल",
        "संपर्क क्रमांक",
        "ফোন নম্বর",
        "ম'বাইল",
        "கைபேசி எண்",
        "మొబైల్ నంబర్",
        "ಮೊಬೈಲ್ ಸಂಖ್ಯೆ",
        "ഫോൺ നമ്പർ",
        "ഫോണ്‍",  # as older keyboards write it
        "મોબાઇલ નંબર",
        "ਮੋਬਾਈਲ ਨੰਬਰ",
        "ମୋବାଇଲ ନମ୍ବର",
        "موبائل نمبر",
        "☎",
        "☎️",
        "📱",
    ],
)
def test_a_name_that_means_a_telephone_wins_over_a_weak_one(name: str) -> None:
    assert phone_columns.is_phone_name(name)
    for weak in ("number", "contact", "to", "नंबर"):
        column = chosen(f"{weak},{name}\n101,{FIRST}\n102,{SECOND}\n")
        assert (column.name, column.chosen_by) == (name, "name")


@pytest.mark.parametrize(
    "name",
    [
        "number",
        "contact",
        "to",
        "Contact Person",
        "automobile",
        "Phone ID",
        "Mobile bill amount",
        "Aadhaar No",
        "Account Number",
        "PIN code",
        "आधार नंबर",
        "खाता संख्या",
        "Name",
    ],
)
def test_a_name_that_means_no_telephone(name: str) -> None:
    assert not phone_columns.is_phone_name(name)


def test_a_weak_name_is_read_when_nothing_better_is_there() -> None:
    assert chosen(f"name,number\nAsha,{FIRST}\n") == PhoneColumn("number", "name", 1, 2, True)
    assert chosen(f"contact,x\nAsha,{FIRST}\n") == PhoneColumn("x", "content", 1, 2, True)


def test_a_weak_name_never_wins_by_its_numbers_against_a_better_one() -> None:
    assert candidates(f"number,Ph\n{FIRST},\n{SECOND},\n") == [("number", 2), ("Ph", 0)]
    assert candidates(f"number,Ph\n{FIRST},{SECOND}\n") == [("number", 1), ("Ph", 1)]


def test_signs_of_a_script_tell_names_apart() -> None:
    """Without them both are प त क मबइल, and husbands' numbers were dialled for fathers."""
    content = f"पति का मोबाइल,पिता का मोबाइल\n{FIRST},{SECOND}\n"
    assert candidates(content) == [("पति का मोबाइल", 1), ("पिता का मोबाइल", 1)]
    assert numbers(content, "पति का मोबाइल") == ["+91" + FIRST]
    assert numbers(content, "पिता का मोबाइल") == ["+91" + SECOND]


def test_symbols_are_names() -> None:
    content = f"☎,📱\n{FIRST},{SECOND}\n"
    assert numbers(content, "☎️") == ["+91" + FIRST]  # with the sign for a picture
    assert numbers(content, "📱") == ["+91" + SECOND]
    assert candidates(content) == [("☎", 1), ("📱", 1)]
    assert candidates(content, "📞") == [("☎", 1), ("📱", 1)]
    assert candidates(content, "--") == [("☎", 1), ("📱", 1)]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("Phone", SECOND),  # exactly, although two are alike without case
        ("phone", FIRST),
        ("  PHONE   no ", "9811111111"),
        ("Phone-No", "9811111111"),
        ("cafe\u0301", "9822222222"),  # typed as two characters, stored as one
    ],
)
def test_the_name_that_was_sent_is_matched_exactly_first(named: str, expected: str) -> None:
    content = f"phone,Phone,Phone No,café\n{FIRST},{SECOND},9811111111,9822222222\n"
    assert numbers(content, named) == ["+91" + expected]
    assert chosen(content, named).chosen_by == "named"


def test_two_columns_of_the_name_that_was_sent_are_a_question() -> None:
    content = f"Phone,x,Phone\n{FIRST},,{SECOND}\n{SECOND},,\n"
    assert candidates(content, "Phone") == [("Phone", 2), ("Phone", 1)]
    assert candidates(content, "PHONE") == [("Phone", 2), ("Phone", 1)]
    assert candidates(f"a-b,a b\n{FIRST},{SECOND}\n", "AB") == [("a-b", 1), ("a b", 1)]


# --- content ------------------------------------------------------------------------------------


def test_two_columns_that_hold_numbers_are_a_question_with_their_counts() -> None:
    content = f"name,home,away\nAsha,{FIRST},{SECOND}\nRavi,{SECOND},\nUma,,\n"
    assert candidates(content) == [("home", 2), ("away", 1)]
    assert candidates(content.replace("home", "phone")) == [("phone", 2), ("away", 1)]


AADHAAR = ["919876543216", "917000000000", "234123412346"]


def test_aadhaar_account_and_pin_code_columns_are_not_read_by_content() -> None:
    assert all(map(phone_columns._is_aadhaar_number, AADHAAR))
    rows = f"{AADHAAR[0]},{FIRST}\n9198 7654 3216,{SECOND}\n"
    assert chosen("x,y\n" + rows).name == "y"
    assert candidates("x,y\n" + f"Asha,{AADHAAR[0]}\nRavi,{AADHAAR[1]}\n") == [("y", 2)]
    assert candidates(f"{AADHAAR[0]}\n{AADHAAR[1]}\n") == [("column 1", 2)]
    # A bank's account numbers may have ten digits.
    assert chosen(f"a/c no,x\n{FIRST},{SECOND}\n").name == "x"
    assert candidates(f"name,a/c no\nAsha,{FIRST}\n") == [("a/c no", 1)]
    assert candidates(f"Order ID\n{FIRST}\n") == [("Order ID", 1)]
    assert candidates("city,pin\nPune,411001\nDelhi,110001\n") == []


def test_a_longitude_is_no_telephone_number() -> None:
    assert candidates("x,y\nPune,77.59456270\nDelhi,77.20902120\n") == [("y", 2)]


def test_a_note_with_a_number_in_it_is_no_column_of_numbers() -> None:
    content = f"who,calls,note\nAsha,{FIRST},call {SECOND}\nRavi,{SECOND},late\n"
    assert chosen(content).name == "calls"


# --- without names ------------------------------------------------------------------------------


def test_columns_without_names_are_counted() -> None:
    content = f"Asha,{FIRST},{SECOND}\nRavi,{SECOND},{FIRST}\n"
    assert candidates(content) == [("column 2", 2), ("column 3", 2)]
    assert numbers(content, "column 3") == ["+91" + SECOND, "+91" + FIRST]
    column = chosen(f"Asha,{FIRST}\nRavi,{SECOND}\n")
    assert (column.name, column.chosen_by, column.has_header) == ("column 2", "content", False)
    assert chosen(f"Asha,\nRavi,{FIRST}\n").name == "column 2"


def test_a_first_row_without_a_number_that_can_be_called_is_no_name() -> None:
    for first in ("12345", "9.87654E+09", "5", ""):
        found = list(contact_import.check_csv_rows(f"Asha,{first}\nRavi,{FIRST}\n".encode(), None))
        assert [(r.row, r.value) for r in found[0].rejected] == [(1, first)]
        assert found[0].usable == [(2, "+91" + FIRST)]


def test_the_only_column_needs_no_name() -> None:
    assert chosen(f"{FIRST}\n") == PhoneColumn("column 1", "only_column", 0, 1, False)
    assert chosen(f"customers\n{FIRST}\n") == PhoneColumn("customers", "only_column", 0, 1, True)


def test_names_that_swallow_rows_are_no_names() -> None:
    with pytest.raises(UnreadableFile) as refused:
        chosen(f'name,"phone\nAsha,{FIRST}\nRavi,{SECOND}"\nUma,9811111111\n')
    assert "line 1" in refused.value.detail
    assert chosen(f'name,"Phone\nNumber"\nAsha,{FIRST}\n').name == "Phone Number"
