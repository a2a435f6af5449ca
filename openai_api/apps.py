from django.apps import AppConfig


class OpenAIAPIConfig(AppConfig):
    name = "openai_api"
