from django.db import migrations, models


class Migration(migrations.Migration):
    """The device's word that it was told to shut: a plain relay's sessions close on it."""

    dependencies = [
        ('maintenance', '0002_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='obeyed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
