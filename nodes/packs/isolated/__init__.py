"""Packs in processes of their own: what they are kept from, and how values come and go."""
