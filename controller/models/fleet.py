"""The fleet as rows: served models, the workers that serve them, and join tokens."""

import uuid
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Self

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from controller.identity import encryption, secrets
from controller.models.revision import Revision
from controller.prices import Prices

BREAKER_ROWS_LAST = timedelta(seconds=20)


class ServedModel(models.Model):
    """An LLM that callers ask for by name; it outlives the workers that serve it."""

    class Policy(models.TextChoices):
        DEFAULT = "", _("Default")
        LOTTERY = "lottery", _("Lottery (by weight)")
        SHORTEST_QUEUE = "shortest_queue", _("Shortest queue")
        ROUND_ROBIN = "round_robin", _("Round robin (by weight)")
        LEAST_LOAD = "least_load", _("Least load")
        PREFIX_AFFINITY = "prefix_affinity", _("Prefix affinity")

    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)
    licence = models.CharField(
        max_length=200,
        blank=True,
        db_default="",
        help_text=_("Shown to users beside the description, such as Apache-2.0."),
    )
    # Who may ask for it; none: everybody. Others are told that it does not exist.
    teams = models.ManyToManyField(
        "controller.Team", blank=True, related_name="served_models"
    )
    # Of each request that does not say otherwise: `controller.relay.preparing`.
    default_parameters = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), blank=True
    )
    system_prompt = models.TextField(blank=True, db_default="")
    # In tokens; below what its engines would take.
    context_limit = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    # So many percent of its sessions go to the workers with these labels.
    canary_percent = models.PositiveSmallIntegerField(
        "canary share (percent)",
        default=0,
        db_default=0,
        validators=[MaxValueValidator(100)],
    )
    canary_labels = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), blank=True
    )
    # Asked instead where none of its own workers takes a request.
    fallback = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    policy = models.CharField(
        max_length=30,
        choices=Policy,
        default=Policy.DEFAULT,
        blank=True,
        help_text=_("How a worker is chosen; default: DISPATCH_POLICY."),
    )
    required_labels = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text=_(
            "Dispatch only to workers that have these labels, such as"
            ' {"zone": "eu"}; empty: to all.'
        ),
    )
    is_enabled = models.BooleanField("enabled", default=True)
    # For a million tokens, in the site's currency.
    price_prompt = models.DecimalField(
        "price of prompt tokens",
        max_digits=14,
        decimal_places=6,
        default=Decimal(0),
        db_default=Decimal(0),
        validators=[MinValueValidator(0)],
    )
    price_cached = models.DecimalField(
        "price of cached prompt tokens",
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("Empty: as other prompt tokens."),
    )
    price_completion = models.DecimalField(
        "price of completion tokens",
        max_digits=14,
        decimal_places=6,
        default=Decimal(0),
        db_default=Decimal(0),
        validators=[MinValueValidator(0)],
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name

    @property
    def prices(self) -> Prices:
        """What its tokens cost."""
        cached = self.price_cached
        return Prices.per_million(
            prompt=self.price_prompt,
            cached=self.price_prompt if cached is None else cached,
            completion=self.price_completion,
        )


class ModelAlias(models.Model):
    """Another name for a served model."""

    name = models.CharField(max_length=200, unique=True)
    served_model = models.ForeignKey(
        ServedModel, models.CASCADE, related_name="aliases"
    )

    class Meta:
        ordering = ["name"]
        verbose_name = "alias"
        verbose_name_plural = "aliases"

    def __str__(self) -> str:
        return f"{self.name} → {self.served_model}"


class Adapter(ServedModel):
    """A LoRA adapter: a served model of its own, on top of its parent's weights.

    Workers that serve the parent and take adapters load it while it is enabled, and
    unload it when it is not or the row is gone.
    """

    parent = models.ForeignKey(ServedModel, models.CASCADE, related_name="adapters")
    # Only an operator writes it: a path from anybody else would be read by a worker.
    source = models.CharField(max_length=500)

    class Meta:
        verbose_name = "adapter"


class JoinTokenQuerySet(models.QuerySet["JoinToken"]):
    def usable(self) -> Self:
        """Tokens that a worker could join with now."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now())
        unspent = Q(is_reusable=True) | Q(used_at=None)
        return self.filter(unexpired, unspent, revoked_at=None)


class JoinToken(models.Model):
    """An operator's permission for a worker to join; only its digest is kept."""

    prefix = models.CharField(max_length=30, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    note = models.CharField(max_length=200, blank=True)
    is_reusable = models.BooleanField("reusable", default=False)
    is_keyless = models.BooleanField(
        "keyless",
        default=False,
        help_text=_(
            "Its worker's engine may answer without a key. Bind it to networks."
        ),
    )
    # Networks in CIDR notation that the worker must live in; empty: any allowed one.
    networks = models.JSONField(default=list, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    # Of whoever holds it: what it said last while its engine was not ready, and why
    # the last try to join was refused.
    heard_at = models.DateTimeField(null=True, editable=False)
    heard_state = models.CharField(
        max_length=20, blank=True, db_default="", editable=False
    )
    heard_progress = models.FloatField(null=True, editable=False)
    refused_at = models.DateTimeField(null=True, editable=False)
    refusal_code = models.CharField(
        max_length=50, blank=True, db_default="", editable=False
    )
    refusal = models.TextField(blank=True, db_default="", editable=False)

    objects = JoinTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @classmethod
    def issue(cls, **fields: object) -> "tuple[JoinToken, str]":
        """(the stored token, its secret). The secret is nowhere else: show it now."""
        secret = secrets.make_secret(secrets.JOIN_TOKEN)
        token = cls.objects.create(
            prefix=secrets.shown_part(secret), digest=secrets.digest(secret), **fields
        )
        return token, secret

    def spend(self) -> bool:
        """Whether this call may use the token: of two at once on a one-time token,
        exactly one may. One UPDATE."""
        usable = type(self).objects.usable().filter(pk=self.pk)
        return bool(usable.update(used_at=now()))

    def revoke(self) -> None:
        self.revoked_at = now()
        self.save(update_fields=["revoked_at"])

    def allows(self, address: str) -> bool:
        """Whether a worker at this resolved address may join with the token."""
        if not self.networks:
            return True
        return any(ip_address(address) in ip_network(net) for net in self.networks)


class WorkerQuerySet(models.QuerySet["Worker"]):
    def registered(self) -> Self:
        """Workers that have not left, live or not."""
        return self.filter(left_at=None)

    def not_removed(self) -> Self:
        """Workers that are registered, or may come back."""
        return self.exclude(credential_digest__startswith=REMOVED)

    def live(self) -> Self:
        """Registered workers heard from within HEARTBEAT_EXPIRY."""
        return self.registered().filter(
            last_heartbeat_at__gt=now() - settings.HEARTBEAT_EXPIRY
        )

    def change(self, **fields: object) -> int:
        """How many rows were changed; every web process learns of it."""
        with transaction.atomic():
            Revision.bump("fleet")  # first, as a join locks them in this order too
            return self.update(**fields)

    def remove(self) -> int:
        """Take the workers out of the fleet for good: unlike those that left, they do
        not come back by their own credential. How many there were."""
        with transaction.atomic():
            Revision.bump("fleet")
            chosen = list(self.not_removed().values_list("pk", "left_at"))
            for key, left_at in chosen:
                self.model.objects.filter(pk=key).update(
                    left_at=left_at or now(), credential_digest=f"{REMOVED}{key.hex}"
                )
        return len(chosen)


# In the place of a digest, which it cannot be mistaken for.
REMOVED = "removed-"


class Worker(models.Model):
    """A process serving models: where it is, what it can take, and how it fares.

    What the operator decides (`is_enabled`, `drain_wished`, `weight`) and what the
    system writes are apart; numbers of load are those of the last written heartbeat.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    address = models.CharField(max_length=500)
    # Where its API begins: `/v1`, or below a prefix for some hosted ones.
    base_path = models.CharField(max_length=200, default="/v1", db_default="/v1")
    # An upstream of somebody else's, registered once for each key or set of models.
    shares_address = models.BooleanField(default=False, db_default=False)
    # The relay connects here: a name is resolved once, at the join.
    resolved_ip = models.GenericIPAddressField(unpack_ipv4=True)
    credential_digest = models.CharField(max_length=64, unique=True, editable=False)
    encrypted_engine_key = models.TextField(blank=True, editable=False)
    join_token = models.ForeignKey(
        JoinToken, models.SET_NULL, null=True, related_name="workers"
    )
    served_models = models.ManyToManyField(
        ServedModel, through="Placement", related_name="workers"
    )

    engine = models.CharField(max_length=50)
    engine_version = models.CharField(max_length=50, blank=True)
    start_id = models.CharField(max_length=64)
    is_keyless = models.BooleanField("keyless", default=False)
    is_exclusive = models.BooleanField("exclusive", default=False)
    can_continue = models.BooleanField(default=False)
    takes_adapters = models.BooleanField(default=False, db_default=False)
    max_concurrency = models.PositiveIntegerField()
    kv_cache_tokens = models.PositiveBigIntegerField(null=True)
    labels = models.JSONField(default=dict, blank=True)
    extra_body = models.JSONField(default=dict, blank=True)
    extra_headers = models.JSONField(default=dict, blank=True)

    weight = models.FloatField(default=1.0)
    is_enabled = models.BooleanField("enabled", default=True)
    drain_wished = models.BooleanField("drain", default=False)
    # Only with `drain_wished`, since it is a drain that ends in the process's end.
    stop_wished = models.BooleanField("stop", default=False, db_default=False)
    # A new engine key is wished; the join that brings one takes it back.
    rotation_wished = models.BooleanField(
        "key rotation", default=False, db_default=False
    )
    # Somebody looks at its log, and its agent is to send it until then.
    log_wished_until = models.DateTimeField(null=True, editable=False)

    state = models.CharField(max_length=20, default="ready", editable=False)
    running = models.PositiveIntegerField(default=0, editable=False)
    waiting = models.PositiveIntegerField(default=0, editable=False)
    kv_cache_usage = models.FloatField(null=True, editable=False)
    prefix_cache_queries_total = models.PositiveBigIntegerField(
        null=True, editable=False
    )
    prefix_cache_hits_total = models.PositiveBigIntegerField(null=True, editable=False)
    prompt_tokens_total = models.PositiveBigIntegerField(null=True, editable=False)
    generation_tokens_total = models.PositiveBigIntegerField(null=True, editable=False)
    loading_progress = models.FloatField(null=True, editable=False)
    num_restarts = models.PositiveIntegerField(default=0, editable=False)
    # By the adapter's name: {"state": ..., "reason": ...}, as last heard.
    adapter_states = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        editable=False,
    )

    joined_at = models.DateTimeField(default=now, editable=False)
    last_heartbeat_at = models.DateTimeField(default=now, editable=False)
    # Set when silence was noticed, cleared by the next heartbeat: a web process that
    # starts later must not take a long-dead worker for one it has not heard yet.
    expired_at = models.DateTimeField(null=True, editable=False)
    left_at = models.DateTimeField(null=True, editable=False)

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["address"]
        constraints = [
            models.UniqueConstraint(
                fields=["address"],
                condition=Q(left_at=None, shares_address=False),
                name="one_registered_engine_per_address",
            ),
            models.CheckConstraint(condition=Q(weight__gt=0), name="weight_positive"),
        ]

    def __str__(self) -> str:
        return self.address

    @property
    def engine_key(self) -> str:
        return encryption.decrypt(self.encrypted_engine_key)

    @engine_key.setter
    def engine_key(self, key: str) -> None:
        self.encrypted_engine_key = encryption.encrypt(key)

    @property
    def silence(self) -> timedelta:
        """How long ago the last heartbeat was."""
        return now() - self.last_heartbeat_at

    @property
    def is_live(self) -> bool:
        return self.left_at is None and self.silence < settings.HEARTBEAT_EXPIRY


class Placement(models.Model):
    """A served model on a worker, as that worker's engine serves it."""

    worker = models.ForeignKey(Worker, models.CASCADE, related_name="placements")
    served_model = models.ForeignKey(
        ServedModel, models.CASCADE, related_name="placements"
    )
    tasks = models.JSONField(default=list)
    modalities = models.JSONField(default=list)
    context_length = models.PositiveIntegerField()
    parent = models.CharField(max_length=200, blank=True)
    upstream_model = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["worker", "served_model"], name="one_placement_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.served_model} on {self.worker}"


class WorkerBreakerQuerySet(models.QuerySet["WorkerBreaker"]):
    def current(self) -> Self:
        """Those of processes that still write; one that was killed says nothing."""
        return self.filter(written_at__gt=now() - BREAKER_ROWS_LAST)


class WorkerBreaker(models.Model):
    """What one web process holds against a worker: its breaker, while not closed.

    Each process judges by what it has itself seen. It writes its rows anew at each
    change and every few seconds, and takes them away when it ends.
    """

    worker = models.ForeignKey(Worker, models.CASCADE, related_name="breakers")
    process = models.CharField(max_length=200)
    state = models.CharField(max_length=10)
    reason = models.TextField()
    since = models.DateTimeField()
    written_at = models.DateTimeField(default=now)

    objects = WorkerBreakerQuerySet.as_manager()

    class Meta:
        ordering = ["process"]
        constraints = [
            models.UniqueConstraint(
                fields=["process", "worker"], name="one_breaker_each_process"
            )
        ]

    def __str__(self) -> str:
        return f"{self.state} for {self.process}: {self.reason}"
