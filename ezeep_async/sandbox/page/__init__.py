"""The page for people: what is in the sandbox, what was printed and requested, and buttons for what can go wrong."""
