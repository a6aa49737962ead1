"""Demo data: the people, prices and texts of a month that never was."""

import dataclasses
from typing import Final

# Of everybody in the demo data but the first admin, whose password is in `.env`.
PASSWORD: Final = "a wallet to look at"


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs up on a day of the month, and how they live from then on."""

    name: str
    email: str
    phone: str
    day: int  # of the month, from 0 on
    calls: int  # in a batch, of which there are two a day
    recharge: int  # rupees, whenever the wallet is nearly empty
    says: str
    browser: str = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36"
    )


_PHONE: Final = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36"
)
_FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

PEOPLE: Final = (
    Person(
        "Asha Rao",
        "asha@example.com",
        "+919845012345",
        0,
        4,
        2_500,
        "Rao Diagnostics: your report is ready. You may collect it between 9 and 6.",
    ),
    Person(
        "Imran Qureshi",
        "imran@example.com",
        "+919811045678",
        0,
        3,
        1_000,
        "Qureshi Motors: your car is due for its service this week.",
        _FIREFOX,
    ),
    Person(
        "Lakshmi Venkataraman",
        "lakshmi@example.com",
        "+919840098765",
        1,
        2,
        1_500,
        "Sri Lakshmi Silks: your saree has arrived at our T. Nagar shop.",
        _PHONE,
    ),
    Person(
        "Gurpreet Singh",
        "gurpreet@example.com",
        "+919814056789",
        3,
        2,
        500,
        "Punjab Tiffin: your lunch leaves our kitchen in ten minutes.",
        _PHONE,
    ),
    Person(
        "Rohan Mehta",
        "rohan@example.com",
        "+919820034567",
        4,
        2,
        5_000,
        "Mehta Classes: the mock test is on Sunday at ten. Bring your hall ticket.",
    ),
    Person(
        "Fatima Sheikh",
        "fatima@example.com",
        "+919848011223",
        8,
        1,
        750,
        "Sheikh Dental Care: please confirm tomorrow's appointment.",
    ),
    Person(
        "Debashish Mukherjee",
        "debashish@example.com",
        "+919830077889",
        11,
        1,
        300,
        "Mukherjee Travels: your bus leaves from Esplanade, bay 4.",
        _FIREFOX,
    ),
    Person(
        "Kavya Nair",
        "kavya@example.com",
        "+919847066554",
        15,
        1,
        1_000,
        "Nair Ayurveda: your order was sent today.",
    ),
    Person(
        "Harish Patel",
        "harish@example.com",
        "+919825099887",
        19,
        1,
        600,
        "Patel Solar: our engineer comes tomorrow between two and four.",
        _PHONE,
    ),
    Person("Ananya Iyer", "ananya@example.com", "+919841055443", 27, 0, 0, ""),
)
OPERATOR: Final = ("Nisha Kulkarni", "operator@example.com")
SECOND_ADMIN: Final = ("Vikram Desai", "vikram@example.com")

RATE_CARD: Final = """\
prefix,destination,rate_per_minute,first_pulse_seconds,pulse_seconds,connection_fee
91,India,1.20,30,30,0
9111,Delhi landlines,0.90,60,60,0
9122,Mumbai landlines,0.90,60,60,0
"""
CHEAPER_RATE_CARD: Final = """\
prefix,destination,rate_per_minute,first_pulse_seconds,pulse_seconds,connection_fee
91,India,1.10,15,15,0.05
9111,Delhi landlines,0.80,60,60,0
9122,Mumbai landlines,0.80,60,60,0
9180,Bengaluru landlines,0.80,60,60,0
"""

# What is wrong with some rows of every list.
BAD_ROWS: Final = (
    ("Ravi (no number)", ""),
    ("Old landline", "2555"),
    ("Typing error", "98450 1234X"),
    ("A friend in London", "+44 20 7946 0958"),
)
FIRST_NAMES: Final = [
    "Aarav",
    "Aditi",
    "Akash",
    "Amina",
    "Anil",
    "Anjali",
    "Arjun",
    "Bhavna",
    "Chitra",
    "Deepak",
    "Divya",
    "Farhan",
    "Gauri",
    "Gopal",
    "Harpreet",
    "Indira",
    "Ishaan",
    "Jyoti",
    "Karthik",
    "Kiran",
    "Lata",
    "Manoj",
    "Meera",
    "Mohammed",
    "Neha",
    "Nikhil",
    "Padma",
    "Pooja",
    "Prakash",
    "Priya",
    "Rahul",
    "Rekha",
    "Ritu",
    "Sachin",
    "Salma",
    "Sanjay",
    "Shreya",
    "Sunita",
    "Suresh",
    "Tanvi",
    "Usha",
    "Varun",
    "Vidya",
    "Vijay",
    "Yamini",
    "Zoya",
]
LAST_NAMES: Final = [
    "Agarwal",
    "Ansari",
    "Banerjee",
    "Bhat",
    "Chauhan",
    "D'Souza",
    "Das",
    "Deshmukh",
    "Fernandes",
    "Ghosh",
    "Gupta",
    "Hegde",
    "Jain",
    "Joshi",
    "Kapoor",
    "Khan",
    "Kulkarni",
    "Kumar",
    "Menon",
    "Mishra",
    "Naidu",
    "Pandey",
    "Patil",
    "Pillai",
    "Rao",
    "Reddy",
    "Saxena",
    "Sharma",
    "Shetty",
    "Singh",
    "Sinha",
    "Subramanian",
    "Thakur",
    "Tripathi",
    "Varma",
    "Yadav",
]
