"""How a device's settings stand while they are tried."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0009_commands'),
    ]

    operations = [
        migrations.AddField(
            model_name='device',
            name='settings_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='device',
            name='settings_code',
            field=models.CharField(blank=True, max_length=60, null=True),
        ),
        migrations.AddField(
            model_name='device',
            name='settings_lacks',
            field=models.CharField(blank=True, max_length=20),
        ),
        migrations.AddField(
            model_name='device',
            name='settings_state',
            field=models.CharField(default='none', max_length=20),
        ),
    ]
