"""Generated from schemas/*.proto by schemas/generate.py; never edited by hand."""
