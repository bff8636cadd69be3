"""Commands for printers, webhooks, reports, and calls without a command of their own."""
