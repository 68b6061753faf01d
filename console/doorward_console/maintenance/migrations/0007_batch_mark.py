from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('maintenance', '0006_forwards'),
    ]

    operations = [
        migrations.AddField(
            model_name='batch',
            name='mark',
            field=models.CharField(blank=True, max_length=64, null=True),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.UniqueConstraint(fields=('project', 'by_name', 'mark'), name='batch_asked_once'),
        ),
    ]
