"""What goes over the wire, without any I/O."""
