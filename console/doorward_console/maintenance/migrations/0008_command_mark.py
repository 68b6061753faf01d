from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('maintenance', '0007_batch_mark'),
    ]

    operations = [
        migrations.AddField(
            model_name='command',
            name='mark',
            field=models.CharField(blank=True, max_length=64, null=True),
        ),
        migrations.AddConstraint(
            model_name='command',
            constraint=models.UniqueConstraint(fields=('device', 'by_name', 'mark'), name='command_asked_once'),
        ),
    ]
