"""The transport, the limiter and the send loop. The only importer of the aiohttp client."""
