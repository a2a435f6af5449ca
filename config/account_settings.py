"""Settings of accounts: who signs up, how people sign in, and what the site is called.

`settings` takes all of these over.
"""

from config import env, social

# Under which address people reach the product; https:// turns on the secure defaults.
PUBLIC_URL = env.text("PUBLIC_URL").rstrip("/")
BEHIND_HTTPS = PUBLIC_URL.startswith("https://")

# -- The site -------------------------------------------------------------------------
# What it is called in titles, letters and the console.
SITE_NAME = env.text("SITE_NAME", "Switchyard")
# A file with its logo, shown in place of ours: SVG, PNG, JPEG, WebP or GIF.
SITE_LOGO = env.text("SITE_LOGO")

# -- Who may make an account ----------------------------------------------------------
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
SIGN_UP_MODES = ("open", "invitation", "approval", "closed")
# Anybody, those with an invitation link, those whom an operator lets in, or nobody.
SIGN_UP = env.choice("SIGN_UP", "invitation", SIGN_UP_MODES)
# The same for those whom a provider of sign-in vouches for.
SOCIAL_SIGN_UP = env.choice("SOCIAL_SIGN_UP", SIGN_UP, SIGN_UP_MODES)

# -- Signing in -----------------------------------------------------------------------
LOGIN_URL = "account_login"
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
ACCOUNT_ADAPTER = "controller.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
# Off by default: verifying an address needs a mail server.
ACCOUNT_EMAIL_VERIFICATION = env.choice(
    "EMAIL_VERIFICATION", "none", ("none", "optional", "mandatory")
)
# Somebody who waits for an operator is told of the decision by mail.
if ACCOUNT_EMAIL_VERIFICATION == "mandatory" or SIGN_UP == "approval":
    ACCOUNT_SIGNUP_FIELDS[1] = "email*"
# A password reset for an address without an account writes to nobody.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
# Changed passwords and second factors are told to the account's address.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
# Besides the library's own: new guests, and secrets of guest links that open nothing.
ACCOUNT_RATE_LIMITS = {"guest": "60/m/ip", "guest_link_failed": "10/m/ip"}
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if BEHIND_HTTPS else "http"

# -- Second factors -------------------------------------------------------------------
# Of whom one is required: they set it up before they see anything else.
REQUIRE_SECOND_FACTOR = env.choice(
    "REQUIRE_SECOND_FACTOR", "none", ("none", "staff", "everyone")
)
MFA_ADAPTER = "controller.accounts.adapter.SecondFactorAdapter"
MFA_FORMS = {
    name: f"controller.accounts.factor_forms.{form}"
    for name, form in (
        ("authenticate", "AuthenticateForm"),
        ("reauthenticate", "ReauthenticateForm"),
        ("authenticate_webauthn", "AuthenticateWebAuthnForm"),
        ("reauthenticate_webauthn", "ReauthenticateWebAuthnForm"),
        ("login_webauthn", "LoginWebAuthnForm"),
    )
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = SITE_NAME
MFA_TOTP_TOLERANCE = 1  # a phone's clock may be half a minute off
# An address that was typed in by somebody who could not confirm it must not lock
# people out of protecting their account.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# Browsers themselves make passkeys on https and on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not BEHIND_HTTPS

# -- Providers of sign-in -------------------------------------------------------------
SOCIALACCOUNT_ADAPTER = "controller.accounts.adapter.SocialAccountAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"  # the provider has done it, or it is unknown
SOCIALACCOUNT_PROVIDERS, SOCIAL_APPS = social.providers()
