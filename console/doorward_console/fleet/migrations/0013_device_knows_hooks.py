from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('fleet', '0012_settings_read'),
    ]

    operations = [
        migrations.AddField(
            model_name='device',
            name='knows_hooks',
            field=models.BooleanField(default=True),
        ),
    ]
