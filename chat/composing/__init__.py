"""What goes with a prompt: set-up, attachments, presets, saved prompts."""
