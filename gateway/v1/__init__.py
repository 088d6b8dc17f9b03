"""Generated from proto/gateway/v1 by proto/generate.py; do not edit."""
