"""The table of the model `Print`."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """A form is stored before its document is printed."""

    dependencies: ClassVar = [("printing", "0001_tables")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Print",
            fields=[
                ("key", models.UUIDField(primary_key=True, serialize=False)),
                ("user", models.CharField(max_length=255)),
                ("document", models.CharField(max_length=255)),
                ("printer", models.TextField()),
                ("state", models.CharField(default="sending", max_length=20)),
                ("detail", models.TextField(blank=True)),
                ("job", models.TextField(blank=True)),
                ("is_queue", models.BooleanField(default=False)),
                ("started", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-started"],
                "indexes": [models.Index(fields=["user", "-started"], name="prints_of_user")],
            },
        )
    ]
