"""The lab: an app before and after, measured on this machine."""
