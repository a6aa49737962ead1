"""Logs: one line an event, text or JSON, with the id of the request."""

import contextvars
import datetime as dt
import json
import logging.config

from core import clock, config

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")


def configure() -> None:
    """One line an event, with the id of the request it belongs to; JSON with `LOG_FORMAT=json`."""
    line = "%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": _RequestId}},
            "formatters": {"text": {"format": line}, "json": {"()": _JsonLine}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "formatter": config.settings().log_format,
                    "filters": ["request_id"],
                }
            },
            "root": {"handlers": ["out"], "level": config.settings().log_level},
            "loggers": {"httpx": {"level": "WARNING"}, "pymongo": {"level": "WARNING"}},
        }
    )


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "at": clock.iso(dt.datetime.fromtimestamp(record.created, dt.UTC)),
            "level": record.levelname,
            "request_id": getattr(record, "request_id", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)
