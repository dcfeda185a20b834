"""What secrets look like in text: tokens by their makers' prefixes, headers, URLs, paths.

The one table of shapes; names of secrets are in model/secrets.py. A group of a pattern holds a
secret: `password1` is replaced by a placeholder of the kind `password`. If a pattern has the group
`name` or `option`, that name decides, and VALUE follows the match. Every pattern is linear: it
starts with a literal or at the start of a word, or has a bound on what comes before one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PLACEHOLDER = re.compile(r"<[a-z]+-[1-9][0-9]{0,8}>")

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
    ("token", "a Telegram bot token", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),
    ("token", "a JSON web token", r"eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,3}"),
)
"""Tokens known by their own prefix: kind, label, pattern. Each starts where a word starts."""

VALUE = re.compile(
    r"""\s{0,3}(?:\\?"(?P<double>[^"\\\n]{1,4096})\\?"|'(?P<single>[^'\n]{1,4096})'"""
    r"""|(?P<bare>(?:[^\s"'\\,;&)}\]]|\\(?!["'nrt])){1,4096}))"""
)
"""A value: quoted to its quote, else up to what ends it in JSON, YAML, URLs and shells."""


class Shape(NamedTuple):
    """Where a secret is in a text: in the groups of `pattern`.

    A `distinctive` one can't be anything else, whatever is around it, so that finished JSON and
    HTML files are searched for it too.
    """

    pattern: re.Pattern[str]
    distinctive: bool


def _shape(*parts: str, distinctive: bool = False) -> Shape:
    return Shape(re.compile("".join(parts)), distinctive)


_TOKEN_PATTERNS = (f"(?P<{kind}{i}>{pattern})" for i, (kind, _, pattern) in enumerate(TOKENS))

SHAPES = (
    _shape(r"(?<![A-Za-z0-9])(?:", "|".join(_TOKEN_PATTERNS), ")", distinctive=True),
    # private keys, whole or cut off
    _shape(
        r"(?P<key1>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
        r"(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
        r"|[A-Za-z0-9+/=\s\\]{0,20000}))",
        distinctive=True,
    ),
    # addresses of webhooks
    _shape(
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret1>[A-Za-z0-9/_-]+)",
        r"|discord(?:app)?\.com/api/webhooks/(?P<secret2>[0-9]+/[A-Za-z0-9_-]+)",
        r"|webhook\.office\.com/(?P<secret3>[A-Za-z0-9/@_-]+)",
        distinctive=True,
    ),
    # URLs with a user and a password, then with a user
    _shape(
        r"""://(?P<user1>[^\s/:@"'<>\\]{0,256}):(?!(?:[0-9]{1,5}/))""",
        r"""(?P<password1><[a-z]+-[0-9]+>|[^\s"'<>\\]{1,256}?)@(?=[\w.\[<-])""",
        r"""(?![^\s/"'<>\\?#]{0,256}@)""",
        distinctive=True,
    ),
    _shape(r"""://(?P<user1>[^\s/:@"'<>\\]{1,256})@(?=[\w\[<])"""),
    # HTTP headers, and the credentials of registries
    _shape(
        r"""(?i:authorization)["'\\]{0,3}\s{0,3}[:=]\s{0,3}["'\\]{0,3}""",
        r"""(?:(?i:basic|bearer|token|digest|apikey|negotiate|key)\s+)?""",
        r"""(?!(?i:basic|bearer|token|digest|apikey|negotiate|key)\s)""",
        r"""(?P<secret1>[^\s"'\\,;<>]{4,})""",
    ),
    _shape(r"(?i:bearer)\s{1,3}(?P<token1>(?=[A-Za-z._~+/=-]*[0-9])[A-Za-z0-9._~+/=-]{8,})"),
    _shape(
        r"(?i:basic)\s{1,3}(?P<secret1>(?=[A-Za-z0-9+/]{2,64}?[A-Z0-9+/=])[A-Za-z0-9+/]{8,}={0,2})",
        r"(?![A-Za-z0-9])",
    ),
    _shape(r"(?i:cookie):\s{0,3}(?P<secret1>[^\s\"'<>][^\r\n\"<>]{3,4096})"),
    _shape(
        r"""(?<![A-Za-z0-9])_?(?i:auth)\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?""",
        r"""(?P<secret1>[A-Za-z0-9+/_-]{12,}={0,2})""",
    ),
    # assignments and options: the value of one may be another one, if it isn't a secret itself
    _shape(r"(?<![\w.-])(?P<name>[\w.-]+?)[\"'\]\\]{0,3}\s{0,3}(?::=|=>|[:=])"),
    _shape(r"(?<![\w-])--(?P<option>[A-Za-z][A-Za-z-]{0,60})(?=\s)"),
    # passwords in sentences, SQL and commands
    _shape(
        r"(?i:identified\s{1,3}by|with\s{1,3}password|password|passphrase|secret)",
        r"(?:\s{1,3}(?i:is|was|of))?\s{1,3}'(?P<password1>[^'\n]{1,512})'",
        r"|(?i:password|passphrase)\s{1,3}(?i:is|was)\s{1,3}\"?(?P<password2>[^\s\"',;]{4,512})",
    ),
    _shape(
        r"""(?:mysql\w{0,10}|mariadb\w{0,10}|sshpass|login)\b[^\n]{0,200}?\s-p\s?""",
        r"""(?P<password1>[^\s"']{3,512})""",
        r"""|curl\b[^\n]{0,400}?\s(?:-u|--user)[\s=]["']?(?P<user1>[^\s:"']{1,256}):""",
        r"""(?P<password2>[^\s"']+)""",
    ),
    # hashed passwords
    _shape(
        r"(?P<password1>\$(?:apr1|2[abxy]|[156]|y|argon2(?:id|i|d))\$[^\s\"':,;]{12,512})",
        distinctive=True,
    ),
    # signatures of Azure, AWS and Google Cloud
    _shape(
        r"(?i:[?&]sig|AccountKey|SharedAccessKey|X-Amz-Signature|X-Amz-Credential",
        r"|X-Goog-Signature)=(?P<key1>[A-Za-z0-9%+/=._-]{16,})",
        distinctive=True,
    ),
    # e-mail addresses, but not the instances of systemd units
    _shape(
        r"(?<![\w.%+-])(?P<email1>[A-Za-z0-9][\w.%+-]{0,63}@",
        r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}",
        r"(?!(?:service|slice|scope|socket|timer|mount|target)\b)[A-Za-z]{2,24})(?![\w-])",
        distinctive=True,
    ),
    # home directories
    _shape(
        r"""(?:/home/|(?<![\w.])/Users/|/mnt/[a-z]/Users/|\\{1,4}[Uu]sers\\{1,4})""",
        r"""(?P<user1>[^\\/\s"'`:<>|*?;,()\[\]{}$=&#]{1,64})""",
        distinctive=True,
    ),
    # private host names
    _shape(
        r"(?<![\w.-])(?!(?:[a-z]{1,20}\.)?docker\.internal\b)",
        r"(?P<host1>[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62}){0,6}",
        r"\.(?:internal|intranet|intra|corp|lan|local|localdomain|private|home\.arpa))",
        r"(?![\w-]|\.[A-Za-z0-9])",
        r"|(?<![\w.-])(?P<host2>ip-(?:[0-9]{1,3}-){3}[0-9]{1,3})(?![\w-])",
        distinctive=True,
    ),
)
"""In the order in which they are looked for: the wider a shape, the later."""
