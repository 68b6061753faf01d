"""Keys of projects and of the installation: public parts in the open, private parts wrapped for one holder."""
