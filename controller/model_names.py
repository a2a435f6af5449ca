"""Names of models and their fields, in the reader's language.

Django makes them of identifiers (`expires_at`: "expires at") where none are written,
and leaves these in English. Here each plain name becomes a string to translate of the
same English text. What migrations see is what was written, so none is needed. The
Chinese of these names stands at the end of `controller/locale`, as `makemessages`
finds them nowhere.
"""

from typing import Any

from django.db.models import Model
from django.utils.translation import gettext_lazy


def translate_names(sender: type[Model], **_signal: Any) -> None:
    """Have the names of this model and its own fields translated when they are read."""
    if sender.__module__ == "__fake__":  # of a migration: nobody reads it
        return
    opts = sender._meta
    if isinstance(opts.verbose_name, str):
        opts.verbose_name = gettext_lazy(opts.verbose_name)
    if "verbose_name_plural" not in opts.original_attrs:
        # Not of the translated name: Chinese knows no plural in "s".
        plural = f"{opts.verbose_name_raw}s"
        opts.verbose_name_plural = gettext_lazy(plural)
    elif isinstance(opts.verbose_name_plural, str):
        opts.verbose_name_plural = gettext_lazy(opts.verbose_name_plural)
    for field in (*opts.local_fields, *opts.local_many_to_many):
        if isinstance(field.verbose_name, str):
            field.verbose_name = gettext_lazy(field.verbose_name)
