"""The transport, the limiter and the send loop. All use of the aiohttp client is in here."""
