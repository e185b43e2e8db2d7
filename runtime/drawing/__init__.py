"""Pictures of explanations: what they show, and how that becomes a PNG or lies on matplotlib axes."""
