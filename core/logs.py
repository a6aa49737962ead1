"""Logs: one line an event, text or JSON, with the id of the request and of its user."""

import contextvars
import dataclasses
import datetime as dt
import json
import logging.config

from core import clock, config

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")


@dataclasses.dataclass(frozen=True, slots=True)
class Actor:
    """Who does what is logged and recorded: nobody yet, a user, or an API key of a user."""

    user_id: str | None  # None: nobody is authenticated (yet)
    role: str  # user, operator or admin; `nobody` without a user; `system` outside of a request
    address: str  # the client's address, as the rate limits see it
    key_id: str | None = None  # the API key, when it was one


SYSTEM = Actor(user_id=None, role="system", address="-")  # a background job, the command line

# Set for each request by `api/middleware.py`, and completed when the user is authenticated.
actor: contextvars.ContextVar[Actor] = contextvars.ContextVar("actor", default=SYSTEM)


def identify(user_id: str, role: str, key_id: str | None = None) -> None:
    """This request is the user's from now on: log lines and audit rows name the user."""
    actor.set(dataclasses.replace(actor.get(), user_id=user_id, role=role, key_id=key_id))


def configure() -> None:
    """One line an event, with the request and the user it belongs to; JSON with `LOG_FORMAT=json`."""
    line = "%(asctime)s %(levelname)s %(request_id)s %(user)s %(name)s %(message)s"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"context": {"()": _Context}},
            "formatters": {"text": {"format": line}, "json": {"()": _JsonLine}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "formatter": config.settings().log_format,
                    "filters": ["context"],
                }
            },
            "root": {"handlers": ["out"], "level": config.settings().log_level},
            "loggers": {"httpx": {"level": "WARNING"}, "pymongo": {"level": "WARNING"}},
        }
    )


class _Context(logging.Filter):
    """Adds whose line it is: `usr_…`, or `usr_…/key_…` when an API key acts for the user."""

    def filter(self, record: logging.LogRecord) -> bool:
        who = actor.get()
        record.request_id = request_id.get()
        record.user = "/".join(part for part in (who.user_id, who.key_id) if part) or "-"
        return True


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "at": clock.iso(dt.datetime.fromtimestamp(record.created, dt.UTC)),
            "level": record.levelname,
            "request_id": getattr(record, "request_id", "-"),
            "user": getattr(record, "user", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)
