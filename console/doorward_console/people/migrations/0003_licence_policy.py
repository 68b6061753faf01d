from django.db import migrations, models


class Migration(migrations.Migration):
    """Whether a project's devices need licences, and the least agent version then; none of both for every project so far."""

    dependencies = [
        ('people', '0002_first_password'),
    ]

    operations = [
        migrations.AddField(
            model_name='project',
            name='licence_policy',
            field=models.CharField(choices=[('none', 'None'), ('required', 'Required')], default='none', max_length=10),
        ),
        migrations.AddField(
            model_name='project',
            name='least_agent',
            field=models.CharField(blank=True, max_length=40),
        ),
    ]
