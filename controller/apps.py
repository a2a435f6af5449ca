from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import class_prepared

from controller.model_names import translate_names

# Before any model is made: forms of the console copy the names when they are imported.
class_prepared.connect(translate_names, dispatch_uid="controller.model_names")


class ControllerConfig(AppConfig):
    name = "controller"
    verbose_name = settings.SITE_NAME

    def ready(self) -> None:
        from controller import checks  # noqa: F401  # registers the system checks
        from controller.accounts import roles
        from controller.audit import actor, events, registration

        roles.connect(self)
        registration.watch(registration.WATCHED)
        actor.connect()
        events.connect()
