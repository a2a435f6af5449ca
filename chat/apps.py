from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        from chat.sessions import close_sockets

        user_logged_out.connect(close_sockets, dispatch_uid="chat.close_sockets")
