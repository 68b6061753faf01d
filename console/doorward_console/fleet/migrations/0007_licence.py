import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Licence files of devices."""

    dependencies = [
        ('fleet', '0006_relay_line'),
    ]

    operations = [
        migrations.CreateModel(
            name='Licence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('envelope', models.BinaryField()),
                ('valid_until', models.DateTimeField()),
                ('least_agent', models.CharField(blank=True, max_length=40)),
                ('added_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('added_by_name', models.CharField(blank=True, max_length=320)),
                ('device', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='licences', to='fleet.device')),
            ],
        ),
    ]
