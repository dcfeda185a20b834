"""Secrets planted in text, of many makers, under many names and in many wrappers: none is left."""

# ruff: noqa: E501 - tables

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflight.snapshot.redact import Redactor

HARMLESS = Path(__file__).with_name("harmless_lines.txt").read_text("utf-8").splitlines()

# a prefix and what follows it, apart so that no scanner of this repository takes it for a real one:
# a letter stands for a kind of character, `A` upper case, `a` lower case, `x` any, `h` hexadecimal,
# `9` digits, `b` Base64
MAKERS = {
    "1Password": ("A3-", "A6 - A11 - A5 - A5 - A5"), "1Password service": ("ops_eyJ", "b260"),
    "Adobe": ("p8e-", "a32"), "age": ("AGE-SECRET-KEY-1", "A58"), "Airtable": ("pat", "x14 . h64"),
    "Alibaba": ("LTAI", "a20"), "Anthropic": ("sk-ant-api03-", "x93"),
    "Artifactory": ("AKCp", "x69"), "Atlassian": ("ATATT3", "x186"), "AWS": ("AKIA", "A16"),
    "AWS, for a session": ("ASIA", "A16"), "Bedrock": ("ABSK", "b109"),
    "Azure": ("abc8Q~", "x33"), "Brevo": ("xkeysib-", "h64 - a16"), "Cerebras": ("csk-", "a48"),
    "ClickHouse": ("4b1d", "x38"), "Clojars": ("CLOJARS_", "a60"),
    "Cloudflare": ("v1.0-", "h24 - h146"), "Databricks": ("dapi", "h32"),
    "DeepSeek": ("sk-", "h32"), "DigitalOcean": ("dop_v1_", "h64"),
    "Discord": ("MTk4", "x22 . x6 . x27"), "Docker Hub": ("dckr_pat_", "x27"),
    "Docker Swarm": ("SWMTKN-1-", "a50 - a25"), "Docker Swarm, to unlock": ("SWMKEY-1-", "b43"),
    "Doppler": ("dp.pt.", "x43"), "Duffel": ("duffel_live_", "x43"),
    "Dynatrace": ("dt0c01.", "A24 . A64"), "EasyPost": ("EZAK", "x54"),
    "ElevenLabs": ("sk_", "h48"), "Facebook": ("EAAC", "x110"), "Figma": ("figd_", "x40"),
    "Firecrawl": ("fc-", "h32"), "Fireworks": ("fw_", "x24"), "Flutterwave": ("FLWSECK_TEST-", "h32"),
    "Fly.io": ("fm2_", "b120"), "Frame.io": ("fio-u-", "x64"), "GitHub": ("ghp_", "x36"),
    "GitHub OAuth": ("gho_", "x36"), "GitHub, fine-grained": ("github_pat_", "x82"),
    "GitLab": ("glpat-", "x20"), "GitLab CI": ("glcbt-", "x3 _ x20"), "GitLab runner": ("glrt-", "x20"),
    "Google": ("AIza", "x35"), "Google client": ("GOCSPX-", "x28"), "Google OAuth": ("ya29.", "x60"),
    "Grafana": ("glsa_", "x32 _ h8"), "Grafana Cloud": ("glc_", "b40"), "Groq": ("gsk_", "x52"),
    "Harness": ("pat.", "x22 . x24 . x20"), "Heroku": ("HRKU-AA", "x58"),
    "Hugging Face": ("hf_", "x34"), "Infracost": ("ico-", "x32"),
    "JSON web token": ("eyJhbGciOiJIUzI1NiJ9.", "x40 . x43"), "LangSmith": ("lsv2_pt_", "h32 _ h10"),
    "Linear": ("lin_api_", "x40"), "Mailchimp": ("", "h32 -us12"), "Mailgun": ("key-", "h32"),
    "MaxMind": ("", "x6 _ x29 _mmk"), "Neon": ("napi_", "a64"), "New Relic": ("NRAK-", "A27"),
    "Notion": ("ntn_", "911 x35"), "Notion, older": ("secret_", "x43"), "npm": ("npm_", "x36"),
    "NVIDIA": ("nvapi-", "x64"), "Octopus": ("API-", "A26"), "OpenAI": ("sk-proj-", "x74"),
    "OpenRouter": ("sk-or-v1-", "h64"), "OpenShift": ("sha256~", "x43"),
    "Perplexity": ("pplx-", "x48"), "Pinecone": ("pcsk_", "x60"),
    "PlanetScale": ("pscale_pw_", "x43"), "PlanetScale token": ("pscale_tkn_", "x43"),
    "PostHog": ("phx_", "x43"), "Postman": ("PMAK-", "h24 - h34"), "Prefect": ("pnu_", "x36"),
    "Pulumi": ("pul-", "h40"), "PyPI": ("pypi-", "x80"), "ReadMe": ("rdme_", "a70"),
    "Replicate": ("r8_", "x37"), "RubyGems": ("rubygems_", "h48"), "crates.io": ("cio", "x32"),
    "SendGrid": ("SG.", "x22 . x43"), "Sentry": ("sntryu_", "h64"), "Shippo": ("shippo_live_", "h40"),
    "Shopify": ("shpat_", "h32"), "Slack": ("xoxb-", "912 - 912 - x24"),
    "Slack app": ("xapp-", "1-A9 - 912 - h64"), "SonarQube": ("squ_", "a40"),
    "Sourcegraph": ("sgp_", "h40"), "Square": ("sq0atp-", "x22"), "Stripe": ("sk_live_", "x24"),
    "Stripe webhook": ("whsec_", "x32"), "Supabase": ("sbp_", "h40"), "Tailscale": ("tskey-auth-", "x30"),
    "Tavily": ("tvly-", "x32"), "Telegram": ("", "99 :AA x33"), "Terraform": ("", "x14 .atlasv1. x64"),
    "Together": ("tgp_v1_", "x43"), "Twilio": ("SK", "h32"), "Typeform": ("tfp_", "x59"),
    "Vault": ("hvs.", "x95"), "Vault, older": ("s.", "x24"), "xAI": ("xai-", "x80"),
    "Yandex": ("AQVN", "x36"),
}  # fmt: skip
ALPHABETS = {
    "A": "QZXKVJ7WP2M5", "a": "q7zxkvj3wp2m", "x": "Qz7xKvJ3wPm9", "h": "9f86d081884c",
    "9": "8274619503", "b": "Qz7xKvJ3/P+9",
}  # fmt: skip

TOKEN_WRAPPERS = [
    "{}", "got {}.", '"{}"', "\x1b[33m{}\x1b[0m", "\\u001b[33m{}", '{{"log":"start\\n{}\\n"}}',
    "a%3D{}%26b=1", "x\\u003d{}", "https://api.example/{}/get", "https://{}@host.example/x",
    "https://api.example/x?k={}&y=2", "header: '{}',", "[{}]", "`{}`", "({})", "x={};y=1", "\t{}\r",
]  # fmt: skip

NAMES = [
    "password", "PASSWORD", "DB_PASSWORD", "DB_PASSWORD1", "passwords", "passwd", "pgpassword",
    "spring.datasource.password", "X-Api-Key", "apiKey", "API_KEYS", "api_key", "SECRET_KEY_BASE",
    "aws_secret_access_key", "client-key-data", "client_secret", "GH_PAT", "HF_TOKEN", "authToken",
    "GITHUB_TOKENS", "refresh_token", "jwt", "SENTRY_DSN", "connectionString", "credentials",
    "db_creds", "session_id", "private_key", "ENCRYPTION_KEY", "webhook_secret", "passphrase",
    "basic-auth", "cookie_secret", "license_key", "pwd", "sshkey", "APPKEY", "wpa_psk", "otp", "SEED_PHRASE", "dbpw", "pass", "MYSQL_PWD", "smtpPass",
]  # fmt: skip
SECRET = "Geheim" + "Planted9"
NAME_WRAPPERS = [
    "{n}={s}", "{n}: {s}", "{n} = '{s}'", '{n} := "{s}"', '"{n}": "{s}"', '{{"a": 1, "{n}":"{s}"}}',
    '"{{\\"{n}\\": \\"{s}\\"}}"', '{{"l":"{{\\\\\\"{n}\\\\\\": \\\\\\"{s}\\\\\\"}}"}}',
    "<{n}>{s}</{n}>", '<{n} type="x">{s}</{n}>', '["--{n}", "{s}"]', "['prog', '--{n}', '{s}']",
    "prog --{n} {s} -v", "prog --{n}={s}", "Server=db;{n}={s};Encrypt=true", "x?a=1&{n}={s}&b=2",
    "a%3D1%26{n}%3D{s}", "\x1b[36m{n}\x1b[0m=\x1b[32m{s}\x1b[0m", '{n}: ["first", "{s}"]',
    '"{n}": {{"inner": [1, {{"deep": "{s}"}}]}}', "level=info {n}={s} msg=x", "\\n{n}={s}\\n",
    '{n}="cut off {s}', "{{'{n}': '{s}'}}", '{{"name":"{n}","value":"{s}"}}', "- name: {n}\n  value: {s}\n",
    '<add key="{n}" value="{s}" />', 'Config {{ {n}: Some("{s}") }}', "[('{n}', '{s}')]", "(b'{n}', b'{s}')",
    "&quot;{n}&quot;:&quot;{s}&quot;", "x=%7B%22{n}%22%3A%22{s}%22%7D", "\\u0022{n}\\u0022:\\u0022{s}\\u0022",
    "{n}=x1,{s};y&z)!", "{n}={s},x1 a=b", "{n}: |\n    {s}\n", '{{\n  "{n}":\n        "{s}"\n}}', "ENV {n} {s}",
    '{n}=SecretStr("{s}")', "map[a:b {n}:{s} c:d]", ':{n}=>"{s}"', "'{n}' => '{s}',",
    '{n} = """{s}"""', "{n}: !!str {s}", "{n}[0]={s}", '<property name="{n}">{s}</property>', "{n}\\u003d{s}", "{n}%253D{s}",
]  # fmt: skip
SENTENCES = [
    'ALTER USER app IDENTIFIED BY "{}"', "ALTER ROLE app WITH PASSWORD '{}'", "the password is {}",
    "redis-cli -h db -a {} ping", '["redis-cli", "-a", "{}", "ping"]', "mysqladmin ping -uroot -p{}",
    '["mysqladmin", "ping", "-p{}"]', "redis-server --requirepass {}", "docker login -u joe -p {}",
    "['curl', '-u', 'joe:{}', 'http://api']", "Unseal Key 1: Qz7xKvJ3wPm9{}", "Cookie: a={}; b=1",
    "Driver={{ODBC}};UID=sa;PWD={};", "curl -H 'Authorization: Bearer {}'",
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ${}", "$2b$12$R9h/cIPz0gi.URNNX3kh2O{}",
    "$$2y$$10$$abcdefghijk{}", "$6$rounds=5000$saltsalt${}", "{{SSHA}}c2FsdA{}==",
    "MIIEpAIBAAKCAQEA{}\nQz7xKvJ3wPm9\n-----END RSA PRIVATE KEY-----\nand then",
    "2026-11-23T10:00:00Z x{}\n2026-11-23T10:00:00Z -----END PRIVATE KEY-----",
    "machine h login joe password {} ", "requirepass {}", 'monitor: "AUTH" "{}"', "jdbc:oracle:thin:scott/{}@db",
    "SET PASSWORD FOR a = PASSWORD('{}')", "Cookie: PHPSESSID={}", "connect.sid={}", "bindpw: {}", "olcRootPW: {}",
    "openssl rsa -passin pass:{} -in k.pem", "kubectl create secret generic x --from-literal=password={}",
    "otpauth://totp/a?secret={}&issuer=b", "root:$y$j9T$saltsalt${}:19000:0", "sshpass -p {} ssh h",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}", "amqp://app:{}@queue:5672/x",
    "headers: map[Authorization:[Bearer {}]]", 'Authorization: Digest username="a", response="{}"',
    "CREATE USER a IDENTIFIED WITH caching_sha2_password BY '{}'", "ALTER LOGIN sa WITH PASSWORD = N'{}'",
    "SET PASSWORD FOR 'a'@'%' = '{}'", "app:{}@tcp(db:3306)/x", "smtps://a@b.example:{}@smtp.example:465", "//joe:{}@host/x",
    "mongosh -u root -p{} x", "mariadb-admin ping -p'{}'", '["sqlcmd","-U","sa","-P","{}"]', 'sqlcmd -U sa -P "{}" -Q x',
    "cqlsh -u cassandra -p {}", "ldapsearch -x -w{}", "curl -ujoe:{} http://api", "curl --proxy-user joe:{} x", "zip -P {} a.zip",
    "pbkdf2:sha256:260000$salt${}", "scrypt:32768:8:1$salt${}", "https://hooks.zapier.com/hooks/catch/12/{}/",
    "app | -----BEGIN PRIVATE KEY-----\napp | MIIEpAIBAAKCAQEA{0}\napp | MIIEpAIBAAKCAQEA{0}\napp | starting",
    "2026-01-01T00:00:00Z -----BEGIN PRIVATE KEY-----\n2026-01-01T00:00:01Z MIIEpAIBAAKCAQEA{}\n",
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AA\n\nMIIEpAIBAAKCAQEA{}\n",
    "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x\nMIIEpAIBAAKCAQEA{}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
    "PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 2\nMIIEpAIBAAKCAQEA\nMIIEpAIBAAKCAQEA{}",
    "Use the following password to proceed to installation:\n\n{}\n\nThis may be found at",
    "etcdctl --user root:{} get x", "['etcdctl', '--user', 'root:{}', 'get']", "etcdctl --user=root:{} get",
    "mc alias set local http://minio:9000 admin {}", '["mc", "alias", "set", "x", "http://minio:9000", "admin", "{}"]',
    "until (/usr/bin/mc config host add m http://minio:9000 {0} {0}) do sleep 1; done",
    "echo {} | docker login --password-stdin -u joe", 'echo "{}" | docker login ghcr.io -u joe --password-stdin',
    "printf '%s' '{}' | podman login --password-stdin", "echo -n {} | gh auth login --with-token", "echo '{}' | sudo -S ls",
    'echo "joe:{}" | chpasswd', r'echo -e "{0}\n{0}" | passwd joe', 'docker login --password-stdin <<< "{}"',
    "sh -c 'echo {} | vault login -'", "ssh-keygen -t ed25519 -N {} -f k", "ssh-keygen -p -P {0} -N {0} -f k",
    "['ssh-keygen', '-N', '{}']", "smbclient -U joe%{} //srv/share", "smbclient //srv/share -U 'DOM\\joe%{}'",
    "smbclient --user=joe%{}", "rpcclient -Ujoe%{} h", "sqlplus scott/{}@db", "sqlplus -S scott/{}@//db:1521/XE",
    '["sqlplus", "scott/{}@db"]', "expdp system/{} full=y", "CONNECT scott/{}@db", "ACL SETUSER u on >{} ~* +@all",
    "redis-cli ACL SETUSER u on '>{}' ~*", '["ACL", "SETUSER", "u", "on", ">{0}", ">{0}"]', "user default on >{} ~* &*",
    "user joe on #9f86d081{} ~*", "https://chat.example.com/hooks/{}", "https://chat.example.com/hooks/9f86d081884c/{0}{0}",
    "https://outlook.office.com/webhook/{}/IncomingWebhook/b", "https://x.webhook.office.com/webhookb2/{}",
    "https://hooks.slack.com/services/T000/B000/{}", "https://ptb.discordapp.com/api/v10/webhooks/123/{}",
    "https://maker.ifttt.com/trigger/x/with/key/{}", "https://events.pagerduty.com/integration/{}/enqueue",
    "https://chat.googleapis.com/v1/spaces/AAA/messages?key=k&token={}", "https://hc-ping.com/{}",
    "GET /callback?code={}&state=x HTTP/1.1", "GET /cb?state=1&amp;code={}", "GET /cb?state=1%26code%3D{}", "/x?ticket={}",
    '{{"code": "{0}{0}{0}", "state": "x"}}', "{{'grant_type': 'authorization_code', 'code': '{0}{0}{0}'}}",
    "GET /reset?user=1&hash={0}{0} HTTP/1.1", "/verify?hash={0}{0}", "GET /app?x=1%26hash%3D{0}{0}",
    "grant_type=authorization_code&code={}&client_id=x", "/saml?SAMLResponse={}", "code_verifier={}&x=1", "device_code: {}",
    "rabbitmqctl add_user joe {}", '["rabbitmqctl", "change_password", "joe", "{}"]', "htpasswd -nbB joe {}",
    "htpasswd -b -c /etc/htpasswd joe {}", "mosquitto_passwd -b /m/p joe {}", "mosquitto_pub -u joe -P {} -t x",
    "plink -ssh -pw {} joe@h", "lftp -u joe,{} ftp://h", "openssl enc -aes-256-cbc -k {} -in x", "slappasswd -s {}",
    "xfreerdp /u:joe /p:{} /v:h", "snmpwalk -v3 -u joe -A {0} -X {0} h", "vault operator unseal {}", "wpa_passphrase home {}",
    "neo4j-admin dbms set-initial-password --require-password-change {}", "db2 connect to x user joe using {}",
    "aws configure set aws_secret_access_key {}", "redis-cli CONFIG SET requirepass {}", "db:5432:app:joe:{}",
]  # fmt: skip
SENTENCE_WRAPPERS = [
    str, lambda text: json.dumps({"log": text + "\n"}), lambda text: json.dumps({"l": json.dumps({"m": text})}),
    lambda text: json.dumps(["sh", "-c", text]), lambda text: f"2026-11-23T10:00:00Z app | {text}",
    lambda text: f"\x1b[33m{text}\x1b[0m", lambda text: f"    command: {text}  # x",
    lambda text: "".join(json.dumps({"log": f"{line}\n", "stream": "stdout"}) + "\n" for line in text.split("\n")),
]  # fmt: skip
RANDOM_SECRET = "Qz7xKvJ3" + "wPm9Rt"
RANDOM_SENTENCES = [
    "A temporary password is generated for root@localhost: {}", "Password for user elastic (reset it): {}",
    "admin password set to {}", "INSERT INTO users (name, password) VALUES ('joe', '{}')", "DB_PASSWORD {}", "API_KEY\t{}",
    "vault login {}", "Api Key {} loaded", "Using token {}", "AUTH default {}", "PASS {}", "`DB_PASSWORD`: `{}`", "Login with admin / {}",
]  # fmt: skip


def made_token(name: str) -> str:
    """Return a token of a maker's prefix and lengths, of characters that nobody gave out."""
    prefix, parts = MAKERS[name]
    for part in parts.split():
        kind, count = part[0], part[1:]
        if kind in ALPHABETS and count.isdigit():
            prefix += "".join(itertools.islice(itertools.cycle(ALPHABETS[kind]), int(count)))
        else:
            prefix += part
    return prefix


def cases() -> Iterator[tuple[str, str]]:
    """Yield each secret with the text in which it is planted."""
    for maker, wrapper in itertools.product(MAKERS, TOKEN_WRAPPERS):
        yield made_token(maker), wrapper.format(made_token(maker))
    for name, wrapper in itertools.product(NAMES, NAME_WRAPPERS):
        yield SECRET, wrapper.format(n=name, s=SECRET)
    for sentence, wrap in itertools.product(SENTENCES, SENTENCE_WRAPPERS):
        yield SECRET, wrap(sentence.format(SECRET))
    for sentence in RANDOM_SENTENCES:
        yield RANDOM_SECRET, sentence.format(RANDOM_SECRET)


def check(secret: str, text: str) -> str | None:
    """Return what is wrong with the redaction of a text, None if nothing is."""
    redactor = Redactor()
    clean = redactor.redact_text(text)
    if longest_part(secret, clean) >= 8:
        return f"left: {text!r} -> {clean!r}"
    if redactor.redact_text(clean) != clean:
        return f"does not settle: {text!r} -> {clean!r}"
    return None


def longest_part(secret: str, text: str) -> int:
    """Return how many characters of a secret, from some place on, are still in a text."""
    rest = re.sub(r"<[a-z]+-[0-9]+>", "\0", text)
    return max(
        (n for n in range(1, len(secret) + 1) if secret[:n] in rest or secret[-n:] in rest),
        default=0,
    )


@pytest.mark.nightly
def test_no_secret_of_any_maker_name_and_wrapper_is_left() -> None:
    assert len(MAKERS) + len(NAMES) >= 120
    assert [problem for case in cases() if (problem := check(*case))] == []


@pytest.mark.parametrize("maker", MAKERS)
def test_a_token_is_found_by_its_shape(maker: str) -> None:
    token = made_token(maker)
    assert check(token, f"x {token} y") is None


@pytest.mark.parametrize("wrapper", TOKEN_WRAPPERS)
def test_a_shape_needs_no_blank_before_it(wrapper: str) -> None:
    token = made_token("GitHub")
    assert check(token, wrapper.format(token)) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_that_a_secret_follows(name: str) -> None:
    assert check(SECRET, f"{name}={SECRET}") is None


@pytest.mark.parametrize("wrapper", NAME_WRAPPERS)
def test_the_value_of_a_name_is_found_in_a_wrapper(wrapper: str) -> None:
    assert check(SECRET, wrapper.format(n="db_password", s=SECRET)) is None


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_secret_is_found_in_a_sentence_or_a_command(sentence: str) -> None:
    assert check(SECRET, sentence.format(SECRET)) is None


@pytest.mark.parametrize("sentence", RANDOM_SENTENCES)
def test_nobodys_word_is_found_after_the_name_of_a_secret(sentence: str) -> None:
    assert check(RANDOM_SECRET, sentence.format(RANDOM_SECRET)) is None


def test_a_bot_token_in_a_path() -> None:
    token = made_token("Telegram")
    assert check(token, f"GET https://api.telegram.org/bot{token}/getMe") is None


def test_harmless_lines_stay_as_they_are() -> None:
    assert len(HARMLESS) >= 200
    redactor = Redactor()
    changed = [(line, new) for line in HARMLESS if (new := redactor.redact_text(line)) != line]
    assert changed == []
