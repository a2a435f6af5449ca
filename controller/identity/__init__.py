"""Who calls: keys, and the one `Caller` that every edge makes of a credential."""
