"""What people see: pages, the live stream, templates and the stylesheet."""
