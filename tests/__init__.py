"""Tests of doorward. Folders mirror the rooms; ``parts`` starts real programs; ``flows`` cross rooms."""
