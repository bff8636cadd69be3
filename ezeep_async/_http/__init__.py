"""The transport, the limiter and the send loop. The only user of the aiohttp client."""
