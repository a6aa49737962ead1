"""Strict requests: JSON that names nothing twice, and no field or parameter that is not known."""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from core.errors import InvalidRequest
from core.money import WrittenFloat

# What is shown of a name that a client chose, and of how many errors an answer tells.
_NAME_LENGTH_MAX = 60
ERRORS_MAX = 20


# --- names that are not known ---------------------------------------------------------------------


def shown(name: object) -> str:
    """A name that a client chose, as an answer may repeat it: short, and without what no UTF-8 has."""
    text = str(name).encode("utf-8", "replace").decode()
    return text if len(text) <= _NAME_LENGTH_MAX else f"{text[:_NAME_LENGTH_MAX]}…"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say about a name that is not known: with the known one that was probably meant."""
    by_spelling = {_spelling(each): each for each in known}
    sent = _spelling(name[:_NAME_LENGTH_MAX])
    # Letters that changed places come first: `strat` is `start`, though `start_at` is as close.
    swapped = [each for each in by_spelling if sorted(each) == sorted(sent)]
    meant = swapped or difflib.get_close_matches(sent, by_spelling, n=1)
    return f"Unknown {kind}" + (f"; did you mean `{by_spelling[meant[0]]}`?" if meant else "")


def _spelling(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def _fields_at(model: Any, place: Sequence[object]) -> list[str]:
    """The names of the fields of the model that stands at this place of a body."""
    found = _model_in(model)
    for part in place:
        field = found.model_fields.get(str(part)) if found is not None else None
        if field is not None:
            found = _model_in(field.annotation)
    return (
        [] if found is None else [field.alias or name for name, field in found.model_fields.items()]
    )


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names: alone, optional, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def errors_of(request: Request, problem: RequestValidationError) -> list[dict[str, str]]:
    """The fields that are wrong, each with why; at most `ERRORS_MAX`. A misspelt one comes first: it
    is why another is missing."""
    found = sorted(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
    body = getattr(request.scope.get("route"), "body_field", None)
    model = body and body.field_info.annotation
    return [_error(error, model) for error in found[:ERRORS_MAX]]


def _error(error: dict[str, Any], model: Any) -> dict[str, str]:
    where, *place = error["loc"]
    name = ".".join(map(shown, place)) or str(where)
    if error["type"] != "extra_forbidden":
        return {"field": name, "message": error["msg"].removeprefix("Value error, ")}
    known = _fields_at(model, place[:-1])
    return {"field": name, "message": unknown("field", str(place[-1]), known)}


# --- the query string -----------------------------------------------------------------------------


def parameters_of(dependant: Dependant) -> frozenset[str]:
    """The query parameters that a route and its dependencies read."""
    found = {field.alias for field in dependant.query_params}
    return frozenset(found.union(*map(parameters_of, dependant.dependencies)))


def refuse_unknown_parameters(request: Request, known: frozenset[str]) -> None:
    """Refuse a parameter that the route does not read, or one that is given twice: a misspelt filter
    would show everything. Raises InvalidRequest."""
    sent = [name for name, _ in request.query_params.multi_items()]
    wrong = [
        {"field": shown(name), "message": unknown("parameter", name, known)}
        for name in dict.fromkeys(sent)
        if name not in known
    ]
    wrong += [
        {"field": name, "message": "is given twice"}
        for name in sorted(known)
        if sent.count(name) > 1
    ]
    if wrong:
        first = wrong[0]
        raise InvalidRequest(f"{first['field']}: {first['message']}", errors=wrong[:ERRORS_MAX])


async def refuse_unread_fields(request: Request) -> None:
    """Refuse JSON fields that are sent to a route that reads no body; an empty object is harmless.
    Raises InvalidRequest."""
    if not request.headers.get("content-type", "").partition(";")[0].strip().endswith("json"):
        return
    try:
        sent = await request.json() if await request.body() else None
    except json.JSONDecodeError:
        return
    if isinstance(sent, dict) and sent:
        wrong = [{"field": shown(name), "message": unknown("field", name, ())} for name in sent]
        detail = f"{wrong[0]['field']}: {wrong[0]['message']}; this route reads no body"
        raise InvalidRequest(detail, errors=wrong[:ERRORS_MAX])


# --- JSON -----------------------------------------------------------------------------------------


class StrictRequest(Request):
    """A request whose JSON means one thing: no name twice in an object, and numbers that know how
    they were written."""

    async def json(self) -> Any:
        """The body. Raises JSONDecodeError, also for what is nested too deeply."""
        if not hasattr(self, "_json"):
            self._json = _parsed(await self.body())
        return self._json


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(
            body,
            parse_float=WrittenFloat,
            object_pairs_hook=_without_repetition,
        )
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        raise json.JSONDecodeError("it is not UTF-8", "", 0) from None
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from None
    except ValueError:
        # The interpreter reads no integer of more than 4,300 digits.
        raise json.JSONDecodeError("a number has too many digits", "", 0) from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise json.JSONDecodeError(f"an object names `{shown(twice)}` twice", "", 0)
    return found
