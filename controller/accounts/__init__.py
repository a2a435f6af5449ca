"""Who may have an account, how it is guarded, and how it goes."""
