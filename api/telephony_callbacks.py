"""Routes for telephone networks: reports of a call, and what to say in it."""

from collections.abc import Mapping, MutableMapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

import telephony
from api import problems
from calls import lifecycle, placing
from calls import records as call_records
from calls.records import Call
from core.errors import NotFound
from telephony import InvalidCallbackSignature, Report

# --- verbs --------------------------------------------------------------------------------------


async def script_for(call_id: str, *, via: str) -> telephony.Script:
    """What the network `via` is to do in this call, which was answered.

    Raises NotFound, also when the call is with another network.
    """
    call = await _call_with(via, call_id)
    return telephony.get_provider(via).script(call, keys_url=telephony.keys_url(via, call_id))


async def script_after_key(call_id: str, key: str | None, *, via: str) -> telephony.Script:
    """What is said after a key: a word of thanks, or all of it again where the key means nothing.

    Raises NotFound as `script_for` does.
    """
    call = await _call_with(via, call_id)
    pressed = (call.get("keys") or {}).get(key or "", "")
    return telephony.get_provider(via).script(
        call, keys_url=telephony.keys_url(via, call_id), pressed=pressed
    )


async def _call_with(via: str, call_id: str) -> Call:
    call = await call_records.get_call(call_id)
    if call["provider"] != via:
        raise NotFound("There is no call with this id at this network.")
    return call


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(tags=["calls"], route_class=problems.LenientRoute)

_ADDRESS = {
    "parameters": [
        {"name": name, "in": where, "required": True, "schema": {"type": "string"}}
        for name, where in (("provider", "path"), ("call_id", "path"), ("token", "query"))
    ]
}
_SCRIPTS = {
    media_type: {"schema": {"type": "string"}} for media_type in ("application/xml", "text/plain")
}


def _report_in(
    scope: MutableMapping[str, Any], headers: Mapping[str, str], body: bytes
) -> tuple[str, str, Report]:
    """The network, the call and the report of a callback, from the request as it was received."""
    name, call_id = scope["path_params"]["provider"], scope["path_params"]["call_id"]
    client = scope.get("client")
    report = telephony.read_callback(
        name,
        call_id,
        path=f"{scope['path']}?{scope['query_string'].decode('latin-1')}",
        headers=headers,
        body=body,
        address=client[0] if client else "",
    )
    return name, call_id, report


@router.post(
    "/api/telephony/{provider}/{call_id}/status",
    status_code=204,
    response_class=Response,
    responses=problems.documented(InvalidCallbackSignature, NotFound),
    openapi_extra=_ADDRESS,
)
async def status(request: Request) -> Response:
    """The telephone network reports how a call stands. Repeated and late reports change nothing."""
    # The busiest route: every call reports here, so it has no model, no dependency and no extra query.
    name, call_id, report = _report_in(request.scope, request.headers, await request.body())
    await lifecycle.apply_report(call_id, report, via=name)
    if report.answered_by == "machine":
        await placing.hang_up_on_machine(call_id)
    return Response(status_code=204)


@router.post(
    "/api/telephony/{provider}/{call_id}/answer",
    response_class=Response,
    responses={
        200: {"content": _SCRIPTS},
        **problems.documented(InvalidCallbackSignature, NotFound),
    },
    openapi_extra=_ADDRESS,
)
async def answer(request: Request) -> Response:
    """The call was answered, and the network asks what to do: say, play or connect. Signed like a
    report, and a report as well."""
    name, call_id, report = _report_in(request.scope, request.headers, await request.body())
    script = await script_for(call_id, via=name)
    await lifecycle.apply_report(call_id, report, via=name)
    return Response(script.text, media_type=script.media_type)


@router.post(
    "/api/telephony/{provider}/{call_id}/keys",
    response_class=Response,
    responses={
        200: {"content": _SCRIPTS},
        **problems.documented(InvalidCallbackSignature, NotFound),
    },
    openapi_extra=_ADDRESS,
)
async def keys(request: Request) -> Response:
    """The person called pressed a key, and the network asks what to say. Signed like a report, and a
    report as well; the first key that means something counts, whatever is repeated."""
    name, call_id, report = _report_in(request.scope, request.headers, await request.body())
    await lifecycle.apply_report(call_id, report, via=name)
    script = await script_after_key(call_id, report.key, via=name)
    return Response(script.text, media_type=script.media_type)


@router.get(
    "/api/telephony/exotel/answer",
    response_class=Response,
    responses={
        200: {"content": _SCRIPTS},
        **problems.documented(InvalidCallbackSignature, NotFound),
    },
)
@router.head("/api/telephony/exotel/answer", include_in_schema=False)
async def answer_exotel(
    key: Annotated[str, Query(alias="CustomField", max_length=200)] = "",
) -> Response:
    """An applet of Exotel's flow asks what to say (Greeting) or whom to connect (Connect). Its address
    is the same for all calls; `CustomField` is the call's own key."""
    script = await script_for(telephony.call_id_of_key(key), via="exotel")
    return Response(script.text, media_type=script.media_type)
