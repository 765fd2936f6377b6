"""Who answers in the place of a provider? llmock, which breaks as they do, or raw bytes for load."""
