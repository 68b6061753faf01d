"""What devices say of their settings and of what may be set."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0011_forwards'),
    ]

    operations = [
        migrations.CreateModel(
            name='SettingsRead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('asked_boot', models.CharField(blank=True, max_length=64)),
                ('asked_at', models.DateTimeField(blank=True, null=True)),
                ('values', models.JSONField(default=dict)),
                ('schema', models.JSONField(blank=True, null=True)),
                ('key', models.JSONField(blank=True, null=True)),
                ('read_at', models.DateTimeField(blank=True, null=True)),
                ('device', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='settings_read', to='fleet.device')),
            ],
        ),
    ]
