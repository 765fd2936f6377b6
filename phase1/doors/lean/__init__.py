"""The short way from the SDK's arguments to the engine, and back to the SDK's objects."""
