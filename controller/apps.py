from django.apps import AppConfig


class ControllerConfig(AppConfig):
    name = "controller"
    verbose_name = "Switchyard"

    def ready(self) -> None:
        from controller import checks  # noqa: F401  # registers the system checks
        from controller.accounts import roles
        from controller.audit import actor, events, registration

        roles.connect(self)
        registration.watch(registration.WATCHED)
        actor.connect()
        events.connect()
