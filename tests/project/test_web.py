"""The rules of web/ that need no browser: vendored files, texts in two languages, policy, sizes."""

import re

import pytest

from api import console
from tests.project import web, web_vendor

ENGLISH, HINDI = web.texts("en"), web.texts("hi")
SOURCES = dict(web.sources())
MODULES = {name: text for name, text in SOURCES.items() if not name.startswith("texts/")}
COMPONENT_LINES_MAX = 200
FIRST_LOAD_BYTES_MAX = 150_000
# What is the same in every language.
NAMES = {"Razorpay"}

# Groups of texts whose keys come from the service: a value of each may arrive.
FROM_THE_SERVICE = {"problems"}


def test_the_vendored_files_are_those_that_are_recorded() -> None:
    assert web_vendor.differences() == []


def test_a_vendored_file_that_was_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_vendor, "_sha256", lambda path: "0" * 64)
    assert len(web_vendor.differences()) == len(web_vendor.FILES)


def test_vendored_modules_import_by_relative_paths_and_hold_no_eval() -> None:
    for path in sorted(web_vendor.FOLDER.glob("*.js")):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"""(?:from|import)\s*["']([^"']+)["']""", text)
        assert all(name.startswith("./") for name in names), path.name
        assert "new Function(" not in text
        assert not re.search(r"\beval\(", text)


# --- texts --------------------------------------------------------------------------------------


def test_every_text_that_is_asked_for_is_there() -> None:
    bases = {web.asked_for_as(key, ENGLISH) for key in ENGLISH}
    missing = {
        f"{name}: {key}"
        for name, text in MODULES.items()
        for key in web.named_keys(web.code_of(text))
        if key not in bases
    }
    assert sorted(missing) == []


def test_every_group_that_is_asked_for_is_there() -> None:
    known = {key.rsplit(".", depth)[0] for key in ENGLISH for depth in (1, 2, 3)}
    missing = {
        f"{name}: {group}"
        for name, text in MODULES.items()
        for group in web.groups(web.code_of(text))
        if group not in known
    }
    assert sorted(missing) == []


def test_no_text_is_left_that_nobody_asks_for() -> None:
    every = "\n".join(web.code_of(text) for text in MODULES.values())
    words, beginnings = web.words(every), web.beginnings(every)
    beginnings |= {f"{group}." for group in FROM_THE_SERVICE}
    unused = [
        key
        for key in ENGLISH
        if web.asked_for_as(key, ENGLISH) not in words
        and not any(key.startswith(beginning) for beginning in beginnings)
    ]
    assert unused == []


def test_hindi_has_every_text_and_no_other() -> None:
    assert sorted(ENGLISH.keys() - HINDI.keys()) == []
    assert sorted(HINDI.keys() - ENGLISH.keys()) == []


def test_both_languages_have_the_same_places_for_values() -> None:
    different = [
        key
        for key in ENGLISH.keys() & HINDI.keys()
        if web.placeholders(ENGLISH[key]) != web.placeholders(HINDI[key])
        # A singular may say 'one' in words.
        and not key.endswith(".one")
    ]
    assert sorted(different) == []


def test_hindi_is_hindi() -> None:
    """A text without a single letter of Devanagari was forgotten, unless it is a name or a sign."""
    latin = [
        key
        for key, text in HINDI.items()
        if re.search(r"[a-z]{4}", re.sub(r"\{\w+\}", "", text))
        and not re.search(r"[\u0900-\u097f]", text)
    ]
    same = [key for key in latin if " " in ENGLISH[key].strip()]
    assert sorted(same) == []


def test_texts_are_no_markup() -> None:
    for key, text in (*ENGLISH.items(), *HINDI.items()):
        assert "<" not in text, key
        assert text == text.strip(), key


def test_pages_say_nothing_that_is_no_text_of_a_language() -> None:
    """Words between tags stand in web/texts/, or no other language has them."""
    found = []
    for name, text in MODULES.items():
        for markup in re.findall(r"html`((?:[^`\\]|\\.)*)`", web.code_of(text), re.DOTALL):
            plain = re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "", markup)
            for words in re.findall(r">([^<>{}$]*)<", plain):
                if re.search(r"[A-Za-z]{3}", words) and words.strip() not in NAMES:
                    found.append(f"{name}: {words.strip()[:60]}")
    assert found == []


# --- modules ------------------------------------------------------------------------------------


def test_every_page_of_the_console_has_its_file() -> None:
    pages = web.pages()
    assert len(pages) > 20
    missing = [f"{path}: {name}" for path, name in pages.items() if name not in SOURCES]
    assert missing == []
    known = {*pages.values()}
    strays = [name for name in SOURCES if name.startswith("pages/") and name not in known]
    imported = {each for name in known & SOURCES.keys() for each in web.loaded_by(name)}
    imported |= {each.removeprefix("./") for each in web.imports(SOURCES["main.js"])}
    assert [name for name in strays if name not in imported] == []


def test_every_page_exports_itself() -> None:
    for name in web.pages().values():
        assert re.search(r"^export default function \w+Page\b", SOURCES[name], re.M), name


def test_every_address_is_served() -> None:
    sections = {path.split("/")[1] for path in web.pages()} - {""}
    assert sections == set(console._SECTIONS)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_module_is_checked_and_says_what_it_is(name: str) -> None:
    lines = SOURCES[name].splitlines()
    assert lines[0] == "// @ts-check"
    assert lines[1].startswith("/**"), "the first comment says what the module is"
    assert re.search(r"[A-Z].*[.:]", " ".join(lines[1:4]))


# What the policy of the pages forbids, or what would go round it.
FORBIDDEN = {
    r"dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write": "markup",
    r"\beval\(|new Function\(|setTimeout\(\s*[\"'`]": "code from text",
    r"\bstyle=": "an inline style",
    r"\son[a-z]+=[\"']": "an inline handler",
    r"javascript:": "a script address",
    r"@ts-ignore|@ts-nocheck|@ts-expect-error": "unchecked code",
    r"debugger|console\.log": "a leftover",
}


# Where a link of an admin leads, and an example in a field.
OTHER_ORIGINS = {"https://dashboard.razorpay.com", "https://example.com", "http://www.w3.org"}


def test_modules_name_no_other_origin() -> None:
    for name, text in MODULES.items():
        found = set(re.findall(r"https?://[\w.-]+", web.code_of(text)))
        assert found <= OTHER_ORIGINS, name


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_module_does_what_the_policy_forbids(name: str) -> None:
    code = web.code_of(SOURCES[name])
    assert [what for pattern, what in FORBIDDEN.items() if re.search(pattern, code)] == []


def test_the_style_sheet_loads_nothing() -> None:
    text = (web.FOLDER / "look.css").read_text(encoding="utf-8")
    assert re.findall(r"@import|url\((?!\"?data:)", text) == []


def test_modules_import_what_is_there_and_by_a_relative_path() -> None:
    for name, text in SOURCES.items():
        code = web.code_of(text)
        for wanted in web.imports(code):
            assert wanted.startswith(("./", "../")), f"{name}: {wanted}"
            assert ((web.FOLDER / name).parent / wanted).resolve().is_file(), f"{name}: {wanted}"


def test_components_are_small() -> None:
    for name, text in SOURCES.items():
        if name.startswith("components/"):
            assert len(text.splitlines()) < COMPONENT_LINES_MAX, name


@pytest.mark.parametrize("page", ["pages/log_in.js", "pages/home.js", "pages/admin/overview.js"])
def test_the_first_load_is_small(page: str) -> None:
    """What a browser fetches until its first page is there, gzipped."""
    names = {*web.loaded_by("main.js", page), "look.css", "icon.svg"}
    total_bytes = web.packed_bytes(*names)
    assert total_bytes < FIRST_LOAD_BYTES_MAX, f"{page}: {total_bytes}"


def test_no_page_is_loaded_before_it_is_needed() -> None:
    ahead = [name for name in web.loaded_by("main.js") if name.startswith("pages/")]
    assert ahead == []
    assert "vendor/uplot.js" not in web.loaded_by("main.js")


def test_there_is_no_typescript_and_no_build() -> None:
    root = web.FOLDER.parent
    files = [*web.FOLDER.rglob("*.ts"), *web.FOLDER.rglob("*.tsx"), root / "package.json"]
    assert [path.name for path in files if path.exists()] == []


# --- the readers above --------------------------------------------------------------------------


def test_the_readers_read_what_modules_are_written_in() -> None:
    assert web.placeholders("{a} of {b}") == {"a", "b"}
    keys = {"calls.seconds.one", "calls.seconds.other", "hooks.one"}
    assert web.asked_for_as("calls.seconds.one", keys) == "calls.seconds"
    assert web.asked_for_as("hooks.one", keys) == "hooks.one"
    assert web.named_keys('t("a.b") t(isOn ? "c.d" : "e.f") named("g", x)') == {"a.b"}
    assert {"c.d", "e.f"} <= web.words('t(isOn ? "c.d" : "e.f")')
    assert web.beginnings("x = `account.overlap_${n}`") == {"account.overlap_"}
    assert web.imports('import { a } from "./a.js";\nimport("./b.js")') == {"./a.js", "./b.js"}
    assert web.groups('named("roles", x) t(`problems.${code}`)') == {"problems"}
    assert web.beginnings('named("roles", x)') == {"roles."}
