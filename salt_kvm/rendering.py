"""Answers as Salt renders them, by Jinja: nothing of a value gets into an error or a log.

What Salt tells and logs of a template that fails may hold values of the pillar: its messages, the
traceback below them, and the text that was rendered, which is logged at the level ``garbage``.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from salt_kvm.errors import ApplyError

LOGGERS = ("salt.template", "salt.utils.templates")
# Raised before any value is known: https://jinja.palletsprojects.com/en/stable/api/#exceptions
OF_THE_SOURCE = ("TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound")
MISSING = re.compile(r"Jinja variable (?:'\w+' is undefined|'[\w.]+ object' has no \w+ '?(.+?)'?)")


def render(functions: Any, address: str, saltenv: str) -> str:
    """Return the text that a template gives.

    :param functions: Salt's ``__salt__``
    :param address: ``salt://...``, or a path of this host
    :param saltenv: of the template, and of what it includes
    :raises ApplyError: in words that stand in the template
    """
    try:
        with _unlogged():
            text = functions["slsutil.renderer"](
                path=address, default_renderer="jinja", saltenv=saltenv
            )
    # A template may raise anything.
    except Exception as error:
        source = _source(functions, address, saltenv)
        raise ApplyError(f"{address} can't be rendered: {_told(error, source)}") from None
    if not isinstance(text, str):
        raise ApplyError(f"{address} can't be rendered: it gives no text")
    return text


def _told(error: Exception, source: str) -> str:
    if isinstance(error, OSError):
        return str(error)
    below = error.__context__ or error
    line = getattr(error, "line_num", None)
    place = f", line {line}" if line else ""
    first = (str(error).splitlines() or [""])[0].partition("; line ")[0].rstrip(".")
    missing = MISSING.fullmatch(first)
    if missing is not None and (missing[1] is None or missing[1] in source):
        return f"{first}{place}"
    if type(below).__name__ in OF_THE_SOURCE:
        return f"{first}{place}"
    return f"{type(below).__name__}{place}"


def _source(functions: Any, address: str, saltenv: str) -> str:
    text = functions["cp.get_file_str"](address, saltenv=saltenv)
    return text if isinstance(text, str) else ""


@contextmanager
def _unlogged() -> Iterator[None]:
    """Drop what this thread logs of templates."""
    own = threading.get_ident()

    def drop(record: logging.LogRecord) -> bool:
        return record.thread != own

    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)
