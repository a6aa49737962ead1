"""Phone columns: which column of a list holds the numbers, by its name and by what stands in it."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypedDict

from core import csv_files, texts
from core.csv_files import Record
from core.errors import Problem

# --- vocabulary ---------------------------------------------------------------------------------

ChosenBy = Literal[
    "named",  # the request named it in `phone_column`
    "name",  # its name says that it holds telephone numbers
    "content",  # it is the only column that holds telephone numbers
    "only_column",  # there is no other
    "list",  # the numbers came as a list, without columns
]

# As many records are looked at to choose a column; fewer where there are many columns.
SAMPLE_RECORDS_MAX: Final = 1_000
_SAMPLE_CELLS_MAX: Final = 20_000
_SAMPLE_RECORDS_MIN: Final = 20
_CANDIDATES_MAX: Final = 50


def _listed(words: str) -> frozenset[str]:
    return frozenset(map(texts.plain, words.split()))


# Words for a telephone in the names of columns.
_PHONE_WORDS: Final = _listed(
    """
    phone phones phon ph phn mobile mobiles mobil mob mobiles cell cellphone cellular tel tele
    telephone telephones telefon telno phno mobno phoneno msisdn whatsapp wa watsapp whatsup
    handphone landline smartphone dial 📞 📱 📲 ☎ ✆ 🕿 🕻 🖁 🤙
    मोबाइल मोबाईल मोबाइन मोबायल मो फोन फ़ोन टेलीफोन टेलीफ़ोन टेलिफोन दूरभाष दूरध्वनी दुरध्वनी भ्रमणध्वनी
    व्हाट्सएप व्हाट्सऐप व्हाट्सअप व्हाट्सॲप वाट्सएप वॉट्सऐप सेलफोन
    মোবাইল মোবাইলে মবাইল ফোন মুঠোফোন টেলিফোন দূরভাষ হোয়াটসঅ্যাপ হোয়াটসঅ্যাপ
    கைபேசி அலைபேசி தொலைபேசி செல்பேசி மொபைல் மொபைல போன் ஃபோன் செல் வாட்ஸ்அப் வாட்ஸப்
    మొబైల్ ఫోన్ ఫోను చరవాణి దూరవాణి సెల్ టెలిఫోన్ సెల్‌ఫోన్ వాట్సాప్ వాట్సప్
    ಮೊಬೈಲ್ ಫೋನ್ ದೂರವಾಣಿ ಚರವಾಣಿ ಸೆಲ್ ಟೆಲಿಫೋನ್ ವಾಟ್ಸಾಪ್ ವಾಟ್ಸಪ್
    മൊബൈൽ മൊബൈല് മൊബൈല്‍ ഫോൺ ഫോണ് ഫോണ്‍ ടെലിഫോൺ ടെലിഫോണ് വാട്സാപ്പ് വാട്ട്സ്ആപ്പ്
    મોબાઇલ મોબાઈલ મોબાયલ ફોન ટેલિફોન ટેલીફોન દૂરભાષ વોટ્સએપ વ્હોટ્સએપ
    ਮੋਬਾਈਲ ਮੋਬਾਇਲ ਫੋਨ ਫ਼ੋਨ ਟੈਲੀਫੋਨ ਟੈਲੀਫ਼ੋਨ ਵਟਸਐਪ
    ମୋବାଇଲ ମୋବାଇଲ୍ ଫୋନ ଫୋନ୍ ଟେଲିଫୋନ ଦୂରଭାଷ ହ୍ୱାଟସଆପ
    موبائل موبايل فون ٹیلیفون ٹیلی واٹس واٹسایپ
    """
)
# Words for a number, which say nothing of a telephone.
_NUMBER_WORDS: Final = _listed(
    """
    number numbers num nums no nos nr nmbr numb
    नंबर नम्बर नं संख्या क्रमांक নম্বর নাম্বার নং எண் நம்பர் నంబర్ నంబరు నెంబర్ నెంబరు సంఖ్య
    ನಂಬರ್ ಸಂಖ್ಯೆ നമ്പർ നമ്പര് નંબર નમ્બર ਨੰਬਰ ନମ୍ବର ନଂ نمبر
    """
)
# Words for a contact: a person, or with a word for a number the number of one.
_CONTACT_WORDS: Final = _listed(
    """
    contact contacts cont calling caller call
    संपर्क सम्पर्क যোগাযোগ தொடர்பு సంప్రదింపు ಸಂಪರ್ಕ ബന്ധപ്പെടാനുള്ള સંપર્ક ਸੰਪਰਕ ଯୋଗାଯୋଗ رابطہ
    """
)
_WEAK_WORDS: Final = _NUMBER_WORDS | _CONTACT_WORDS | {"to", "recipient", "destination"}
# Numbers that are no telephone's; a column with such a word is only read when it is named.
_OTHER_WORDS: Final = _listed(
    """
    aadhaar aadhar adhaar adhar aadhaarno uid uidai pan panno gst gstin tan cin din ifsc micr iban swift
    account accounts acct acc acno accno accountno bank card upi utr rrn txn transaction
    pin pincode zip zipcode postal postcode
    id ids code otp serial sr sl sno srno slno index row roll rollno rank
    order orderno invoice bill receipt voucher ticket policy policyno loan lan loanno folio cif crn urn
    reference ref employee emp vehicle registration reg regno house flat plot door ward
    amount amt balance due dues emi price cost total fee salary income qty quantity count age year
    date dob day time timestamp created updated lat lng latitude longitude imei imsi iccid serialno
    आधार खाता खाते पिन पिनकोड राशि रकम तारीख दिनांक आयु उम्र
    আধার অ্যাকাউন্ট পিন ஆதார் கணக்கு பின் ఆధార్ ఖాతా పిన్ ಆಧಾರ್ ಖಾತೆ ಪಿನ್ ആധാർ അക്കൗണ്ട് പിൻ
    આધાર ખાતું ખાતા પિન ਆਧਾਰ ਖਾਤਾ ਪਿੰਨ ଆଧାର ଖାତା ପିନ آدھار اکاؤنٹ پن
    """
)
# Not even with a word for a telephone: `Phone ID`, `Mobile bill`.
_NEVER_WORDS: Final = _listed(
    "id ids otp pin imei imsi iccid serial amount amt price cost bill balance date count age year emi"
)
# Written together with others: `customerphone`, `mobilenumber`.
_LONG_WORDS: Final = ("phone", "mobile", "telephone", "whatsapp")
_NO_PHONES: Final = _listed("automobile headphone earphone microphone saxophone")

_ACCOUNT: Final = re.compile(r"\ba ?/ ?c\b", re.IGNORECASE)
_DECIMAL: Final = re.compile(r"[+-]?\d{1,3}\.\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class PhoneColumn:
    """The column that is read. `name` is as it stands in the file, or `column 2` where the file has
    no names; None for a list. `width` is the number of columns, `columns` are the names of all."""

    name: str | None
    chosen_by: ChosenBy
    position: int = 0
    width: int = 1
    has_header: bool = False
    columns: tuple[str, ...] = dataclasses.field(default=(), compare=False)


LIST: Final = PhoneColumn(None, "list")


class Candidate(TypedDict):
    """A column that may be meant, and how many numbers are in the first records of it."""

    column: str
    numbers: int


class NoPhoneColumn(Problem):
    """It is not clear which column holds the numbers; name one of `candidates` in `phone_column`."""

    code, status, title = "phone_column_not_found", 422, "Phone column not found"


# --- the choice ---------------------------------------------------------------------------------


def sample_size(first: Record) -> int:
    """How many records of a file have to be known to choose its column."""
    fitting = _SAMPLE_CELLS_MAX // max(len(first.cells), 1)
    return max(_SAMPLE_RECORDS_MIN, min(SAMPLE_RECORDS_MAX, fitting))


def choose(
    sample: Sequence[Record], named: str | None, is_number: Callable[[str], bool]
) -> PhoneColumn:
    """The column that holds the numbers, from the first records of a file and the name that was sent.

    Raises NoPhoneColumn with the candidates when the name is not there or is not the only one, and,
    without a name, when not exactly one column can be meant.
    """
    return _Choice(sample, is_number).made(named)


def list_candidates(
    sample: Sequence[Record], column: PhoneColumn, is_number: Callable[[str], bool]
) -> list[Candidate]:
    """The columns that hold numbers, beside the chosen one."""
    choice = _Choice(sample, is_number)
    if choice.has_header != column.has_header:
        choice.take_header(column.has_header)
    return choice.candidates([column.position])


class _Choice:
    """The columns of a file: their names, and how many numbers each holds in the first records."""

    def __init__(self, sample: Sequence[Record], is_number: Callable[[str], bool]) -> None:
        self._sample, self._is_number = sample, is_number
        self._first = sample[0].cells
        self.take_header(not any(map(self._may_be_number, self._first)))

    def take_header(self, has_header: bool) -> None:
        """Read the first record as the names of the columns, or as a row."""
        self.has_header = has_header
        self.body = [record.cells for record in self._sample[has_header:]]
        self.width = len(self._first) if has_header else max(map(len, self.body))
        named = self._first if has_header else []
        self.names = [
            named[i].strip()
            if i < len(named) and not texts.is_blank(named[i])
            else f"column {i + 1}"
            for i in range(self.width)
        ]

    def made(self, named: str | None) -> PhoneColumn:
        """The choice. Raises NoPhoneColumn."""
        if named is not None:
            return self._column(self._named(named), "named")
        strong = [i for i in range(self.width) if self.has_header and is_phone_name(self.names[i])]
        holders = [i for i in range(self.width) if self._holds_numbers(i, is_strong=i in strong)]
        if len(holders) > 1:
            raise self._refusal("Several columns hold numbers.", holders)
        if len(holders) == 1:
            return self._holder(holders[0], strong)
        if len(strong) > 1:
            raise self._refusal("Several columns may be meant by their names.", strong)
        if strong:
            return self._column(strong[0], "name")
        if self.width == 1 and not self._is_of_another_kind(0):
            return self._guessed(0, "only_column")
        weak = [i for i in range(self.width) if self.has_header and _is_weak(self.names[i])]
        if len(weak) == 1:
            return self._column(weak[0], "name")
        raise self._refusal("It is not clear which column holds the numbers.", weak)

    def _holder(self, holder: int, strong: list[int]) -> PhoneColumn:
        """The only column with numbers, unless a better name is that of another one."""
        if strong and holder not in strong:
            raise self._refusal(
                "The column with the numbers is not the one whose name says so.", [holder, *strong]
            )
        if self.has_header and (holder in strong or _is_weak(self.names[holder])):
            return self._column(holder, "name")
        return self._guessed(holder, "only_column" if self.width == 1 else "content")

    def _guessed(self, position: int, chosen_by: ChosenBy) -> PhoneColumn:
        """A column that its name did not decide: where the first cell is no name, it is a row."""
        if self.has_header and not _is_name(self._first[position]):
            self.take_header(False)
        return self._column(position, chosen_by)

    def _named(self, named: str) -> int:
        """The position of the column that the request names."""
        shown, had_header = csv_files.shown(named), self.has_header
        for has_header in (True, had_header):
            self.take_header(has_header)
            for key in (str.strip, texts.exact, texts.plain):
                wanted = key(named)
                found = [i for i, name in enumerate(self.names) if wanted and key(name) == wanted]
                if len(found) > 1:
                    raise self._refusal(f"There are {len(found)} columns {shown!r}.", found)
                if found and (had_header or has_header == self._is_first_cell(found[0])):
                    return found[0]
        raise self._refusal(f"There is no column {shown!r}.", [])

    def _is_first_cell(self, position: int) -> bool:
        """Whether the name of a column stands in the file."""
        return self.has_header and not texts.is_blank(self._first[position])

    def _column(self, position: int, chosen_by: ChosenBy) -> PhoneColumn:
        name = csv_files.shown(self.names[position])
        columns = tuple(map(csv_files.shown, self.names))
        return PhoneColumn(name, chosen_by, position, self.width, self.has_header, columns)

    def _may_be_number(self, cell: str) -> bool:
        return 7 <= sum(c.isdigit() for c in cell[:80]) <= 15 and self._is_number(cell)

    def _filled(self, position: int) -> list[str]:
        return [
            cell for c in self.body if position < len(c) and not texts.is_blank(cell := c[position])
        ]

    def _count(self, position: int) -> int:
        return sum(map(self._may_be_number, self._filled(position)))

    def _holds_numbers(self, position: int, *, is_strong: bool) -> bool:
        """Whether this column can be meant: any number in one that is called so, or numbers in most
        of the filled cells of one that is not called otherwise."""
        if self.has_header and _is_other(self.names[position]):
            return False
        filled = self._filled(position)
        numbers = [cell for cell in filled if self._may_be_number(cell)]
        if is_strong:
            return bool(numbers)
        numbers = [cell for cell in numbers if not _DECIMAL.fullmatch(cell.strip())]
        return 2 * len(numbers) > len(filled) and not _are_aadhaar_numbers(numbers)

    def _is_of_another_kind(self, position: int) -> bool:
        is_other = self.has_header and _is_other(self.names[position])
        return is_other or _are_aadhaar_numbers(self._filled(position))

    def candidates(self, positions: Sequence[int]) -> list[Candidate]:
        """The columns at these positions and those that hold numbers."""
        counts = {i: self._count(i) for i in range(self.width)}
        some = sorted({*positions, *(i for i, count in counts.items() if count)})
        return [
            {"column": csv_files.shown(self.names[i]), "numbers": counts[i]}
            for i in some[:_CANDIDATES_MAX]
        ]

    def _refusal(self, what: str, positions: Sequence[int]) -> NoPhoneColumn:
        columns = [csv_files.shown(name) for name in self.names[:_CANDIDATES_MAX]]
        return NoPhoneColumn(
            f"{what} Name one in phone_column.",
            candidates=self.candidates(positions),
            columns=columns,
        )


def _is_name(cell: str) -> bool:
    """Whether a cell of the first record is a name, and not a number that cannot be called."""
    if csv_files.SCIENTIFIC.fullmatch(cell.strip()):
        return False
    return sum(map(str.isdigit, cell)) < 5 and any(not c.isdigit() for c in texts.plain(cell))


# --- names --------------------------------------------------------------------------------------


def is_phone_name(name: str) -> bool:
    """Whether a column of this name holds telephone numbers: `Ph No`, `Mobile 1`, `पति का मोबाइल`."""
    return _means_phone(name) and not _is_other(name)


def _means_phone(name: str) -> bool:
    words = _words(name)
    if any(map(_is_phone_word, words)):
        return True
    # `Contact No`: neither word is enough.
    is_numbered = any(word in _NUMBER_WORDS for word in words)
    is_contact = any(word in _CONTACT_WORDS for word in words)
    stems = {_without_number_word(word) for word in words} - set(words)
    return (is_contact and is_numbered) or bool(stems & _CONTACT_WORDS)


def _words(name: str) -> list[str]:
    """The words of a name, also as they are when its capitals part no words: `WhatsApp`."""
    return [*texts.words(name), *texts.words(name.casefold()), texts.plain(name)]


def _is_phone_word(word: str) -> bool:
    stem = _without_number_word(word)
    if word in _PHONE_WORDS or stem in _PHONE_WORDS:
        return True
    return stem.endswith(_LONG_WORDS) and stem not in _NO_PHONES


def _without_number_word(word: str) -> str:
    for ending in ("numbers", "number", "nos", "num", "no", "नंबर", "नम्बर"):
        if word.endswith(ending) and word != ending:
            return word.removesuffix(ending)
    return word


def _is_weak(name: str) -> bool:
    words = texts.words(name)
    return any(word in _WEAK_WORDS for word in words) and all(
        word in _WEAK_WORDS or word.isdigit() for word in words
    )


def _is_other(name: str) -> bool:
    """Whether the name says that other numbers stand there than those of telephones."""
    words = texts.words(_ACCOUNT.sub("account ", name))
    return any(word in (_NEVER_WORDS if _means_phone(name) else _OTHER_WORDS) for word in words)


# --- numbers that are no telephone's --------------------------------------------------------------

# The tables of Verhoeff's check digit, the last of the twelve digits of an Aadhaar number.
_PRODUCT: Final = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTATION: Final = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def _are_aadhaar_numbers(cells: Sequence[str]) -> bool:
    """Whether all of these, and there are some, are Aadhaar numbers."""
    return bool(cells) and all(map(_is_aadhaar_number, cells))


def _is_aadhaar_number(cell: str) -> bool:
    written = "".join(cell.split()).replace("-", "")
    if len(written) != 12 or not written.isdecimal():
        return False
    check = 0
    for position, digit in enumerate(reversed(written)):
        permuted = int(_PERMUTATION[position % 8][int(digit)])
        check = int(_PRODUCT[check][permuted])
    return check == 0
