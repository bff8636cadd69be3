"""Commands that print, and show printers and jobs."""
