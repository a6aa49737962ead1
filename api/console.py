"""The console: the pages and files of web/, served from memory, each with its policy."""

import dataclasses
import gzip
import hashlib
import html
import mimetypes
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from api import problems
from core import config
from core.errors import NotFound

router = APIRouter(include_in_schema=False, route_class=problems.LenientRoute)

FOLDER: Final = Path(__file__).resolve().parent.parent / "web"
# The first parts of the addresses of pages; web/main.js knows which page is which.
_SECTIONS: Final = (
    "login",
    "signup",
    "calls",
    "campaigns",
    "transactions",
    "payments",
    "do-not-call",
    "numbers",
    "account",
    "more",
    "admin",
)
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_YEAR_SECONDS: Final = 31_536_000
# No inline script or style, nothing of another origin; texts become markup nowhere.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_RAZORPAY_SCRIPTS: Final = "https://checkout.razorpay.com"
_RAZORPAY_FRAMES: Final = "https://api.razorpay.com https://checkout.razorpay.com"
_IMPORT: Final = re.compile(r"""(?:from|^import)\s*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)
_GZIP_BYTES_MIN: Final = 256


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    media_type: str
    content: bytes
    packed: bytes | None  # by gzip, where that is smaller


class _Assets:
    """The files of web/ as they were when this process began, and the digest over all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, _File] = {}
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.suffix == ".html":
                continue
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            digest.update(f"{name} {len(content)} ".encode() + content)
            self.files[name] = _file(name, content)
        self.digest = digest.hexdigest()[:16]
        self.pages = {
            name: (folder / f"{name}.html").read_text(encoding="utf-8") for name in ("index", "pay")
        }

    def page(self, name: str, entry: str, **values: str) -> str:
        """A page of web/, with the address of its files and what its first screen needs named ahead."""
        root = f"/assets/{self.digest}"
        preloads = "\n".join(
            f'<link rel="modulepreload" href="{root}/{each}">' for each in self.imports_of(entry)
        )
        text = self.pages[name].replace("{assets}", root).replace("{preloads}", preloads)
        for key, value in values.items():
            text = text.replace(f"{{{key}}}", html.escape(value))
        return text

    def imports_of(self, entry: str) -> list[str]:
        """The files that a module imports at once, and theirs: not those that it loads later."""
        found: list[str] = []
        waiting = [entry]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.files:
                continue
            found.append(name)
            text = self.files[name].content.decode("utf-8")
            here = self.folder / Path(name).parent
            waiting += [
                (here / each).resolve().relative_to(self.folder).as_posix()
                for each in _IMPORT.findall(text)
            ]
        return found[1:]


def _file(name: str, content: bytes) -> _File:
    suffix = Path(name).suffix
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(content, 9, mtime=0) if len(content) >= _GZIP_BYTES_MIN else None
    return _File(media_type, content, packed if packed and len(packed) < len(content) else None)


_assets: _Assets | None = None


def assets() -> _Assets:
    """What this process serves; read once."""
    global _assets
    if _assets is None:
        _assets = _Assets(FOLDER)
    return _assets


# --- routes -------------------------------------------------------------------------------------


def _answer(request: Request, file: _File, headers: dict[str, str]) -> Response:
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    if file.packed is not None:
        headers["Vary"] = "Accept-Encoding"
        if takes_gzip:
            headers["Content-Encoding"] = "gzip"
            return Response(file.packed, media_type=file.media_type, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


def _page(request: Request, name: str, entry: str, policy: str) -> Response:
    chosen = config.settings()
    network = chosen.telephony_provider if name == "index" else ""
    text = assets().page(name, entry, mode=chosen.gateway_mode, network=network)
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return _answer(request, _file(f"{name}.html", text.encode()), headers)


class _PageConvertor(Convertor[str]):
    """An address at which web/main.js has a page: one of the sections, and whatever is below it."""

    regex = f"(?:{'|'.join(_SECTIONS)})(?:/.*)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("console_page", _PageConvertor())


@router.get("/")
@router.get("/{page:console_page}")
async def page(request: Request) -> Response:
    """The console; its page is chosen by the address, in the browser."""
    return _page(request, "index", "main.js", POLICY)


def payment_policy() -> str:
    """The policy of the payment page: ours, with Razorpay's Checkout, or the sandbox's.

    The hosts are those that Razorpay's checkout.js was seen to use (facts on its policy). Its script
    makes markup and styles, so trusted types are off here and styles may be inline.
    """
    chosen = config.settings()
    public = urlsplit(chosen.base_url)
    if chosen.gateway_mode == "sandbox":
        scripts = frames = f"{public.scheme}://{public.netloc}"
        connections = ""
    else:
        scripts, frames = _RAZORPAY_SCRIPTS, _RAZORPAY_FRAMES
        connections = f" {_RAZORPAY_FRAMES} https://lumberjack.razorpay.com"
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline';"
        f" img-src 'self' data: {frames}; font-src 'self'; frame-src 'self' {frames};"
        f" connect-src 'self'{connections}; form-action 'self' {frames}; base-uri 'none';"
        " frame-ancestors 'none'; object-src 'none'"
    )


@router.get("/pay/{order_id}")
async def pay(request: Request, order_id: str) -> Response:
    """The payment of one order; a link in a message leads here, so nobody has to be logged in."""
    return _page(request, "pay", "pay.js", payment_policy())


@router.get("/assets/{digest}/{name:path}")
async def asset(request: Request, digest: str, name: str) -> Response:
    """A file of the console. Its address holds the digest of all of them, so it never changes."""
    file = assets().files.get(name)
    if file is None or digest != assets().digest:
        raise NotFound("There is nothing at this address.")
    headers = {"Cache-Control": f"public, max-age={_YEAR_SECONDS}, immutable"}
    return _answer(request, file, headers)
