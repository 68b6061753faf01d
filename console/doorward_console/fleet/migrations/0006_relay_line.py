import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """The ports that plain relays were last told of, so that the keys page can name those that are new."""

    dependencies = [
        ('fleet', '0005_enrolment_token'),
        ('people', '0002_first_password'),
    ]

    operations = [
        migrations.CreateModel(
            name='RelayLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ports', models.JSONField(default=list)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='relay_line', to='people.project')),
            ],
        ),
    ]
