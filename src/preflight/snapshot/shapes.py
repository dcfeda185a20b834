"""What secrets look like: tokens by their makers' prefixes, keys, headers, addresses, home paths.

A shape names no secret: it says where in a text one stands. Every pattern runs in linear time: it
begins with a literal, or has a bound on what stands before one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PLACEHOLDER = re.compile(r"<[a-z]+-[1-9][0-9]{0,8}>")

# a value in a text: quoted to its quote, else to what ends it in JSON, YAML, URLs and shells
_VALUE = (
    r"""(?:\\?"(?P<q>[^"\\\n]{1,4096})\\?"|'(?P<r>[^'\n]{1,4096})'"""
    r"""|(?P<v>(?:[^\s"'\\,;&)}\]]|\\(?!["'nrt])){1,4096}))"""
)
_HIDDEN = (
    r"passw(?:or)?d|passphrase|passwort|pgpassword|secret|credentials?|api[_-]?key|apikey"
    r"|access[_-]?key(?:[_-]?id)?|private[_-]?key(?:[_-]?id)?|(?:account|master|signing|encryption"
    r"|shared|license|deploy|ssh|client|auth)[_-]?key|[_-]key|[_-]pass|[_-]pwd|requirepass"
    r"|masterauth|token|dsn|salt|session[_-]?id|signature"
)


class Shape(NamedTuple):
    """Where a secret stands: the groups of `pattern` that hold it, or all that it matches.

    `kind` is the word of the placeholder, `name` how a person is told what was found.
    """

    kind: str
    name: str
    pattern: re.Pattern[str]
    plain: bool = False  # the text itself tells, whatever stands around it


TOKENS = (
    ("key", "an AWS access key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
    ("key", "an Amazon Bedrock key", r"ABSK[A-Za-z0-9+/]{60,}={0,2}"),
    ("key", "a Google API key", r"AIza[A-Za-z0-9_-]{35}"),
    ("token", "a Google OAuth token", r"ya29\.[A-Za-z0-9_-]{20,}|1//0[A-Za-z0-9_-]{30,}"),
    ("secret", "a Google client secret", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("secret", "an Azure client secret", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
    ("token", "a GitHub token", r"gh[pousr]_[A-Za-z0-9]{30,255}"),
    ("token", "a GitHub token", r"github_pat_[A-Za-z0-9_]{22,255}"),
    ("token", "a GitLab token", r"(?:gl[a-z]{2,6}-|GR1348941)[A-Za-z0-9_.-]{20,}"),
    ("token", "a Slack token", r"xox[abcdeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"),
    ("key", "a Stripe key", r"[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/]{20,}"),
    ("key", "a key of OpenAI or Anthropic", r"sk-[A-Za-z0-9_-]{20,}"),
    ("token", "a Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    ("token", "an npm token", r"npm_[A-Za-z0-9]{30,}"),
    ("token", "a PyPI token", r"pypi-[A-Za-z0-9_-]{40,}"),
    ("token", "a RubyGems token", r"rubygems_[a-f0-9]{48}"),
    ("token", "a crates.io token", r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    ("token", "a Docker Hub token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("token", "a DigitalOcean token", r"do[opr]_v1_[a-f0-9]{64}"),
    ("key", "a SendGrid key", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    ("key", "a Twilio key", r"(?:SK|AC)[a-f0-9]{32}(?![a-f0-9])"),
    ("key", "a Mailgun key", r"key-[a-f0-9]{32}(?![a-f0-9])"),
    ("token", "a Vault token", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
    ("token", "a Databricks token", r"dapi[a-f0-9]{32}"),
    ("token", "a Grafana token", r"gl(?:sa|c)_[A-Za-z0-9+/=_]{20,}"),
    ("token", "a Shopify token", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("key", "a New Relic key", r"NRAK-[A-Z0-9]{20,}"),
    ("token", "a Sentry token", r"sntry[su]_[A-Za-z0-9+/=_-]{30,}"),
    ("key", "a Postman key", r"PMAK-[a-f0-9-]{50,}"),
    ("token", "an Atlassian token", r"ATATT3[A-Za-z0-9_=-]{50,}"),
    ("token", "a Replicate token", r"r8_[A-Za-z0-9]{30,}"),
    ("key", "a Groq or xAI key", r"gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}"),
    ("key", "a LangSmith or Pinecone key", r"(?:lsv2|pcsk)_[A-Za-z0-9_]{30,}"),
    ("key", "a Tailscale key", r"tskey-[A-Za-z0-9-]{20,}"),
    ("key", "a Supabase key", r"sb(?:p|_secret)_[A-Za-z0-9_]{20,}"),
    ("key", "an age key", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    ("token", "a Linear or Notion token", r"(?:lin_api|ntn)_[A-Za-z0-9]{30,}"),
    ("token", "a Telegram bot's token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    (
        "token",
        "a JSON web token",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}",
    ),
)
"""Tokens that their own prefix tells, by kind, name and pattern; each stands at a word's start."""

_JOINED = "|".join(f"(?P<t{number}>{pattern})" for number, (_, _, pattern) in enumerate(TOKENS))
TOKEN = re.compile(f"(?<![A-Za-z0-9])(?:{_JOINED})")
"""All of TOKENS in one pass; the group that matched is `t` and its number."""

SHAPES = (
    Shape(
        "key",
        "a private key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"|[A-Za-z0-9+/=\s\\]{0,20000})"
        ),
        plain=True,
    ),
    Shape(
        "secret",
        "a webhook's address",
        re.compile(
            r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<v>[A-Za-z0-9/_-]+)"
            r"|discord(?:app)?\.com/api/webhooks/(?P<w>[0-9]+/[A-Za-z0-9_-]+)"
            r"|webhook\.office\.com/(?P<x>[A-Za-z0-9/@_-]+)"
        ),
        plain=True,
    ),
    Shape(
        "password",
        "credentials in a URL",
        re.compile(
            r"""://(?P<user1>[^\s/:@"'<>\\]{0,256}):(?!(?:[0-9]{1,5}/))"""
            r"""(?P<v><[a-z]+-[0-9]+>|[^\s"'<>\\]{1,256}?)@(?=[\w.\[<-])"""
            r"""(?![^\s/"'<>\\?#]{0,256}@)"""
        ),
        plain=True,
    ),
    Shape(
        "user",
        "a user in a URL",
        re.compile(r"""://(?P<v>[^\s/:@"'<>\\]{1,256})@(?=[\w\[<])"""),
    ),
    Shape(
        "secret",
        "an Authorization header",
        re.compile(
            r"""(?i:authorization)["'\\]{0,3}\s{0,3}[:=]\s{0,3}["'\\]{0,3}"""
            r"""(?:(?i:basic|bearer|token|digest|apikey|negotiate|key)\s+)?"""
            r"""(?!(?i:basic|bearer|token|digest|apikey|negotiate|key)\s)(?P<v>[^\s"'\\,;<>]{4,})"""
        ),
    ),
    Shape(
        "token",
        "a bearer header",
        re.compile(r"(?i:bearer)\s{1,3}(?P<v>(?=[A-Za-z._~+/=-]*[0-9])[A-Za-z0-9._~+/=-]{8,})"),
    ),
    Shape(
        "secret",
        "a basic header",
        re.compile(
            r"(?i:basic)\s{1,3}(?P<v>(?=[A-Za-z0-9+/]{2,64}?[A-Z0-9+/=])[A-Za-z0-9+/]{8,}={0,2})"
            r"(?![A-Za-z0-9])"
        ),
    ),
    Shape(
        "secret",
        "a cookie",
        re.compile(r"(?i:cookie):\s{0,3}(?P<v>[^\s\"'<>][^\r\n\"<>]{3,4096})"),
    ),
    Shape(
        "secret",
        "registry credentials",
        re.compile(
            r"""(?i:(?<![A-Za-z0-9])_?auth|identitytoken|registrytoken)\\?["']?\s{0,3}[:=]\s{0,3}"""
            r"""\\?["']?(?P<v>[A-Za-z0-9+/_-]{12,}={0,2})"""
        ),
    ),
    Shape(
        "password",
        "a password",
        re.compile(
            r"(?i:" + _HIDDEN + r")(?![A-Za-z])[\"'\]\\]{0,3}\s{0,3}(?::=|=>|[:=])\s{0,3}"
            + _VALUE
        ),
    ),
    Shape(
        "password",
        "a password",
        re.compile(
            r"--[A-Za-z-]{0,40}?(?i:password|passwd|pass|secret|token|key|credential)\s{1,3}"
            + _VALUE
        ),
    ),
    Shape(
        "password",
        "a password",
        re.compile(
            r"(?i:identified\s{1,3}by|with\s{1,3}password|password|passphrase|secret|token)"
            r"(?:\s{1,3}(?i:is|was|of))?\s{1,3}'(?P<v>[^'\n]{1,512})'"
            r"|(?i:password|passphrase)\s{1,3}(?i:is|was)\s{1,3}\"?(?P<w>[^\s\"',;]{4,512})"
        ),
    ),
    Shape(
        "password",
        "a password",
        re.compile(
            r"""(?:mysql\w{0,10}|mariadb\w{0,10}|sshpass|login)\b[^\n]{0,200}?\s-p\s?(?P<v>[^\s"']{3,512})"""
            r"""|curl\b[^\n]{0,400}?\s(?:-u|--user)[\s=]["']?(?P<user1>[^\s:"']{1,256}):(?P<w>[^\s"']+)"""
        ),
    ),
    Shape(
        "password",
        "a hashed password",
        re.compile(r"\$(?:apr1|2[abxy]|[156]|y|argon2(?:id|i|d))\$[^\s\"':,;]{12,512}"),
        plain=True,
    ),
    Shape(
        "key",
        "an Azure signature",
        re.compile(r"(?i:[?&]sig|AccountKey|SharedAccessKey|X-Amz-Signature|X-Amz-Credential"
                   r"|X-Goog-Signature)=(?P<v>[A-Za-z0-9%+/=._-]{16,})"),
        plain=True,
    ),
    Shape(
        "email",
        "an e-mail address",
        re.compile(
            r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{0,63}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}"
            r"(?!(?:service|slice|scope|socket|timer|mount|target)\b)[A-Za-z]{2,24}(?![\w-])"
        ),
        plain=True,
    ),
    Shape(
        "user",
        "a home path",
        re.compile(
            r"""(?:/home/|(?<![\w.])/Users/|/mnt/[a-z]/Users/|\\{1,4}[Uu]sers\\{1,4})"""
            r"""(?P<v>[^\\/\s"'`:<>|*?;,()\[\]{}$=&#]{1,64})"""
        ),
        plain=True,
    ),
    Shape(
        "host",
        "a private host name",
        re.compile(
            r"(?<![\w.-])(?!(?:[a-z]{1,20}\.)?docker\.internal\b)(?P<v>[A-Za-z0-9][A-Za-z0-9-]{0,62}"
            r"(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62}){0,6}\.(?:internal|intranet|intra|corp|lan|local"
            r"|localdomain|private|home\.arpa))(?![\w-]|\.[A-Za-z0-9])"
            r"|(?<![\w.-])(?P<w>ip-(?:[0-9]{1,3}-){3}[0-9]{1,3})(?![\w-])"
        ),
        plain=True,
    ),
)  # fmt: skip
"""What else stands out, in the order in which it is looked for."""
