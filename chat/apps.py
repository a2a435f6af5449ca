from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        from allauth.usersessions.models import UserSession

        # Not called `admin`: the console's other pages must be there before these.
        import chat.auditing
        import chat.checks
        import chat.console
        import chat.opinions_console
        import chat.shared_links_console
        from chat.retention import KINDS
        from chat.samples import recent_messages
        from chat.sessions import close_sockets, close_sockets_of
        from controller import retention
        from controller.audit import registration
        from controller.moderation import samples

        user_logged_out.connect(close_sockets, dispatch_uid="chat.close_sockets")
        post_delete.connect(
            close_sockets_of, sender=UserSession, dispatch_uid="chat.close_sockets_of"
        )
        retention.register(KINDS)
        samples.register("chat", recent_messages)
        registration.watch(chat.auditing.WATCHED)
