"""The agent's own lines: as text for people, or as JSON for a log store."""

import logging
from datetime import UTC, datetime

import msgspec

from workers.log_tail import log_tail

FORMATS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logging(log_format: str) -> None:
    """Send what is logged from INFO on to standard error, in one of `FORMATS`; the last
    lines are kept."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s agent: %(message)s")
    )
    log_tail.setFormatter(handler.formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler, log_tail])
