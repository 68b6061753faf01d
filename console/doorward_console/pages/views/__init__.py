"""The pages, one module for each subject; views are thin: who may, what is read, which template."""
