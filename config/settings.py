"""Django settings, driven by the environment; the defaults run from a fresh clone."""

import socket
import sys
from pathlib import Path

from django.utils.translation import gettext_lazy as _

from config import env, var

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = var.prepare(Path(env.text("VAR_DIR", str(BASE_DIR / "var"))).resolve())
TESTING = "pytest" in sys.modules

# -- Safety ---------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY") or var.secret_key(VAR_DIR)
# Encrypt what must be readable again (engine and provider keys): the first key writes,
# all of them read.
FIELD_KEYS = env.secrets("FIELD_KEYS") or var.field_key(VAR_DIR).split(",")

# Under which address people reach the product; https:// turns on the secure defaults.
PUBLIC_URL = env.text("PUBLIC_URL").rstrip("/")
BEHIND_HTTPS = PUBLIC_URL.startswith("https://")


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
    "channels",
    "rest_framework",
    "allauth",
    "allauth.account",
    "controller",
    "openai_api",
    "chat",
]
# For HTML pages only: the machine paths have a lean handler of their own
# (controller/lean.py) that runs none of these.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "config.urls"
LEAN_URLCONF = "config.lean_urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
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
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

# -- Accounts -------------------------------------------------------------------------
AUTH_USER_MODEL = "controller.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
# Who may make an account: anybody, those with an invitation link, or nobody.
SIGN_UP = env.choice("SIGN_UP", "invitation", ("open", "invitation", "closed"))

# -- Text, time, files ----------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"

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
    "DISPATCH_POLICY", "shortest_queue", ("lottery", "shortest_queue")
)

# -- The relay ------------------------------------------------------------------------
MAX_BODY_BYTES = env.integer("MAX_BODY_BYTES", default=32 * 2**20, minimum=1)
# An engine's whole answer to a call that does not stream, held in memory once.
MAX_ANSWER_BYTES = env.integer("MAX_ANSWER_BYTES", default=64 * 2**20, minimum=1)
# One event of a stream: logprobs make long ones.
MAX_EVENT_BYTES = env.integer("MAX_EVENT_BYTES", default=4 * 2**20, minimum=1)
UPSTREAM_CONNECT_TIMEOUT = env.seconds("UPSTREAM_CONNECT_TIMEOUT", default=3)
UPSTREAM_FIRST_BYTE_TIMEOUT = env.seconds("UPSTREAM_FIRST_BYTE_TIMEOUT", default=600)
UPSTREAM_IDLE_TIMEOUT = env.seconds("UPSTREAM_IDLE_TIMEOUT", default=120)
# Ceilings on what one request may ask of an engine.
MAX_CHOICES = env.integer("MAX_CHOICES", default=16, minimum=1)
MAX_TOP_LOGPROBS = env.integer("MAX_TOP_LOGPROBS", default=20)
MAX_STOP_STRINGS = env.integer("MAX_STOP_STRINGS", default=16)
# `serve --open`: a caller without a right key is this one limited guest.
OPEN_TO_GUESTS = env.boolean("OPEN_TO_GUESTS", default=False)
GUEST_MAX_CONCURRENT = env.integer("GUEST_MAX_CONCURRENT", default=8, minimum=1)
# How long a stopping web process lets streams run on.
SHUTDOWN_GRACE = env.seconds("SHUTDOWN_GRACE", default=30)

# -- Ledger ---------------------------------------------------------------------------
LEDGER_FLUSH_INTERVAL = env.seconds("LEDGER_FLUSH_INTERVAL", default=1)
LEDGER_MAX_QUEUED = env.integer("LEDGER_MAX_QUEUED", default=100_000, minimum=1)
LEDGER_RETENTION_DAYS = env.integer("LEDGER_RETENTION_DAYS", default=400, minimum=1)

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
    "prune ledger": {"task": "controller.tasks.prune_ledger", "schedule": 3600},
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
