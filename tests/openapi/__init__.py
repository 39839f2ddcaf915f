"""The OpenAPI document of the platform: its tests, and how responses are compared with it."""
