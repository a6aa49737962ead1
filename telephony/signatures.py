"""Provider signatures: those of Twilio and Plivo, computed again and compared."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit, urlunsplit

# --- vocabulary ---------------------------------------------------------------------------------

Pairs = list[tuple[str, str]]

_STANDARD_PORT = {"https": 443, "http": 80}


# --- verbs --------------------------------------------------------------------------------------


def form(body: bytes) -> Pairs:
    """The fields of a form; those without a value are signed as well."""
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


def twilio(url: str, fields: Iterable[tuple[str, str]], secret: str, digest: str = "sha1") -> str:
    """Base64 of the HMAC over the address, then name and value of each field.

    The fields are sorted by name, and the distinct values of a repeated one by value.
    """
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return _hmac(signed, secret, digest)


def twilio_is_valid(url: str, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether Twilio signed this request to `url`, which is our own address, without a fragment.

    Twilio signs some addresses with their standard port and some without: both are tried. A body
    that is no form is covered by its digest in the address. Another algorithm than that of the
    auth token (`SharedKey`) is refused: this service has no such key.
    """
    settings = headers.get("x-twilio-webhooks-signature-settings", "")
    if settings and "algorithm=HMAC_SHA1" not in settings.replace(" ", ""):
        return False
    sent = headers.get("x-twilio-signature", "")
    claimed = dict(parse_qsl(urlsplit(url).query)).get("bodySHA256")
    if claimed is not None and not _same(claimed, hashlib.sha256(body).hexdigest()):
        return False
    fields = form(body) if claimed is None else []
    return any(_same(sent, twilio(address, fields, secret)) for address in _with_ports(url))


def plivo(method: str, url: str, fields: Pairs, nonce: str, secret: str) -> str:
    """Plivo's V3: base64 of the HMAC-SHA256 over the address, the fields and the nonce."""
    return _hmac(f"{plivo_text(method, url, fields)}.{nonce}", secret, "sha256")


def plivo_text(method: str, url: str, fields: Pairs) -> str:
    """What V3 signs, without the nonce.

    The query is decoded and sorted; the fields of a POST follow it behind a dot, and where there is
    no query, behind a bare question mark. (Plivo's documentation differs; its SDKs do this.)
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    base = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if method == "GET":
        query, fields = query + fields, []
    asked = "&".join(f"{name}={value}" for name, value in sorted(query))
    if not fields:
        return f"{base}?{asked}" if asked else base
    dot = "." if asked else ""
    return f"{base}?{asked}{dot}" + "".join(name + value for name, value in sorted(fields))


def plivo_is_valid(
    url: str, headers: Mapping[str, str], body: bytes, secret: str, *, method: str = "POST"
) -> bool:
    """Whether Plivo signed this request to `url`.

    With the token of the account that owns the number, or of the main account; each header may have
    several signatures. V2, which does not cover the body, is no substitute.
    """
    nonce = headers.get("x-plivo-signature-v3-nonce", "")
    if not nonce:
        return False
    expected = plivo(method, url, form(body), nonce, secret)
    sent = ",".join(
        headers.get(name, "") for name in ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
    )
    return any(_same(one.strip(), expected) for one in sent.split(","))


def _with_ports(url: str) -> list[str]:
    parts = urlsplit(url)
    standard = _STANDARD_PORT.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{parts.port}") if parts.port else parts.netloc
    if parts.port is None:
        other = f"{host}:{standard}"
    elif parts.port == standard:
        other = host
    else:
        return [url]
    return [url, urlunsplit(parts._replace(netloc=other))]


def _hmac(text: str, secret: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), digest)).decode()


def _same(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())
