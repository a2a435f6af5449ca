"""The whole product on one machine: what `manage.py run` starts and shows."""
