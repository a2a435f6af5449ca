"""The ledger's way from memory to rows."""
