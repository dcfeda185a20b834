"""Which foreign address may be a link: one of the web, of characters that no medium reads."""

from __future__ import annotations

import re
from urllib.parse import quote

from preflight.render.options import short

_LONGEST = 1000  # what is cut leads nowhere
_SAFE = "-._~:/?#[]@!$&'()*+,;=%"  # RFC 3986, 2.2 and 2.3


def address(url: str | None) -> str:
    """Return a web address as a link needs it; nothing for what is none, which is only shown."""
    if not url or len(url) > _LONGEST or not re.match(r"https?://", url, re.IGNORECASE):
        return ""
    return quote(short(url), safe=_SAFE)
