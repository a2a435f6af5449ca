"""Django settings, driven by the environment; the defaults run from a fresh clone."""

import socket
import sys
from email.utils import formataddr
from pathlib import Path

from celery.schedules import crontab
from django.utils.translation import gettext_lazy as _

from config import env, var
from config.account_settings import *  # noqa: F403
from config.account_settings import BEHIND_HTTPS, PUBLIC_URL, SITE_NAME, SOCIAL_APPS

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = var.prepare(Path(env.text("VAR_DIR", str(BASE_DIR / "var"))).resolve())
TESTING = "pytest" in sys.modules

# -- Safety ---------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY") or var.secret_key(VAR_DIR)
# Encrypt what must be readable again (engine and provider keys): the first key writes,
# all of them read.
FIELD_KEYS = env.secrets("FIELD_KEYS") or var.field_key(VAR_DIR).split(",")


def _own_hosts() -> list[str]:
    """This machine's names and addresses: what it may be called when nobody said."""
    name = socket.gethostname()
    hosts = {"localhost", "127.0.0.1", "[::1]", name, socket.getfqdn()}
    try:
        found = socket.getaddrinfo(name, None)
    except OSError:  # a machine whose own name does not resolve
        found = []
    for family, *_rest, address in found:
        host = str(address[0]).split("%")[0]
        hosts.add(f"[{host}]" if family == socket.AF_INET6 else host)
    return sorted(hosts)


ALLOWED_HOSTS = env.listing("ALLOWED_HOSTS") or _own_hosts()
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
# Peers whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody by default.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES", default=())
# `serve` rewrites the scheme for a trusted proxy only, so Django may read the scope.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_HTTPS
SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=BEHIND_HTTPS)
SECURE_HSTS_SECONDS = env.integer(
    "SECURE_HSTS_SECONDS", default=31_536_000 if BEHIND_HTTPS else 0
)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_HTTPS
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

# -- The parts ------------------------------------------------------------------------
ROLES = ("controller", "chat", "api")
# The path prefix below which the site lives behind a proxy, such as /switchyard.
ROOT_PATH = env.text("ROOT_PATH").rstrip("/")
# How many web processes `serve --workers` started; each hears only some heartbeats.
WEB_PROCESSES = env.integer("WEB_PROCESSES", default=1, minimum=1)
# Which faces this web process answers; `serve --roles` sets it.
SERVED_ROLES = env.listing("SERVE_ROLES", default=ROLES)

INSTALLED_APPS = [
    "daphne",  # before staticfiles: its runserver speaks ASGI and websockets
    "unfold",  # before admin: its templates take the place of the stock ones
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "chat",  # before allauth: its account pages wear the product's look
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    *SOCIAL_APPS,
    "auditlog",
    "controller",
    "openai_api",
]
# For HTML pages only: the machine paths have a lean handler of their own
# (controller/lean.py) that runs none of these.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "controller.serving.static.CompressedStaticMiddleware",
    "controller.serving.content_policy.ContentPolicyMiddleware",
    "controller.serving.compression.PageCompressionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "controller.audit.actor.AuditMiddleware",
    "controller.guests.bounds.GuestMiddleware",
    "controller.accounts.second_factor.SecondFactorMiddleware",
    "controller.accounts.terms.TermsMiddleware",
]
ROOT_URLCONF = "config.urls"
LEAN_URLCONF = "config.lean_urls"
# All that runs there: async-capable, and free for a request that it does not concern.
LEAN_MIDDLEWARE = ["openai_api.cors.CorsMiddleware"]
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before every app's: they take the place of some of django-unfold's.
        "DIRS": [BASE_DIR / "controller" / "console_templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "controller.site_settings.site",
            ]
        },
    }
]
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}

# -- Data -----------------------------------------------------------------------------
DATABASES = {"default": env.database("DATABASE_URL", VAR_DIR / "db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = env.secret("REDIS_URL")
# A request that needs what processes share waits no longer for it.
REDIS_TIMEOUT = env.seconds("REDIS_TIMEOUT", default=0.25)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
# The counters of the sign-in limits; several web processes share them through Redis.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "switchyard",
    }
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # The default of 300 would let guesses at 300 names push out a counter.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# -- Signing in -----------------------------------------------------------------------
# The rest is in `account_settings`.
# Seconds after which who did not sign out is signed out.
SESSION_COOKIE_AGE = env.integer("SESSION_COOKIE_AGE", 14 * 86_400, minimum=60)
LOGIN_REDIRECT_URL = "chat:home" if "chat" in SERVED_ROLES else "admin:index"

# -- Guests ---------------------------------------------------------------------------
# How long a guest link is open unless it says otherwise, and at the longest.
GUEST_LINK_MAX_HOURS = env.integer("GUEST_LINK_MAX_HOURS", default=720, minimum=1)
GUEST_LINK_HOURS = min(
    env.integer("GUEST_LINK_HOURS", default=72, minimum=1), GUEST_LINK_MAX_HOURS
)
# `serve` prints a guest link of so many hours when it starts; 0: none.
SHARE_HOURS = env.integer("SHARE_HOURS", default=0)
# Guests are deleted with their conversations so long after their link's end.
GUEST_RETENTION_DAYS = env.integer("GUEST_RETENTION_DAYS", default=1, minimum=1)
# All attachments of one guest; all guests of a link have one person's quota together.
GUEST_ATTACHMENT_QUOTA_BYTES = env.integer("GUEST_ATTACHMENT_QUOTA_BYTES", 20 * 2**20)

# -- Keys ----------------------------------------------------------------------------
# Usable API keys that one person may have made on the page for them.
MAX_KEYS_PER_USER = env.integer("MAX_KEYS_PER_USER", default=100)

# -- E-mail ---------------------------------------------------------------------------
# Without a mail server, letters are printed where the process that sends them writes
# its log.
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if EMAIL_HOST
    else "django.core.mail.backends.console.EmailBackend"
)
EMAIL_PORT = env.integer("EMAIL_PORT", default=587, minimum=1)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_SSL = EMAIL_PORT == 465  # TLS from the first byte
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS", default=EMAIL_PORT == 587)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text(
    "DEFAULT_FROM_EMAIL", formataddr((SITE_NAME, "switchyard@localhost"))
)

# -- Admin's look ---------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": SITE_NAME,
    "SITE_HEADER": SITE_NAME,
    "SITE_SUBHEADER": _("Fleet, access, ledger"),
    "SITE_ICON": "controller.admin.site.icon",
    "SITE_FAVICONS": [{"rel": "icon", "href": "controller.admin.site.icon"}],
    "SHOW_VIEW_ON_SITE": "chat" in SERVED_ROLES,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {  # teal, dark enough from 600 on for white text
            "50": "oklch(95.3% .051 180.801)",
            "100": "oklch(91% .096 180.426)",
            "200": "oklch(85.5% .138 181.071)",
            "300": "oklch(77.7% .152 181.912)",
            "400": "oklch(70.4% .14 182.503)",
            "500": "oklch(60% .118 184.704)",
            "600": "oklch(51.1% .096 186.391)",
            "700": "oklch(43.7% .078 188.216)",
            "800": "oklch(38.6% .063 188.416)",
            "900": "oklch(33% .055 190)",
            "950": "oklch(27.7% .046 192.524)",
        }
    },
    "STYLES": ["controller.admin.site.stylesheet"],
    "SCRIPTS": ["controller.admin.site.script"],
    "DASHBOARD_CALLBACK": "controller.admin.dashboard.dashboard",
    "SIDEBAR": {"navigation": "controller.admin.navigation.sidebar"},
}

# -- Text, time, files ----------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
# Of the settings and of Django itself; the apps have theirs in their own folders.
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = f"{ROOT_PATH}/static/"
# Files are served from where the apps keep them: there is nothing to collect first.
SERVESTATIC_USE_FINDERS = True

# -- Fleet ----------------------------------------------------------------------------
HEARTBEAT_INTERVAL = env.seconds("HEARTBEAT_INTERVAL", default=5)
# A worker silent for longer is not dispatched to.
HEARTBEAT_EXPIRY = env.seconds("HEARTBEAT_EXPIRY", default=15)
# How old a web process's view of workers, models and keys may be.
REVISION_INTERVAL = env.seconds("REVISION_INTERVAL", default=0.5)
# Where workers may live. Link-local and metadata addresses are refused even if listed.
ALLOWED_WORKER_NETWORKS = env.networks(
    "ALLOWED_WORKER_NETWORKS",
    default=(
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    ),
)
CHALLENGE_TIMEOUT = env.seconds("CHALLENGE_TIMEOUT", default=5)
DISPATCH_POLICY = env.choice(
    "DISPATCH_POLICY",
    "shortest_queue",
    ("lottery", "shortest_queue", "round_robin", "least_load", "prefix_affinity"),
)
# Blocks of 512 bytes of prompts that are remembered for each model and task, about
# 300 bytes of memory each.
PREFIX_INDEX_BLOCKS = env.integer("PREFIX_INDEX_BLOCKS", default=65_536, minimum=1)
# A worker whose requests fail is left alone for a while: with at least so many of them
# within the window, and such a share of failures.
BREAKER_WINDOW = env.seconds("BREAKER_WINDOW", default=30)
BREAKER_MIN_REQUESTS = env.integer("BREAKER_MIN_REQUESTS", default=5, minimum=1)
BREAKER_FAILURE_PERCENT = env.integer("BREAKER_FAILURE_PERCENT", 50, minimum=1)
# How long it is left alone: first, and at the longest when it keeps failing.
BREAKER_OPEN = env.seconds("BREAKER_OPEN", default=5)
BREAKER_OPEN_LONGEST = env.seconds("BREAKER_OPEN_LONGEST", default=60)
# Health checks of workers under suspicion, and how many in a row turn a verdict.
PROBE_INTERVAL = env.seconds("PROBE_INTERVAL", default=1)
PROBE_TIMEOUT = env.seconds("PROBE_TIMEOUT", default=5)
PROBE_FAILURES = env.integer("PROBE_FAILURES", default=3, minimum=1)
PROBE_SUCCESSES = env.integer("PROBE_SUCCESSES", default=2, minimum=1)
# A worker that owes an answer and has sent nothing for so long is under suspicion.
PROBE_AFTER = env.seconds("PROBE_AFTER", default=10)
# A worker that came back reaches its full share of the requests in this time.
SLOW_START = env.seconds("SLOW_START", default=20)

# -- The waiting line, one per model in each web process -------------------------------
# So many requests more than its capacity are sent to a worker, for its engine to have
# the next one at hand when a place frees.
QUEUE_OVERCOMMIT = env.integer("QUEUE_OVERCOMMIT", default=0)
# Requests, and bytes of their bodies, that wait at most: in all, and of one caller.
QUEUE_LENGTH = env.integer("QUEUE_LENGTH", default=1000)
QUEUE_CALLER_LENGTH = env.integer("QUEUE_CALLER_LENGTH", default=250, minimum=1)
QUEUE_BYTES = env.integer("QUEUE_BYTES", default=128 * 2**20, minimum=1)
QUEUE_CALLER_BYTES = env.integer("QUEUE_CALLER_BYTES", default=32 * 2**20, minimum=1)
# How long one request waits at most; a client may ask for less.
QUEUE_DEADLINE = env.seconds("QUEUE_DEADLINE", default=60)
# A stream that waits is told its place after so long, and again as often.
QUEUE_NOTICE_AFTER = env.seconds("QUEUE_NOTICE_AFTER", default=1)
QUEUE_NOTICE_INTERVAL = env.seconds("QUEUE_NOTICE_INTERVAL", default=2)

# -- The relay ------------------------------------------------------------------------
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", default=32 * 2**20, minimum=1)
MAX_SOCKET_MESSAGE_BYTES = env.integer(
    "MAX_SOCKET_MESSAGE_BYTES", default=2**20, minimum=1024
)
# An engine's whole answer to a call that does not stream, held in memory once.
MAX_ANSWER_BYTES = env.integer("MAX_ANSWER_BYTES", default=64 * 2**20, minimum=1)
# One event of a stream: logprobs make long ones.
MAX_EVENT_BYTES = env.integer("MAX_EVENT_BYTES", default=4 * 2**20, minimum=1)
UPSTREAM_CONNECT_TIMEOUT = env.seconds("UPSTREAM_CONNECT_TIMEOUT", default=3)
UPSTREAM_FIRST_BYTE_TIMEOUT = env.seconds("UPSTREAM_FIRST_BYTE_TIMEOUT", default=600)
# For workers behind TLS whose certificates a private authority signed.
UPSTREAM_CA_FILE = env.text("UPSTREAM_CA_FILE")
UPSTREAM_IDLE_TIMEOUT = env.seconds("UPSTREAM_IDLE_TIMEOUT", default=120)
# A stream of which its client reads nothing holds its worker for so long.
UNREAD_TIMEOUT = env.seconds("UNREAD_TIMEOUT", default=300)
# Second tries of requests that a worker failed: a share of this process's requests,
# above a floor for each 10 seconds, and none after so long.
RETRY_PERCENT = env.integer("RETRY_PERCENT", default=20)
RETRY_FLOOR = env.integer("RETRY_FLOOR", default=100)
RETRY_DEADLINE = env.seconds("RETRY_DEADLINE", default=60)
# A stream whose worker breaks off, or stands still for so long, goes on with another.
MOVE_AFTER_SILENCE = env.seconds("MOVE_AFTER_SILENCE", default=30)
MOVES_PER_REQUEST = env.integer("MOVES_PER_REQUEST", default=2)
# What is remembered of one stream, to go on from; above it, it cannot move any more.
MOVE_MAX_BYTES = env.integer("MOVE_MAX_BYTES", default=2**20)
# How long a resumable stream runs on, and is kept, for a client that left it.
RESUME_SECONDS = env.seconds("RESUME_SECONDS", default=30)
RESUME_STREAM_BYTES = env.integer("RESUME_STREAM_BYTES", default=2**20, minimum=1024)
RESUME_MAX_BYTES = env.integer("RESUME_MAX_BYTES", default=64 * 2**20, minimum=1024)
# Ceilings on what one request may ask of an engine.
MAX_CHOICES = env.integer("MAX_CHOICES", default=16, minimum=1)
MAX_TOP_LOGPROBS = env.integer("MAX_TOP_LOGPROBS", default=20)
MAX_STOP_STRINGS = env.integer("MAX_STOP_STRINGS", default=16)
MAX_INPUTS = env.integer("MAX_INPUTS", default=2048, minimum=1)
MAX_TOKENIZE_LENGTH = env.integer("MAX_TOKENIZE_LENGTH", 1_000_000, minimum=1)
# `serve --open`: a caller without a right key is this one limited guest.
OPEN_TO_GUESTS = env.boolean("OPEN_TO_GUESTS", default=False)
GUEST_MAX_CONCURRENT = env.integer("GUEST_MAX_CONCURRENT", default=8, minimum=1)
# How long a stopping web process is unready before it stops listening, for a balancer
# to notice.
SHUTDOWN_NOTICE = env.seconds("SHUTDOWN_NOTICE", default=1)
# How long a stopping web process lets streams run on.
SHUTDOWN_GRACE = env.seconds("SHUTDOWN_GRACE", default=30)

# -- Chat -----------------------------------------------------------------------------
# An answer whose owner has no page open for this long is stopped.
CHAT_UNATTENDED = env.seconds("CHAT_UNATTENDED", default=60)
# How often the text of the answers in progress is written to their rows.
CHAT_WRITE_INTERVAL = env.seconds("CHAT_WRITE_INTERVAL", default=0.2)
# An answer whose process has not written for this long is shown as interrupted.
CHAT_INTERRUPTED_AFTER = env.seconds("CHAT_INTERRUPTED_AFTER", default=15)
CHAT_MAX_PROMPT_CHARS = env.integer("CHAT_MAX_PROMPT_CHARS", 200_000, minimum=1)
# One attachment; those of one message; and all of one user.
CHAT_MAX_ATTACHMENT_BYTES = env.integer(
    "CHAT_MAX_ATTACHMENT_BYTES", 10 * 2**20, minimum=1
)
CHAT_MAX_ATTACHMENTS = env.integer("CHAT_MAX_ATTACHMENTS", 10, minimum=0)
CHAT_ATTACHMENT_QUOTA_BYTES = env.integer(
    "CHAT_ATTACHMENT_QUOTA_BYTES", 500 * 2**20, minimum=0
)
# What is read of a document at most, and for how long a PDF may keep us.
CHAT_MAX_DOCUMENT_CHARS = env.integer("CHAT_MAX_DOCUMENT_CHARS", 400_000, minimum=1)
CHAT_MAX_PDF_PAGES = env.integer("CHAT_MAX_PDF_PAGES", 500, minimum=1)
CHAT_ATTACHMENT_TIMEOUT = env.seconds("CHAT_ATTACHMENT_TIMEOUT", default=20)
# Presets, and saved prompts, on one shelf: of one user or one team.
CHAT_MAX_SAVED = env.integer("CHAT_MAX_SAVED", default=500, minimum=1)
CHAT_MAX_SYSTEM_CHARS = env.integer("CHAT_MAX_SYSTEM_CHARS", 20_000, minimum=1)
CHAT_MAX_ANSWER_CHARS = env.integer("CHAT_MAX_ANSWER_CHARS", 1_000_000, minimum=1)
# Answers in progress at once, for one user.
CHAT_MAX_GENERATIONS = env.integer("CHAT_MAX_GENERATIONS", default=8, minimum=1)
# Questions in a minute, of one user, to one process.
CHAT_MAX_QUESTIONS = env.integer("CHAT_MAX_QUESTIONS", default=60, minimum=1)
# What was deleted can be brought back for so long.
CHAT_KEEP_DELETED = env.seconds("CHAT_KEEP_DELETED", default=86_400)
# Conversations without a question for so long are deleted; 0: kept for ever.
CHAT_RETENTION_DAYS = env.integer("CHAT_RETENTION_DAYS", default=0)
# A draft that is gone on with tomorrow still has its attachments.
CHAT_UNSENT_RETENTION_DAYS = env.integer("CHAT_UNSENT_RETENTION_DAYS", 7, minimum=1)
# Whether the model that answered first gives a conversation its title.
CHAT_TITLES = env.boolean("CHAT_TITLES", default=True)
# A temporary conversation that a dead process left is deleted after so long without a
# question.
CHAT_TEMPORARY_EXPIRY = env.seconds("CHAT_TEMPORARY_EXPIRY", default=6 * 3600)
# The largest file of conversations that is imported, unpacked.
CHAT_IMPORT_MAX_BYTES = env.integer("CHAT_IMPORT_MAX_BYTES", 64 * 2**20, minimum=1)
# What a browser puts around a file in a form.
FORM_FRAMING_BYTES = 64 * 2**10
# No address takes more: daphne, which reads a body before it asks whose it is, keeps no
# more of one.
LARGEST_BODY_BYTES = max(
    MAX_BODY_BYTES,
    CHAT_IMPORT_MAX_BYTES + FORM_FRAMING_BYTES,
    CHAT_MAX_ATTACHMENT_BYTES + FORM_FRAMING_BYTES,
)
# Whether people may share conversations by link; off, links made before open no more.
CHAT_SHARING = env.boolean("CHAT_SHARING", default=True)

# -- Ledger ---------------------------------------------------------------------------
LEDGER_FLUSH_INTERVAL = env.seconds("LEDGER_FLUSH_INTERVAL", default=1)
LEDGER_MAX_QUEUED = env.integer("LEDGER_MAX_QUEUED", default=100_000, minimum=1)
# What prices are in, as ISO 4217 calls it; shown, never reckoned with.
CURRENCY = env.text("CURRENCY", "USD")

# -- Moderation -----------------------------------------------------------------------
# So many requests with confirmed flags (0: never) within so many days ban a user for so
# long.
MODERATION_STRIKES = env.integer("MODERATION_STRIKES", default=3)
MODERATION_STRIKE_DAYS = env.integer("MODERATION_STRIKE_DAYS", default=30, minimum=1)
MODERATION_BAN_DAYS = env.integer("MODERATION_BAN_DAYS", default=1, minimum=1)

# -- Retention ------------------------------------------------------------------------
# The chat's is above, that of guests beside their links.
LEDGER_RETENTION_DAYS = env.integer("LEDGER_RETENTION_DAYS", default=400, minimum=1)
# Roll-ups outlive rows; those of hours as long as rows at least.
USAGE_HOURLY_RETENTION_DAYS = env.integer("USAGE_HOURLY_RETENTION_DAYS", 800, minimum=1)
USAGE_DAILY_RETENTION_DAYS = env.integer("USAGE_DAILY_RETENTION_DAYS", 3660, minimum=1)
# The pages of the fleet show a day of them.
WORKER_SAMPLES_RETENTION_DAYS = env.integer(
    "WORKER_SAMPLES_RETENTION_DAYS", 1, minimum=1
)
# Invitations, join tokens, shared links and requests for more, from their end on.
ENDED_RETENTION_DAYS = env.integer("ENDED_RETENTION_DAYS", default=90, minimum=1)
MODERATION_RETENTION_DAYS = env.integer("MODERATION_RETENTION_DAYS", 90, minimum=1)
AUDIT_RETENTION_DAYS = env.integer("AUDIT_RETENTION_DAYS", default=400, minimum=1)

# -- Alerts ---------------------------------------------------------------------------
# At how many per cent of a budget its owner is told.
BUDGET_ALERT_THRESHOLDS = env.percentages("BUDGET_ALERT_THRESHOLDS", (50, 80, 100))
# Called for each alert, signed. It is the operator's own: private addresses are fine.
ALERT_WEBHOOK_URL = env.secret("ALERT_WEBHOOK_URL")
ALERT_WEBHOOK_SECRET = env.secret("ALERT_WEBHOOK_SECRET")
ALERT_WEBHOOK_TIMEOUT = env.seconds("ALERT_WEBHOOK_TIMEOUT", default=10)

# -- Task worker ----------------------------------------------------------------------
CELERY_FOLDER = VAR_DIR / "celery"
CELERY_BROKER_URL = REDIS_URL or "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = (
    # Redelivers what a killed worker held within a minute.
    {
        "visibility_timeout": 60,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    if REDIS_URL
    else {
        "data_folder_in": str(CELERY_FOLDER / "queue"),
        "data_folder_out": str(CELERY_FOLDER / "queue"),
        "control_folder": str(CELERY_FOLDER / "control"),
        "store_processed": False,
        "polling_interval": 0.1,
    }
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ALWAYS_EAGER = TESTING
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULE_FILENAME = str(CELERY_FOLDER / "beat")
CELERY_BEAT_SCHEDULE = {
    "task worker heard": {"task": "controller.tasks.report_alive", "schedule": 15},
    "reconcile budgets": {
        "task": "controller.tasks.reconcile_budgets",
        "schedule": 300,
    },
    "alert of budgets": {"task": "controller.tasks.alert_of_budgets", "schedule": 60},
    "roll up ledger": {"task": "controller.tasks.roll_up_ledger", "schedule": 60},
    "purge": {"task": "controller.tasks.purge", "schedule": 900},
    "reconcile ledger": {
        "task": "controller.tasks.reconcile_ledger",
        "schedule": crontab(hour=3, minute=17),
    },
    "index messages": {"task": "chat.tasks.index_messages", "schedule": 300},
}

# -- Logs -----------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.choice("LOG_FORMAT", "plain", ("plain", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "controller.logs.RequestIdFilter"}},
    "formatters": {
        "plain": {
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
        },
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["request_id"],
            "formatter": LOG_FORMAT,
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
}
